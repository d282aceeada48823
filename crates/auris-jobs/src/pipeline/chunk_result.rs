//! What is known of a finished chunk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hallucination_filter::{self, Filtered};
use auris_audio::{Chunk, SAMPLE_RATE_HZ};
use auris_core::recording::Channel;
use auris_core::transcript::{Run, Segment, Skipped, Word};
use auris_scheduler::ChunkDone;

/// A finished chunk on the file's clock, without text that is empty or cannot be trusted. Stored
/// with a job, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChunkResult {
    /// Its place, from 0.
    pub index: usize,
    /// Its first sample, counted at 16 kHz from the start of the file.
    pub start_sample: u64,
    /// Its length in samples.
    pub samples: u64,
    /// Where it was transcribed.
    pub run: Run,
    /// In order, within the chunk.
    pub segments: Vec<Segment>,
    /// The stretches whose text cannot be trusted.
    pub skipped: Vec<Skipped>,
    /// From the chunk's arrival to the start of the attempt that succeeded.
    pub queue_time: Duration,
    /// Time in the engine.
    pub inference_time: Duration,
}

/// A chunk's position in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChunkSpan {
    pub(super) index: usize,
    pub(super) channel: Option<Channel>,
    pub(super) start_sample: u64,
    pub(super) samples: u64,
}

impl ChunkSpan {
    pub(super) fn of(chunk: &Chunk) -> Self {
        let Chunk { index, channel, start_sample, ref samples, .. } = *chunk;
        Self { index, channel, start_sample, samples: samples.len() as u64 }
    }
}

impl ChunkResult {
    pub(super) fn new(span: ChunkSpan, done: ChunkDone) -> Self {
        let ChunkSpan { index, channel, start_sample, samples } = span;
        let (start, end) = (seconds(start_sample), seconds(start_sample + samples));
        let spoken = done.segments.into_iter().filter(|segment| !segment.text.trim().is_empty());
        let placed = spoken.map(|segment| Segment { channel, ..shift(segment, start, end) });
        let Filtered { kept, skipped } = hallucination_filter::filter_segments(placed.collect());
        Self {
            index,
            start_sample,
            samples,
            run: Run {
                start,
                end,
                device: done.device,
                backend: done.backend,
                model: done.model,
                fallback_reason: done.fallback_reason,
                channel,
            },
            segments: kept,
            skipped,
            queue_time: done.queue_time,
            inference_time: done.inference_time,
        }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        seconds(self.samples)
    }

    pub(super) fn span(&self) -> ChunkSpan {
        let Self { index, start_sample, samples, ref run, .. } = *self;
        ChunkSpan { index, channel: run.channel, start_sample, samples }
    }
}

pub(super) fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE_HZ)
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
pub(super) mod testing {
    use std::sync::Arc;

    use super::*;
    use auris_core::device::{Backend, DeviceId};

    pub(in crate::pipeline) fn segment(start: f64, end: f64, text: &str) -> Segment {
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
            channel: None,
        }
    }

    /// 20 s of a channel.
    pub(in crate::pipeline) fn channel_chunk(
        channel: Option<Channel>,
        index: usize,
        start: u64,
        segments: Vec<Segment>,
    ) -> ChunkResult {
        let (start_sample, samples) = (start * 16_000, 20 * 16_000);
        let done = ChunkDone {
            segments,
            languages: Vec::new(),
            device: DeviceId::cpu(),
            backend: Backend::Cpu,
            model: "demo".to_owned(),
            fallback_reason: None,
            queue_time: Duration::ZERO,
            inference_time: Duration::ZERO,
        };
        ChunkResult::new(ChunkSpan { index, channel, start_sample, samples }, done)
    }

    pub(in crate::pipeline) fn chunk(
        index: usize,
        start: u64,
        segments: Vec<Segment>,
    ) -> Arc<ChunkResult> {
        Arc::new(channel_chunk(None, index, start, segments))
    }
}
