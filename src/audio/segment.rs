//! Cutting a stream into chunks, in pauses where there are any.
//!
//! This looks at loudness only. Whether a chunk holds speech is not decided here.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pauses::{self, Pauses};
use super::{AudioError, AudioInfo, AudioStream, SAMPLE_RATE_HZ};

/// A stretch of the file to transcribe as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its number, from 0.
    pub index: usize,
    /// Its first sample, counted at 16 kHz from the start of the file.
    pub start_sample: u64,
    /// Mono f32 in [-1, 1] at 16 kHz, at most [`ChunkPolicy::max`] of it and never empty.
    pub samples: Arc<[f32]>,
}

impl Chunk {
    /// When it starts, from the start of the file.
    pub fn start(&self) -> Duration {
        duration_of(self.start_sample)
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len() as u64)
    }
}

/// Where a chunk may end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChunkPolicy {
    /// The longest chunk; whisper sees 30 s at once.
    pub max: Duration,
    /// Where the search for a pause begins. Whisper always pays for 30 s, so short chunks cost
    /// throughput; a late start leaves few pauses to choose from.
    pub min: Duration,
    /// The shortest remainder at the end of the file to leave for a chunk of its own. Whisper
    /// tends to invent words in clips shorter than a second.
    pub min_tail: Duration,
    /// If there is one, a pause ends a chunk before `min` too, as soon as the chunk is as long as
    /// `min_tail`. That costs throughput, up to 30 times for chunks of a second.
    pub pauses: Option<Pauses>,
}

impl Default for ChunkPolicy {
    /// 20 to 30 s with at least 1 s left at the end, and no earlier pause. In conversations, ten
    /// seconds hold several pauses between sentences.
    fn default() -> Self {
        Self {
            max: Duration::from_secs(30),
            min: Duration::from_secs(20),
            min_tail: Duration::from_secs(1),
            pauses: None,
        }
    }
}

/// A stream cut into chunks. Their samples in a row are the whole stream, bit by bit.
pub struct Chunks {
    stream: AudioStream,
    max_samples: usize,
    min_samples: usize,
    tail_samples: usize,
    pauses: Option<Pauses>,
    /// Decoded, but in no chunk yet.
    pending: Vec<f32>,
    next_index: usize,
    next_start: u64,
    ended: bool,
}

impl Chunks {
    /// Cuts `stream` by `policy`; `min` is taken as at most `max`, and `max` as at least 1 s.
    pub fn new(stream: AudioStream, policy: ChunkPolicy) -> Self {
        let max_samples = samples_in(policy.max.max(Duration::from_secs(1)));
        Self {
            stream,
            max_samples,
            min_samples: samples_in(policy.min).clamp(1, max_samples),
            tail_samples: samples_in(policy.min_tail),
            pauses: policy.pauses,
            pending: Vec::new(),
            next_index: 0,
            next_start: 0,
            ended: false,
        }
    }

    /// The next chunk, or none at the end.
    ///
    /// # Errors
    /// Those of [`AudioStream::read`]; what was decoded since the last chunk is lost.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, AudioError> {
        // One sample more than chunk and tail together, to know whether the file ends in the tail.
        while !self.ended && self.pending.len() <= self.max_samples + self.tail_samples {
            self.ended = !self.stream.read(&mut self.pending)?;
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        let rest = self.pending.split_off(self.cut());
        let samples = std::mem::replace(&mut self.pending, rest).into();
        let chunk = Chunk { index: self.next_index, start_sample: self.next_start, samples };
        self.next_index += 1;
        self.next_start += chunk.samples.len() as u64;
        Ok(Some(chunk))
    }

    /// What the file is.
    pub fn info(&self) -> &AudioInfo {
        self.stream.info()
    }

    /// Samples at 16 kHz decoded so far, a little ahead of the chunks returned.
    pub fn decoded_samples(&self) -> u64 {
        self.stream.decoded_samples()
    }

    /// Whether the file broke off; what there was has been decoded. Final after the last chunk.
    pub fn truncated(&self) -> bool {
        self.stream.truncated()
    }

    /// How many of the pending samples make the next chunk.
    fn cut(&self) -> usize {
        let pending = self.pending.len();
        // Only at the end can the tail be in reach.
        let latest = self.max_samples.min(pending.saturating_sub(self.tail_samples));
        let pause = self.pauses.and_then(|pauses| {
            pauses::first_cut(&self.pending, self.tail_samples..=latest, pauses)
        });
        if let Some(cut) = pause {
            return cut;
        }
        if self.ended && pending <= self.max_samples {
            return pending;
        }
        let latest = latest.max(self.min_samples);
        quietest(&self.pending, self.min_samples, latest)
    }
}

/// Loudness is compared in steps of 10 ms.
pub(super) const STEP: usize = SAMPLE_RATE_HZ as usize / 100;

/// A pause is judged by 200 ms of it: longer than the closure of a stop consonant.
const PAUSE_STEPS: usize = 20;

/// What is less than this many times as strong as the quietest pause (6 dB) belongs to a pause.
const PAUSE_RATIO: f64 = 4.0;

/// Mean square below which everything is silence (-80 dB of full scale), lest the dither of
/// one pause make it louder than another.
pub(super) const SILENCE: f64 = 1e-8;

/// Pauses longer than this are equally good; the later one wins.
const LONG_PAUSE_STEPS: usize = 60;

/// The sample from `earliest` to `latest` in the middle of the longest pause, or in the last
/// 600 ms of a longer one, where it leaves little silence for the next chunk.
fn quietest(samples: &[f32], earliest: usize, latest: usize) -> usize {
    let energy: Vec<f64> = samples[earliest..latest].chunks_exact(STEP).map(mean_square).collect();
    let quiet = energy
        .windows(PAUSE_STEPS)
        .map(|window| window.iter().sum::<f64>() / PAUSE_STEPS as f64)
        .min_by(f64::total_cmp);
    let Some(quiet) = quiet else { return latest };
    let threshold = quiet.max(SILENCE) * PAUSE_RATIO;

    let mut best = (0, energy.len());
    let mut length = 0;
    for (step, energy) in energy.iter().enumerate() {
        length = if *energy <= threshold { length + 1 } else { 0 };
        // At equality the later pause, and the later part of a long one.
        let rank = length.min(LONG_PAUSE_STEPS);
        if rank > 0 && rank >= best.0 {
            best = (rank, step + 1);
        }
    }
    let (length, end) = best;
    earliest + (end * 2 - length) * STEP / 2
}

pub(super) fn mean_square(samples: &[f32]) -> f64 {
    let sum: f32 = samples.iter().map(|sample| sample * sample).sum();
    f64::from(sum) / samples.len() as f64
}

pub(super) fn samples_in(duration: Duration) -> usize {
    let samples = duration.as_secs_f64() * f64::from(SAMPLE_RATE_HZ);
    // `as` saturates.
    samples.round() as usize
}

fn duration_of(samples: u64) -> Duration {
    let rate = u64::from(SAMPLE_RATE_HZ);
    let nanos = (samples % rate) * 1_000_000_000 / rate;
    Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
}
