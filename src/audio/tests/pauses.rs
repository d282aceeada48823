//! Pauses that end a chunk at once.

use super::chunks::{chunks_of, lengths};
use super::*;

/// A WAV of `parts`: seconds and a level in decibels of full scale, all of it noise.
fn noise(parts: &[(f64, f64)]) -> Vec<u8> {
    let mut wav = tone_wav(16_000, 1, parts.iter().map(|(seconds, _)| seconds).sum(), 0.0);
    let levels = parts.iter().flat_map(|(seconds, decibels)| {
        let amplitude = 32_767.0 * 10_f64.powf(decibels / 20.0);
        std::iter::repeat_n(amplitude, (seconds * 16_000.0).round() as usize)
    });
    let mut state = 1_u32;
    for (sample, amplitude) in wav[44..].chunks_exact_mut(2).zip(levels) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let random = f64::from(state >> 8) / f64::from(1 << 23) - 1.0;
        sample.copy_from_slice(&((random * amplitude) as i16).to_le_bytes());
    }
    wav
}

const SPEECH: f64 = -10.0;
const PAUSE: f64 = -50.0;

fn policy(pauses: Pauses) -> ChunkPolicy {
    ChunkPolicy { pauses: Some(pauses), ..ChunkPolicy::default() }
}

#[track_caller]
fn check(pauses: Pauses, parts: &[(f64, f64)], expected: &[f64]) {
    let found = lengths(file_of(&noise(parts)), policy(pauses));
    let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 0.02;
    let same = found.len() == expected.len() && found.iter().zip(expected).all(near);
    assert!(same, "{found:?} instead of {expected:?}");
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn a_pause_ends_a_chunk_and_its_end_stays_with_what_follows() {
    let parts = [(2.0, SPEECH), (0.5, PAUSE), (3.0, SPEECH), (0.8, PAUSE), (2.0, SPEECH)];
    check(Pauses::default(), &parts, &[2.2, 3.8, 2.3]);
    check(Pauses { padding: milliseconds(0), ..Pauses::default() }, &parts, &[2.5, 3.8, 2.0]);
    // All of the pause and no more.
    check(Pauses { padding: milliseconds(5_000), ..Pauses::default() }, &parts, &[2.0, 3.5, 2.8]);
}

#[test]
fn a_pause_must_be_as_long_as_is_asked_for() {
    let parts = [(2.0, SPEECH), (0.15, PAUSE), (2.0, SPEECH), (0.4, PAUSE), (2.0, SPEECH)];
    check(Pauses::default(), &parts, &[4.25, 2.3]);
    check(Pauses { shortest: milliseconds(100), ..Pauses::default() }, &parts, &[2.0, 2.25, 2.3]);
    check(Pauses { shortest: milliseconds(500), ..Pauses::default() }, &parts, &[6.55]);
}

#[test]
fn the_threshold_is_relative_to_the_loudest() {
    // 15 dB and 30 dB below.
    let parts = [(2.0, -20.0), (0.5, -35.0), (2.0, -20.0), (0.5, -50.0), (2.0, -20.0)];
    let threshold = |threshold| Pauses { threshold, ..Pauses::default() };
    check(threshold(0.0), &parts, &[7.0]);
    check(threshold(0.5), &parts, &[4.7, 2.3]);
    check(threshold(0.75), &parts, &[2.2, 2.5, 2.3]);
}

#[test]
fn no_chunk_is_shorter_than_a_second() {
    let words: Vec<_> = [(0.4, SPEECH), (0.4, PAUSE)].repeat(20);
    let lengths = lengths(file_of(&noise(&words)), policy(Pauses::default()));
    assert!(lengths.len() > 5, "{lengths:?}");
    assert!(lengths.iter().all(|length| (1.0..2.5).contains(length)), "{lengths:?}");
}

#[test]
fn speech_without_a_pause_is_cut_as_ever() {
    let parts = [(24.0, SPEECH), (0.15, PAUSE), (20.0, SPEECH)];
    let found = lengths(file_of(&noise(&parts)), policy(Pauses::default()));
    assert_eq!(found, lengths(file_of(&noise(&parts)), ChunkPolicy::default()));
}

#[test]
fn silence_alone_has_no_pauses() {
    for level in [-120.0, PAUSE, SPEECH] {
        check(Pauses::default(), &[(12.0, level)], &[12.0]);
    }
    check(Pauses::default(), &[(3.0, PAUSE), (3.0, SPEECH), (3.0, PAUSE)], &[9.0]);
}

#[test]
fn a_pause_longer_than_a_chunk_is_cut_where_the_chunk_must_end() {
    let parts = [(5.0, SPEECH), (60.0, PAUSE), (5.0, SPEECH)];
    let lengths = lengths(file_of(&noise(&parts)), policy(Pauses::default()));
    assert!(lengths.iter().all(|length| (1.0..=30.0).contains(length)), "{lengths:?}");
    assert!((lengths.iter().sum::<f64>() - 70.0).abs() < 1e-9);
}

#[test]
fn chunks_in_a_row_are_the_whole_stream_whatever_the_pauses() {
    let whole = decode_fixture("eval/29.flac").unwrap().samples;
    let file = File::open(fixture("eval/29.flac")).unwrap();
    let chunks = chunks_of(file, policy(Pauses::default()));
    assert!(chunks.len() > 3, "{} chunks", chunks.len());
    let joined: Vec<f32> = chunks.iter().flat_map(|chunk| chunk.samples.iter().copied()).collect();
    assert_eq!(joined, whole);
}

#[test]
fn a_policy_reads_back_as_itself() {
    let policy = policy(Pauses::default());
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<ChunkPolicy>(&json).unwrap(), policy);
}
