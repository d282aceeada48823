//! Each codec and container against the WAV file it was made from.

use super::*;

/// What a codec does to the clip.
struct Expected {
    container: &'static str,
    codec: &'static str,
    /// How much longer the result is, in samples at 16 kHz, give or take 80 of them (5 ms).
    longer: i64,
    /// How late the clip starts in samples at 16 kHz, give or take 1.
    delay: i64,
    /// How alike the waves must be, from 0 to 1.
    correlation: f64,
}

const LOSSLESS: f64 = 0.999_999;

fn check(name: &str, expected: &Expected) {
    let reference = decode_fixture("codecs/speech.wav").unwrap().samples;
    let decoded = decode_fixture(&format!("codecs/{name}")).unwrap();
    assert_eq!(decoded.info.container, expected.container, "{name}");
    assert_eq!(decoded.info.codec, expected.codec, "{name}");
    assert!(!decoded.truncated, "{name} taken for truncated");

    let longer = decoded.samples.len() as i64 - reference.len() as i64;
    assert!((longer - expected.longer).abs() <= 80, "{name} is {longer} samples longer");
    let (delay, correlation) = align(&reference, &decoded.samples);
    assert!((delay - expected.delay).abs() <= 1, "{name} is {delay} samples late");
    assert!(correlation >= expected.correlation, "{name} correlates by {correlation}");
}

/// The delay in samples at which `samples` is most like `reference`, and how alike they are.
pub(super) fn align(reference: &[f32], samples: &[f32]) -> (i64, f64) {
    let correlation = |delay: i64| {
        let (skip_reference, skip) = ((-delay).max(0) as usize, delay.max(0) as usize);
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (a, b) in reference.iter().skip(skip_reference).zip(samples.iter().skip(skip)) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt()
    };
    (-1_600..=1_600)
        .map(|delay| (delay, correlation(delay)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

#[test]
fn pcm_is_exact() {
    let check_pcm = |name, container, codec, correlation| {
        check(name, &Expected { container, codec, longer: 0, delay: 0, correlation });
    };
    check_pcm("speech.wav", "WAV", "pcm_s16le", LOSSLESS);
    check_pcm("wav-s24.wav", "WAV", "pcm_s24le", LOSSLESS);
    check_pcm("aiff.aiff", "AIFF", "pcm_s16be", LOSSLESS);
    check_pcm("caf.caf", "CAF", "pcm_s16le", LOSSLESS);
    check_pcm("wav-u8.wav", "WAV", "pcm_u8", 0.999);
    check_pcm("wav-mulaw.wav", "WAV", "pcm_mulaw", 0.999);
    check_pcm("wav-alaw.wav", "WAV", "pcm_alaw", 0.999);
}

#[test]
fn float_pcm_is_exact() {
    // This clip ends after 0.75 s.
    let expected = Expected {
        container: "WAV",
        codec: "pcm_f32le",
        longer: -4_000,
        delay: 0,
        correlation: LOSSLESS,
    };
    check("wav-f32.wav", &expected);
}

#[test]
fn lossless_codecs_are_exact() {
    let check_lossless = |name, container, codec| {
        let expected = Expected { container, codec, longer: 0, delay: 0, correlation: LOSSLESS };
        check(name, &expected);
    };
    check_lossless("flac.flac", "FLAC", "flac");
    check_lossless("alac.m4a", "MP4", "alac");
}

#[test]
fn adpcm_ends_with_a_whole_block() {
    let check_adpcm = |name, codec, longer| {
        let expected = Expected { container: "WAV", codec, longer, delay: 0, correlation: 0.998 };
        check(name, &expected);
    };
    check_adpcm("wav-adpcm-ms.wav", "adpcm_ms", 288);
    check_adpcm("wav-adpcm-ima.wav", "adpcm_ima_wav", 328);
}

#[test]
fn mp3_with_xing_header_keeps_its_length() {
    let expected =
        Expected { container: "MPEG audio", codec: "mp3", longer: 0, delay: 0, correlation: 0.997 };
    check("mp3-cbr-xing.mp3", &expected);
    check("mp3-vbr.mp3", &expected);
}

/// Without the header nothing declares the padding at the end.
#[test]
fn mp3_without_xing_header_keeps_its_tail_and_its_times() {
    let expected = Expected {
        container: "MPEG audio",
        codec: "mp3",
        longer: 318,
        delay: 0,
        correlation: 0.996,
    };
    check("mp3-cbr.mp3", &expected);
    check("mp3-vbr-bare.mp3", &expected);
}

#[test]
fn mp2_starts_where_the_recording_does() {
    let expected = Expected {
        container: "MPEG audio",
        codec: "mp2",
        longer: 126,
        delay: 0,
        correlation: 0.97,
    };
    check("mp2.mp2", &expected);
}

/// Bare frames and fragments do not declare the padding at the end.
#[test]
fn aac_starts_and_ends_where_the_recording_does() {
    let check_aac = |name, container, longer, correlation| {
        check(name, &Expected { container, codec: "aac", longer, delay: 0, correlation });
    };
    check_aac("adts.aac", "AAC (ADTS)", 347, 0.97);
    check_aac("m4a-aac.m4a", "MP4", 0, 0.97);
    check_aac("m4a-faststart.m4a", "MP4", 0, 0.97);
    check_aac("m4a-fragmented.m4a", "MP4", 347, 0.97);
    check_aac("video.mp4", "MP4", 0, 0.99);
}

#[test]
fn vorbis_and_opus_keep_their_length() {
    let check_ogg = |name, codec, correlation| {
        let expected = Expected { container: "Ogg", codec, longer: 0, delay: 0, correlation };
        check(name, &expected);
    };
    check_ogg("ogg-vorbis.ogg", "vorbis", 0.99);
    check_ogg("ogg-opus.opus", "opus", 0.97);
}

#[test]
fn opus_in_webm_and_mp4_starts_and_ends_where_the_recording_does() {
    let check_opus = |name, container| {
        let expected =
            Expected { container, codec: "opus", longer: 0, delay: 0, correlation: 0.97 };
        check(name, &expected);
    };
    check_opus("webm-opus.webm", "WebM/Matroska");
    check_opus("webm-opus-live.webm", "WebM/Matroska");
    check_opus("mkv-opus.mkv", "WebM/Matroska");
    check_opus("mp4-opus.mp4", "MP4");
}

#[test]
fn chained_streams_follow_each_other_though_rate_and_codec_change() {
    let chained = decode_fixture("codecs/ogg-chained.ogg").unwrap();
    let opus = decode_fixture("codecs/ogg-opus.opus").unwrap();
    let vorbis = decode_fixture("codecs/ogg-vorbis.ogg").unwrap();
    let links = opus.samples.len() + vorbis.samples.len();
    assert!(chained.samples.len().abs_diff(links) <= 80, "{} of {links}", chained.samples.len());
    let (delay, correlation) = align(&vorbis.samples, &chained.samples[opus.samples.len()..]);
    assert!(delay.abs() <= 1 && correlation > 0.99, "{delay} samples late, {correlation}");
}

#[test]
fn joined_mp3_files_are_decoded_to_the_end() {
    let one = fixture_bytes("codecs/mp3-cbr-xing.mp3");
    let decoded = decode_bytes(&[one.clone(), one].concat()).unwrap();
    // Some padding is lost at the seam, some of the second file's delay stays.
    assert!(decoded.samples.len().abs_diff(32_000) < 1_600, "{} samples", decoded.samples.len());
}

#[test]
fn tags_before_the_audio_are_skipped() {
    let mut bytes = b"ID3\x04\0\0\0\0\x07\x68".to_vec();
    bytes.resize(10 + 7 * 128 + 0x68, b'x');
    let plain = decode_fixture("codecs/mp3-cbr.mp3").unwrap().samples;
    bytes.extend(fixture_bytes("codecs/mp3-cbr.mp3"));
    assert_eq!(decode_bytes(&bytes).unwrap().samples, plain);
}

#[test]
fn any_rate_and_channel_count_gives_the_same_tone() {
    let ideal = decode_bytes(&tone_wav(SAMPLE_RATE_HZ, 1, 0.5, 1_000.0)).unwrap().samples;
    for rate in [8_000, 44_100, 48_000, 96_000] {
        for channels in [1, 2, 6] {
            let decoded = decode_bytes(&tone_wav(rate, channels, 0.5, 1_000.0)).unwrap();
            assert_eq!(decoded.info.sample_rate_hz, rate);
            assert_eq!(decoded.info.channels, usize::from(channels));
            assert_eq!(decoded.samples.len(), ideal.len(), "{rate} Hz, {channels} channels");
            let (delay, correlation) = align(&ideal, &decoded.samples);
            assert_eq!(delay % 16, 0, "{rate} Hz, {channels} channels: {delay} samples late");
            assert!(correlation > 0.999, "{rate} Hz, {channels} channels: {correlation}");
        }
    }
}

#[test]
fn header_reports_the_length() {
    let info = decode_fixture("codecs/flac.flac").unwrap().info;
    assert_eq!(info.declared_duration, Some(Duration::from_secs(1)));
}
