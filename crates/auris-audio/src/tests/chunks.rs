//! Cutting: at pauses, exactly, and without remainders.

use super::*;

pub(super) fn chunks_of(file: File, policy: ChunkPolicy) -> Vec<Chunk> {
    let stream = AudioStream::open(file, &Limits::default()).unwrap();
    let mut chunks = Chunks::new(stream, policy);
    std::iter::from_fn(|| chunks.next_chunk().unwrap()).collect()
}

/// Without looking for speech.
const LOUDNESS: ChunkPolicy = ChunkPolicy {
    max: Duration::from_secs(30),
    min: Duration::from_secs(20),
    min_tail: Duration::from_secs(1),
    vad: None,
};

pub(super) fn lengths(file: File, policy: ChunkPolicy) -> Vec<f64> {
    chunks_of(file, policy).iter().map(|chunk| chunk.duration().as_secs_f64()).collect()
}

pub(super) fn eval(name: &str) -> File {
    File::open(fixture(&format!("eval/{name}"))).unwrap()
}

/// Start and end of each sentence in seconds.
pub(super) fn sentences(name: &str) -> Vec<(f64, f64)> {
    let truth: serde_json::Value =
        serde_json::from_slice(&fixture_bytes("eval/truth.json")).unwrap();
    let sentences = truth[name]["sentences"].as_array().unwrap();
    let seconds = |value: &serde_json::Value| value.as_f64().unwrap();
    sentences.iter().map(|s| (seconds(&s["start"]), seconds(&s["end"]))).collect()
}

#[test]
fn no_cut_falls_inside_a_sentence() {
    for (name, policy) in ["28.flac", "29.flac", "30.flac"]
        .into_iter()
        .flat_map(|name| [(name, LOUDNESS), (name, ChunkPolicy::default())])
    {
        let chunks = chunks_of(eval(name), policy);
        assert!(chunks.len() > 1, "{name} is not cut at all");
        for cut in chunks.iter().skip(1).map(|chunk| chunk.start().as_secs_f64()) {
            let inside = |(start, end): &(f64, f64)| *start + 0.05 < cut && cut < *end - 0.05;
            let sentence = sentences(name).into_iter().find(inside);
            assert_eq!(sentence, None, "{name} is cut at {cut}");
        }
    }
}

#[test]
fn chunks_in_a_row_are_the_whole_stream() {
    let whole = decode_fixture("eval/29.flac").unwrap().samples;
    let chunks = chunks_of(eval("29.flac"), LOUDNESS);
    let mut joined = Vec::new();
    for (index, chunk) in chunks.into_iter().enumerate() {
        assert_eq!(chunk.index, index);
        assert_eq!(chunk.start_sample, joined.len() as u64);
        assert!(!chunk.samples.is_empty() && chunk.duration() <= ChunkPolicy::default().max);
        joined.extend_from_slice(&chunk.samples);
    }
    assert_eq!(joined, whole);
}

#[test]
fn short_file_is_one_chunk() {
    assert_eq!(lengths(eval("00.flac"), ChunkPolicy::default()).len(), 1);
}

#[test]
fn file_of_exactly_the_longest_chunk_is_one() {
    let wav = tone_wav(16_000, 1, 30.0, 440.0);
    assert_eq!(lengths(file_of(&wav), LOUDNESS), [30.0]);
}

#[test]
fn tail_is_never_shorter_than_a_second() {
    for seconds in [30.1, 30.99, 31.0, 31.5] {
        for frequency in [0.0, 440.0] {
            let wav = tone_wav(16_000, 1, seconds, frequency);
            let lengths = lengths(file_of(&wav), LOUDNESS);
            assert_eq!(lengths.len(), 2, "{seconds} s");
            assert!(lengths[1] >= 1.0, "{seconds} s: {lengths:?}");
        }
    }
}

#[test]
fn silence_is_cut_late() {
    let wav = tone_wav(16_000, 1, 100.0, 0.0);
    let lengths = lengths(file_of(&wav), LOUDNESS);
    assert_eq!(lengths.len(), 4, "{lengths:?}");
    assert!(lengths[..3].iter().all(|length| *length > 29.0), "{lengths:?}");
}

/// A pause of 0.4 s at 24 s wins over closures of 0.08 s elsewhere, however quiet these are.
#[test]
fn long_pause_wins_over_short_gaps() {
    let mut wav = tone_wav(16_000, 1, 40.0, 440.0);
    let mut silence = |start: f64, seconds: f64| {
        let byte = |seconds: f64| 44 + 2 * (seconds * 16_000.0) as usize;
        wav[byte(start)..byte(start + seconds)].fill(0);
    };
    silence(24.0, 0.4);
    for gap in [21.0, 22.5, 26.0, 28.0, 29.5] {
        silence(gap, 0.08);
    }
    let lengths = lengths(file_of(&wav), LOUDNESS);
    assert!((lengths[0] - 24.2).abs() < 0.02, "{lengths:?}");
}

#[test]
fn equal_pauses_give_the_later_cut() {
    let mut wav = tone_wav(16_000, 1, 40.0, 440.0);
    for start in [21.0, 27.0] {
        let byte = 44 + 2 * (start * 16_000.0) as usize;
        wav[byte..byte + 16_000].fill(0);
    }
    let lengths = lengths(file_of(&wav), LOUDNESS);
    assert!((lengths[0] - 27.25).abs() < 0.02, "{lengths:?}");
}

#[test]
fn policy_without_sense_still_ends() {
    let second = Duration::from_secs(1);
    let (min, min_tail) = (5 * second, 60 * second);
    let policy = ChunkPolicy { max: Duration::ZERO, min, min_tail, vad: None };
    let lengths = lengths(file_of(&tone_wav(16_000, 1, 3.5, 440.0)), policy);
    assert!((lengths.iter().sum::<f64>() - 3.5).abs() < 1e-9, "{lengths:?}");
}
