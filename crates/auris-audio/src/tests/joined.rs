//! Several recordings in one file, and what cannot be read behind one.

use super::codecs::align;
use super::recordings_headers::sentence;
use super::*;

/// Every container but those that have no end, joined to itself.
#[test]
fn whole_files_can_be_joined() {
    for (name, slack) in [
        ("speech.wav", 0),
        ("wav-s24.wav", 0),
        ("wav-mulaw.wav", 0),
        ("rf64.wav", 0),
        ("aiff.aiff", 0),
        ("caf.caf", 0),
        ("flac.flac", 0),
        ("m4a-aac.m4a", 800),
        ("m4a-faststart.m4a", 800),
        ("m4a-fragmented.m4a", 1_600),
        ("alac.m4a", 0),
        ("webm-opus.webm", 400),
        ("webm-opus-live.webm", 400),
        ("mkv-opus.mkv", 400),
    ] {
        let one = fixture_bytes(&format!("codecs/{name}"));
        let alone = decode_bytes(&one).unwrap().samples;
        let both = decode_bytes(&[&one[..], &one, &one].concat()).unwrap();
        assert!(
            both.samples.len().abs_diff(3 * alone.len()) <= 2 * slack,
            "{name}: {}",
            both.samples.len()
        );
        assert!(!both.truncated, "{name} taken for truncated");
        let (delay, correlation) = align(&alone, &both.samples[alone.len()..]);
        assert!(
            delay.abs() <= slack as i64 && correlation > 0.96,
            "{name}: {delay}, {correlation}"
        );
    }
}

#[test]
fn files_of_other_formats_can_be_joined() {
    let (wav, flac) = (fixture_bytes("codecs/speech.wav"), fixture_bytes("codecs/flac.flac"));
    let mp3 = fixture_bytes("codecs/mp3-cbr-xing.mp3");
    let joined = decode_bytes(&[&wav[..], &wav, &flac, &flac].concat());
    assert_eq!(joined.unwrap().samples.len(), 64_000);
    let joined = decode_bytes(&[&wav[..], &mp3].concat()).unwrap();
    assert!(joined.samples.len().abs_diff(32_000) < 80);
    let (m4a, aac) = (fixture_bytes("codecs/m4a-aac.m4a"), fixture_bytes("codecs/adts.aac"));
    for bytes in [[&wav[..], &m4a], [&wav[..], &aac], [&m4a[..], &wav], [&m4a[..], &flac]] {
        let joined = decode_bytes(&bytes.concat()).unwrap();
        assert!(joined.samples.len().abs_diff(32_000) < 2_000, "{}", joined.samples.len());
        assert!(!joined.truncated);
    }
}

#[test]
fn a_short_recording_and_one_behind_padding_count() {
    let (wav, short) = (fixture_bytes("codecs/speech.wav"), tone_wav(16_000, 1, 0.1, 440.0));
    assert_eq!(decode_bytes(&[&wav[..], &short].concat()).unwrap().samples.len(), 17_600);
    let mkv = fixture_bytes("codecs/mkv-opus.mkv");
    let alone = decode_bytes(&mkv).unwrap().samples.len();
    let padded = decode_bytes(&[&mkv[..], &[0; 70_000], &wav].concat()).unwrap();
    assert_eq!(padded.samples.len(), alone + 16_000);
}

#[test]
fn zeros_at_the_start_of_an_unfinished_recording_are_part_of_it() {
    let mut wav = tone_wav(16_000, 1, 0.5, 440.0);
    let sound = wav.split_off(44);
    wav[40..44].fill(0);
    let silence = vec![0; 9 << 20];
    let decoded = decode_bytes(&[&wav[..], &silence, &sound].concat()).unwrap();
    assert_eq!(decoded.samples.len(), (silence.len() + sound.len()) / 2);
}

fn unread(bytes: &[u8]) -> (u64, bool) {
    let mut stream = AudioStream::open(file_of(bytes), &Limits::default()).unwrap();
    while stream.read(&mut Vec::new()).unwrap() {}
    (stream.losses().unread_bytes, stream.truncated())
}

#[test]
fn what_cannot_be_read_behind_a_recording_is_counted() {
    let mkv = fixture_bytes("codecs/mkv-opus.mkv");
    assert_eq!(unread(&mkv), (0, false));
    let noise: Vec<u8> = (0..9_000_u32).map(|n| ((n * n) >> 3) as u8 & 0x7f).collect();
    assert_eq!(unread(&[&mkv[..], &noise].concat()), (9_000, true));
    assert_eq!(unread(&[&mkv[..], &[0; 9_000]].concat()), (0, false));
    let header = &fixture_bytes("codecs/flac.flac")[..42];
    let broken = [&sentence()[..], header, &noise].concat();
    assert_eq!(unread(&broken), (9_042, true));
}

#[test]
fn a_thousand_recordings_are_read_and_no_more() {
    let one = tone_wav(16_000, 1, 0.3, 440.0);
    let decoded = decode_bytes(&one.repeat(1_003)).unwrap();
    assert_eq!(decoded.samples.len(), 4_800 * 1_000);
    assert!(decoded.truncated);
}

#[test]
fn the_first_recording_decides_about_the_channels() {
    let (mono, stereo) = (tone_wav(16_000, 1, 0.5, 440.0), tone_wav(16_000, 2, 0.5, 440.0));
    for (file, choice, signals) in [
        ([&stereo[..], &mono].concat(), "split", 2),
        ([&stereo[..], &mono].concat(), "right", 1),
        ([&mono[..], &stereo].concat(), "split", 1),
    ] {
        let (parts, found) =
            decode_selected(file_of(&file), &Limits::default(), ("", choice)).unwrap();
        assert_eq!(found.len(), signals, "{choice}");
        assert!(found.iter().all(|signal| signal.len() == 16_000), "{choice}");
        assert_eq!(parts.split.len(), if choice == "split" { signals } else { 0 });
    }
}
