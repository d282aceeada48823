//! What is refused, and how it is said.

use super::*;

fn check_refused(name: &str, expected: &str) {
    let error = decode_fixture(&format!("codecs/{name}")).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{name}: {error}");
}

#[test]
fn unsupported_files_are_refused_by_name() {
    check_refused("make.sh", "the file is a text file,");
    check_refused("video-only.mp4", "the MP4 file has no audio track: send a file with sound");
}

#[test]
fn what_takes_ffmpeg_is_refused_with_what_to_do() {
    let error = decode_fixture("codecs/mkv-ac3.mkv").unwrap_err().to_string();
    let advice = error.split(';').next().unwrap();
    insta::assert_snapshot!(advice, @"the WebM/Matroska file holds AC-3 audio, which takes ffmpeg to decode: install ffmpeg on the server, or convert the file");
    check_refused("avi.avi", "the AVI file takes ffmpeg to decode: install ffmpeg on the server");
    check_refused("au.au", "the Sun audio (AU) file takes ffmpeg");
    check_refused("ts.ts", "the MPEG transport stream file takes ffmpeg");
    check_refused("mp4-ac3.mp4", "the MP4 file holds AC-3 audio, which takes ffmpeg");
    check_refused("m4a-aac-5.1.m4a", "the MP4 file holds aac (aac: ");
    check_refused("ogg-opus-5.1.opus", "the Ogg file holds opus (opus: unsupported number of");
}

#[test]
fn empty_file_is_its_own_error() {
    assert!(matches!(decode_bytes(b""), Err(AudioError::Empty)));
}

#[test]
fn wav_without_samples_holds_no_samples() {
    let wav = tone_wav(16_000, 1, 0.0, 1.0);
    let result = decode_bytes(&wav);
    assert!(matches!(result, Err(AudioError::NoSamples { container: "WAV" })), "{result:?}");
}

#[test]
fn audio_longer_than_the_limit_is_refused_while_decoding() {
    let limits = Limits { max_duration: Duration::from_millis(500), ..Limits::default() };
    let long = file_of(&tone_wav(44_100, 1, 0.6, 440.0));
    let result = decode(long, &limits);
    assert!(matches!(result, Err(AudioError::TooLong { limit, .. }) if limit.as_millis() == 500));
    let exact = file_of(&tone_wav(16_000, 1, 0.5, 440.0));
    assert_eq!(decode(exact, &limits).unwrap().samples.len(), 8_000);
}

/// The header's length is a lie; what counts is what is there.
#[test]
fn declared_length_is_no_limit() {
    let mut flac = fixture_bytes("codecs/flac.flac");
    // 36 bits of frames, behind a number of 4 bits (RFC 9639, section 8.2).
    flac[21] |= 0x0f;
    let limits = Limits { max_duration: Duration::from_secs(1), ..Limits::default() };
    let decoded = decode(file_of(&flac), &limits).unwrap();
    assert!(decoded.info.declared_duration.unwrap() > limits.max_duration);
    assert_eq!(decoded.samples.len(), 16_000);
}

#[test]
fn too_many_channels_are_refused() {
    let wav = tone_wav(16_000, 9, 0.1, 440.0);
    let result = decode_bytes(&wav);
    let expected = matches!(result, Err(AudioError::TooManyChannels { found: 9, limit: 8 }));
    assert!(expected, "{result:?}");
}

#[test]
fn channels_without_number_are_refused() {
    let mut wav = tone_wav(16_000, 1, 0.1, 440.0);
    wav[22..24].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(decode_bytes(&wav).is_err());
}

#[test]
fn sample_rates_outside_the_range_are_refused() {
    for rate in [1, 7_999, 192_001] {
        let mut wav = tone_wav(16_000, 1, 0.1, 440.0);
        wav[24..28].copy_from_slice(&u32::to_le_bytes(rate));
        let result = decode_bytes(&wav);
        let expected = matches!(result, Err(AudioError::SampleRate { found, .. }) if found == rate);
        assert!(expected, "{rate} Hz: {result:?}");
    }
}
