//! Voice activity: where in a stream somebody speaks.
//!
//! earshot's network judges frames of 16 ms, and a hysteresis makes spans of speech of them. What
//! becomes of the silence between the spans is decided in `segment`.
//!
//! Measured with earshot 1.2 on `tests/fixtures/eval` (278 s, 64 % of it speech), in frames at the
//! threshold 0.5: 2.2 % of the speech is missed and 9 % of the rest is taken for speech; beside
//! white or pink noise of 10 dB less, 2.4 % and 26 %. With 400 ms around each span not one of the
//! 95 sentences loses anything, down to noise of 5 dB less and to speech at -50 dB of full scale;
//! at -55 dB one of them does, at -60 dB 5. The network goes by the level as well: white and pink
//! noise pass for silence up to -26 dB and for speech from -16 dB on. A hum of 50
//! or 100 Hz and a beep of 1 kHz pass for silence at any level; loud tones in the range of voices
//! (220 and 440 Hz), chords and melodies pass for speech. An hour takes 1.9 s of a core.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SAMPLE_RATE_HZ;

/// Which silence is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Vad {
    /// How probable speech must be, from 0 to 1. Below 0.3, everything is speech.
    pub threshold: f32,
    /// How much of the silence beside speech stays with it, at most a quarter of the longest
    /// chunk.
    pub padding: Duration,
    /// A silence from this length on ends a chunk; a shorter one within it stays.
    pub silence: Duration,
}

impl Default for Vad {
    /// 5 s end a chunk: whisper pays for 30 s with each, and more chunks cost more than a silence
    /// in one of them. The padding holds what the network misses at the ends of words.
    fn default() -> Self {
        Self {
            threshold: 0.5,
            padding: Duration::from_millis(400),
            silence: Duration::from_secs(5),
        }
    }
}

/// The network judges so many samples at once.
const FRAME: usize = 256;

/// Speech begins with so many frames at the threshold or above it (96 ms): noise has shorter ones.
const ONSET_FRAMES: usize = 6;

/// How far below the threshold it ends, so that a soft sound within a word does not end it.
const HYSTERESIS: f32 = 0.15;

/// The network takes the start of any noise for speech. So it hears this much of the stream once
/// before it is asked.
const PRIMING: usize = SAMPLE_RATE_HZ as usize;

/// Finds the speech in a stream that is pushed into it. All positions are samples at 16 kHz from
/// the start of the stream.
pub(super) struct SpeechDetector {
    network: Box<earshot::Detector>,
    threshold: f32,
    /// Pushed, but not judged.
    waiting: Vec<f32>,
    primed: bool,
    frames: u64,
    /// The frames at the threshold or above it that may become speech.
    onset: usize,
    speaking: bool,
    spans: VecDeque<Range<u64>>,
}

impl SpeechDetector {
    pub(super) fn new(threshold: f32) -> Self {
        Self {
            network: earshot::Detector::default_boxed(),
            threshold,
            waiting: Vec::new(),
            primed: false,
            frames: 0,
            onset: 0,
            speaking: false,
            spans: VecDeque::new(),
        }
    }

    /// Hears what comes next.
    pub(super) fn push(&mut self, samples: &[f32]) {
        // The resampler may overshoot, and the network asks for [-1, 1].
        self.waiting.extend(samples.iter().map(|sample| sample.clamp(-1.0, 1.0)));
        if self.primed || self.waiting.len() >= PRIMING {
            self.judge();
        }
    }

    /// The stream has ended after `length` samples.
    pub(super) fn finish(&mut self, length: u64) {
        self.waiting.resize(self.waiting.len().next_multiple_of(FRAME), 0.0);
        self.judge();
        if let Some(last) = self.spans.back_mut() {
            last.end = last.end.min(length);
        }
    }

    /// The spans of speech that are not forgotten, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<u64>> {
        self.spans.iter().cloned()
    }

    /// Up to where the spans are final. Speech that begins behind it may be unknown yet.
    pub(super) fn judged(&self) -> u64 {
        (self.frames - self.onset as u64) * FRAME as u64
    }

    /// What ends before `position` is of no interest any more.
    pub(super) fn forget(&mut self, position: u64) {
        // The last one goes on growing while somebody speaks.
        let settled = |detector: &Self| detector.spans.len() > usize::from(detector.speaking);
        while settled(self) && self.spans.front().is_some_and(|span| span.end <= position) {
            self.spans.pop_front();
        }
    }

    fn judge(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if !self.primed {
            self.primed = true;
            for frame in waiting[..waiting.len().min(PRIMING)].chunks_exact(FRAME) {
                self.network.predict_f32(frame);
            }
        }
        let frames = waiting.chunks_exact(FRAME);
        self.waiting.extend_from_slice(frames.remainder());
        for frame in frames {
            let probability = self.network.predict_f32(frame);
            self.hear(probability);
        }
    }

    fn hear(&mut self, probability: f32) {
        self.frames += 1;
        let heard = self.frames * FRAME as u64;
        if self.speaking {
            self.speaking = probability >= self.threshold - HYSTERESIS;
        } else if probability < self.threshold {
            self.onset = 0;
        } else {
            self.onset += 1;
            if self.onset == ONSET_FRAMES {
                self.onset = 0;
                self.speaking = true;
                self.spans.push_back(heard - (ONSET_FRAMES * FRAME) as u64..heard);
            }
        }
        if let (true, Some(span)) = (self.speaking, self.spans.back_mut()) {
            span.end = heard;
        }
    }
}
