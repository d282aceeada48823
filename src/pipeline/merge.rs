//! Chunk results to one transcript. Pure.

use std::time::Duration;

use crate::scheduler::ChunkDone;
use crate::transcript::{Run, Segment, Word};

/// A finished chunk and where it stands in the file.
#[derive(Debug)]
pub(super) struct ChunkResult {
    pub(super) index: usize,
    pub(super) start: Duration,
    pub(super) duration: Duration,
    pub(super) done: ChunkDone,
}

impl ChunkResult {
    /// Its length in seconds.
    pub(super) fn duration(&self) -> f64 {
        self.duration.as_secs_f64()
    }
}

/// Puts chunks in order and their times on the file's clock.
pub(super) fn merge(mut results: Vec<ChunkResult>) -> (Vec<Segment>, Vec<Run>) {
    results.sort_by_key(|result| result.index);
    let mut segments = Vec::new();
    let mut runs = Vec::new();
    for ChunkResult { start, duration, done, .. } in results {
        let (start, end) = (start.as_secs_f64(), (start + duration).as_secs_f64());
        runs.push(Run {
            start,
            end,
            device: done.device,
            backend: done.backend,
            model: done.model,
            fallback_reason: done.fallback_reason,
        });
        let spoken = done.segments.into_iter().filter(|segment| !segment.text.trim().is_empty());
        segments.extend(spoken.map(|segment| shift(segment, start, end)));
    }
    (segments, runs)
}

/// Moves a segment from its chunk's clock to the file's. whisper.cpp pads a chunk to 30 s, and
/// may place an end in the padding.
fn shift(segment: Segment, chunk_start: f64, chunk_end: f64) -> Segment {
    let at = |seconds: f64| (chunk_start + seconds).clamp(chunk_start, chunk_end);
    let word = |word: Word| Word { start: at(word.start), end: at(word.end), ..word };
    Segment {
        start: at(segment.start),
        end: at(segment.end),
        words: segment.words.into_iter().map(word).collect(),
        ..segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend, DeviceId};

    fn segment(start: f64, end: f64, text: &str) -> Segment {
        Segment {
            start,
            end,
            text: text.to_owned(),
            tokens: Vec::new(),
            temperature: 0.0,
            avg_logprob: 0.0,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
            words: vec![Word { text: text.trim().to_owned(), start, end, probability: 1.0 }],
            logprobs: Vec::new(),
        }
    }

    fn chunk(index: usize, start: u64, segments: Vec<Segment>) -> ChunkResult {
        ChunkResult {
            index,
            start: Duration::from_secs(start),
            duration: Duration::from_secs(20),
            done: ChunkDone {
                segments,
                languages: Vec::new(),
                device: DeviceId::cpu(),
                backend: Backend::Cpu,
                model: "demo".to_owned(),
                fallback_reason: None,
                queue_time: Duration::ZERO,
                inference_time: Duration::ZERO,
            },
        }
    }

    #[test]
    fn chunks_that_finish_out_of_order_are_put_in_order_and_on_the_clock_of_the_file() {
        let (segments, runs) = merge(vec![
            chunk(1, 20, vec![segment(0.5, 30.0, " world")]),
            chunk(0, 0, vec![segment(1.0, 2.0, " hello"), segment(2.0, 3.0, "  ")]),
        ]);
        let times: Vec<_> = segments.iter().map(|s| (s.text.as_str(), s.start, s.end)).collect();
        assert_eq!(times, [(" hello", 1.0, 2.0), (" world", 20.5, 40.0)]);
        assert_eq!(segments[1].words[0].start, 20.5);
        assert_eq!(runs.iter().map(|run| run.start).collect::<Vec<_>>(), [0.0, 20.0]);
    }
}
