//! Recordings of kinds that people send, whose sentences must be where they are in the recording.

use super::onsets::onsets;
use super::*;

/// A recording: its file, and where its sentences begin, in seconds.
type Case = (&'static str, &'static [f64]);

/// The start of the second sentence where packets are missing before it.
const GAP: &[f64] = &[0.22, 9.46];
const LATE: &[f64] = &[4.22];
const PLAIN: &[f64] = &[0.22];

/// What is decoded here. What takes ffmpeg is in tests/codecs.
pub(super) const CASES: &[Case] = &[
    ("1-timestamp-gaps/gap.mp4", GAP),
    ("1-timestamp-gaps/gapaac.mkv", GAP),
    ("1-timestamp-gaps/gap.webm", GAP),
    ("1-timestamp-gaps/gapo.ogg", GAP),
    ("1-timestamp-gaps/loss10.webm", PLAIN),
    ("2-audio-starts-later/off.mp4", LATE),
    ("2-audio-starts-later/off.mkv", LATE),
    ("2-audio-starts-later/off.webm", LATE),
    ("3-edit-list/edit_cut.m4a", &[0.22, 3.48]),
    ("3-edit-list/three.m4a", &[0.22, 3.44, 5.7]),
    ("3-edit-list/edit_trim.m4a", &[0.14]),
    ("7-matroska-compressed-track/mmz_flac.mkv", PLAIN),
    ("7-matroska-compressed-track/mmz_mp3.mkv", PLAIN),
    ("7-matroska-compressed-track/mmz_opus.mkv", PLAIN),
    ("7-matroska-compressed-track/mmz_wav.mkv", PLAIN),
    ("own/gap-fragments.mp4", &[0.22, 5.17]),
    ("own/gap-laced.mkv", &[0.22, 5.17]),
    ("own/gap-vorbis.ogg", &[0.22, 5.17]),
    ("own/loss-vorbis.webm", &[0.22, 5.17]),
    ("own/late-fragments.mp4", &[2.22]),
    ("own/late-track.mka", &[2.22]),
    ("own/late-alone.webm", PLAIN),
    ("own/edits-turned.m4a", &[0.17, 4.67]),
    ("own/edits-twice.m4a", &[1.72, 3.92]),
    ("own/zlib-aac.mkv", PLAIN),
    ("own/zlib-laced-vorbis.webm", PLAIN),
    ("own/stripped-mp3.mkv", PLAIN),
];

/// How far from there they may be, in seconds.
const TOLERANCE: f64 = 0.1;

fn recording(name: &str) -> Decoded {
    decode_fixture(&format!("recordings/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn sentences_are_where_they_are_in_the_recording() {
    for (name, expected) in CASES {
        let decoded = recording(name);
        let found = onsets(&decoded.samples);
        let is_near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= TOLERANCE;
        let all_near = found.iter().zip(*expected).all(is_near);
        assert!(found.len() == expected.len() && all_near, "{name}: {found:?} of {expected:?}");
        assert!(!decoded.losses.truncated, "{name} taken for truncated");
    }
}

#[test]
fn recordings_are_as_long_as_their_timestamps_say() {
    for (name, seconds) in [
        ("1-timestamp-gaps/gap.mp4", 12.8),
        ("1-timestamp-gaps/gapaac.mkv", 12.8),
        ("1-timestamp-gaps/gap.webm", 12.8),
        ("1-timestamp-gaps/gapo.ogg", 12.8),
        ("1-timestamp-gaps/loss10.webm", 3.33),
        ("3-edit-list/edit_cut.m4a", 6.775),
        ("own/edits-turned.m4a", 6.95),
        ("own/edits-twice.m4a", 5.9),
    ] {
        let found = recording(name).samples.len() as f64 / f64::from(SAMPLE_RATE_HZ);
        assert!((found - seconds).abs() < 0.03, "{name} is {found} s long");
    }
}

#[test]
fn what_was_filled_with_silence_is_reported() {
    let check = |name: &str, gaps: f64, start: f64| {
        let decoded = recording(name);
        let found = decoded.losses.gaps.as_secs_f64();
        assert!((found - gaps).abs() < 0.05, "{name}: gaps of {found} s");
        let found = decoded.info.start_offset.as_secs_f64();
        assert!((found - start).abs() < 0.05, "{name} begins after {found} s");
        assert_eq!(decoded.losses.undecodable, Duration::ZERO, "{name}");
    };
    check("1-timestamp-gaps/gap.mp4", 4.5, 0.0);
    check("1-timestamp-gaps/gapo.ogg", 4.5, 0.0);
    check("1-timestamp-gaps/loss10.webm", 0.34, 0.0);
    check("own/gap-fragments.mp4", 2.05, 0.0);
    check("2-audio-starts-later/off.mp4", 0.0, 4.0);
    check("2-audio-starts-later/off.webm", 0.0, 4.0);
    check("own/edits-twice.m4a", 0.0, 1.5);
    check("own/late-alone.webm", 0.0, 0.0);
}

#[test]
fn plain_files_get_no_silence() {
    for name in damage::CLIPS {
        let decoded = decode_fixture(&format!("codecs/{name}")).unwrap();
        assert_eq!(decoded.losses, Losses::default(), "{name}");
        assert_eq!(decoded.info.start_offset, Duration::ZERO, "{name}");
    }
}

#[test]
fn an_encrypted_track_is_refused() {
    for name in ["encrypted.mkv", "encrypted-ac3.mkv"] {
        let result = decode_fixture(&format!("recordings/own/{name}"));
        assert!(matches!(result, Err(AudioError::EncryptedTrack { .. })), "{name}: {result:?}");
    }
}

#[test]
fn an_encoding_that_cannot_be_undone_is_refused_with_what_to_do() {
    // Its algorithm becomes LZO.
    let mut bytes = fixture_bytes("recordings/own/zlib-aac.mkv");
    let at = bytes.windows(2).position(|id| id == [0x42, 0x54]).unwrap();
    bytes[at + 10] = 2;
    let error = decode_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("compressed with LZO") && error.contains("remux it"), "{error}");
}

#[test]
fn a_second_track_can_be_chosen_that_begins_with_the_file() {
    let file = File::open(fixture("recordings/own/late-track.mka")).unwrap();
    let (_, signals) = decode_selected(file, &Limits::default(), ("2", "mix")).unwrap();
    let found = onsets(&signals[0]);
    assert!(matches!(found[..], [one] if (one - 0.22).abs() < TOLERANCE), "{found:?}");
}

/// Frames that are damaged are silence, and counted.
#[test]
fn frames_that_cannot_be_undone_are_lost() {
    let name = "recordings/own/zlib-aac.mkv";
    let mut bytes = fixture_bytes(name);
    let whole = decode_bytes(&bytes).unwrap();
    let frames: Vec<usize> = bytes
        .windows(2)
        .enumerate()
        .filter(|(_, mark)| *mark == [0x78, 0x9c])
        .map(|(at, _)| at)
        .collect();
    for at in &frames[20..25] {
        bytes[*at] = 0xff;
    }
    let decoded = decode_bytes(&bytes).unwrap();
    assert_eq!(decoded.samples.len(), whole.samples.len());
    // Five packets of 64 ms.
    let lost = decoded.losses.undecodable.as_secs_f64();
    assert!((lost - 0.32).abs() < 0.01, "{lost} s");
    assert_eq!(decoded.losses.gaps, Duration::ZERO);
}

#[test]
fn a_timestamp_that_lies_makes_no_hours_of_silence() {
    let mut bytes = fixture_bytes("recordings/own/gap-laced.mkv");
    let whole = decode_bytes(&bytes).unwrap();
    // The last cluster's timestamp.
    let at = bytes.windows(4).rposition(|id| id == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
    assert_eq!(bytes[at + 12], 0xe7);
    bytes[at + 21..at + 29].copy_from_slice(&[0, 0, 7, 0, 0, 0, 0, 0]);
    let decoded = decode_bytes(&bytes).unwrap();
    let shorter = whole.samples.len() - decoded.samples.len();
    let gap = whole.losses.gaps - decoded.losses.gaps;
    // What is lost is a gap before that cluster.
    assert!(shorter.abs_diff((gap.as_secs_f64() * 16_000.0) as usize) < 400, "{shorter}, {gap:?}");
}
