//! Files that break off, lie, or are noise.

use super::mutation::{Random, mutated};
use super::*;

/// Every clip that decodes.
pub(super) const CLIPS: &[&str] = &[
    "speech.wav",
    "wav-mulaw.wav",
    "wav-adpcm-ms.wav",
    "wav-adpcm-ima.wav",
    "aiff.aiff",
    "caf.caf",
    "flac.flac",
    "alac.m4a",
    "mp3-cbr-xing.mp3",
    "mp3-vbr-bare.mp3",
    "mp2.mp2",
    "adts.aac",
    "m4a-aac.m4a",
    "m4a-faststart.m4a",
    "m4a-fragmented.m4a",
    "ogg-vorbis.ogg",
    "ogg-opus.opus",
    "webm-opus.webm",
    "webm-opus-live.webm",
    "mp4-opus.mp4",
    "ogg-chained.ogg",
    "video.mp4",
];

/// And recordings with headers that are wrong, or with several in a file.
const RECORDINGS: &[&str] = &[
    "4-mp3-changes-layout/layer_2_to_3.mp3",
    "4-mp3-changes-layout/mix_sm.mp3",
    "5-wav-header-never-finished/avaudiofile_unfinished.wav",
    "6-wav-sizes-that-disagree/dsize_odd_trunc.wav",
    "6-wav-sizes-that-disagree/pipe.caf",
    "9-joined-recordings/cat.flac",
    "9-joined-recordings/cat.webm",
    "9-joined-recordings/cat_rates.aac",
    "9-joined-recordings/live_then_closed.webm",
    "10-out-of-phase-stereo/inv.ogg",
    "14-caf-ima4/size_unknown.caf",
    "15-m2ts-mxf/cut.ts",
];

/// Cuts the clip at a part of its bytes; at least `part - 0.2` of its length must come out.
fn check_truncated(name: &str, part: f64) -> Decoded {
    let bytes = fixture_bytes(&format!("codecs/{name}"));
    let whole = decode_bytes(&bytes).unwrap().samples;
    let decoded = decode_bytes(&bytes[..(bytes.len() as f64 * part) as usize]).unwrap();
    let share = decoded.samples.len() as f64 / whole.len() as f64;
    assert!((part - 0.2..=part + 0.2).contains(&share), "{name}: {share} of the samples");
    // All that comes out is what would have come; the filter's end is a few milliseconds long.
    let sure = decoded.samples.len() - 400;
    let alike = whole.iter().zip(&decoded.samples[..sure]).all(|(a, b)| (a - b).abs() < 1e-3);
    assert!(alike, "{name}: the samples before the cut are others");
    decoded
}

#[test]
fn truncated_files_give_what_they_have() {
    for name in ["speech.wav", "aiff.aiff", "caf.caf", "flac.flac", "m4a-fragmented.m4a"] {
        check_truncated(name, 0.6);
    }
    for name in ["mp3-cbr.mp3", "mp3-cbr-xing.mp3", "adts.aac", "ogg-vorbis.ogg", "ogg-opus.opus"] {
        check_truncated(name, 0.6);
    }
}

#[test]
fn truncated_mp4_gives_what_it_has() {
    assert!(check_truncated("m4a-faststart.m4a", 0.7).truncated);
}

#[test]
fn truncated_webm_gives_what_it_has() {
    assert!(check_truncated("webm-opus.webm", 0.6).truncated);
    assert!(check_truncated("webm-opus-live.webm", 0.6).truncated);
}

/// MP4 has its table of contents at the end.
#[test]
fn files_that_need_their_end_are_corrupt_without_it() {
    let bytes = fixture_bytes("codecs/m4a-aac.m4a");
    let result = decode_bytes(&bytes[..bytes.len() / 2]);
    assert!(matches!(result, Err(AudioError::Corrupt { .. })), "{result:?}");
}

#[test]
fn damaged_packets_keep_the_time_of_what_follows() {
    let mut bytes = fixture_bytes("codecs/mp3-cbr.mp3");
    let whole = decode_bytes(&bytes).unwrap().samples;
    let middle = bytes.len() / 2;
    bytes[middle..middle + 500].fill(0);
    let damaged = decode_bytes(&bytes).unwrap().samples;
    // Up to three frames of 26 ms are gone without a trace where their headers are.
    assert!(whole.len() - damaged.len() <= 3 * 418, "{} of {}", damaged.len(), whole.len());
}

#[test]
fn noise_is_no_audio() {
    let mut random = Random(1);
    let noise: Vec<u8> = (0..300_000).map(|_| random.next() as u8).collect();
    let result = decode_bytes(&noise);
    assert!(matches!(result, Err(AudioError::UnknownFormat { .. })), "{result:?}");
    let zeros = decode_bytes(&[0; 10_000]);
    assert!(matches!(zeros, Err(AudioError::UnknownFormat { .. })), "{zeros:?}");
}

#[test]
fn headers_without_sense_are_errors() {
    for magic in
        [&b"RIFF\xff\xff\xff\xffWAVE"[..], b"fLaC", b"OggS", b"\0\0\0\x10ftypM4A ", b"caff"]
    {
        let mut bytes = magic.to_vec();
        let mut random = Random(2);
        bytes.extend((0..10_000).map(|_| random.next() as u8));
        assert!(decode_bytes(&bytes).is_err(), "{magic:?}");
        assert!(decode_bytes(magic).is_err(), "{magic:?} alone");
    }
}

#[test]
fn a_thousand_damaged_files_give_clean_samples_or_errors_in_time() {
    let clips = CLIPS.iter().map(|name| fixture_bytes(&format!("codecs/{name}")));
    check_damaged(&clips.collect::<Vec<_>>());
}

#[test]
fn a_thousand_damaged_recordings_give_clean_samples_or_errors_in_time() {
    let clips = recordings::CASES.iter().map(|(name, _)| *name).chain(RECORDINGS.iter().copied());
    let clips = clips.map(|name| format!("recordings/{name}"));
    check_damaged(&clips.map(|name| fixture_bytes(&name)).collect::<Vec<_>>());
}

fn check_damaged(clips: &[Vec<u8>]) {
    let limits = Limits {
        max_duration: Duration::from_secs(60),
        max_decode: Duration::from_secs(10),
        ..Limits::default()
    };
    for seed in 0..1_000 {
        let bytes = mutated(clips, seed);
        match decode(file_of(&bytes), &limits) {
            Ok(decoded) => {
                let clean = decoded.samples.iter().all(|s| (-1.0..=1.0).contains(s));
                assert!(clean, "seed {seed} gives samples out of range");
            }
            Err(error) => {
                let is_ours = matches!(error, AudioError::Io(_) | AudioError::TooSlow);
                assert!(!is_ours, "seed {seed}: {error}");
            }
        }
    }
}
