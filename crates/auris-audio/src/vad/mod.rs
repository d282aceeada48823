//! Voice activity detection: finds the speech in a stream.
//!
//! A network says how probable speech is in each window of 32 ms (`model`), and a hysteresis makes
//! spans of speech of that. What becomes of the silence between them is decided in `segment`. The
//! figures behind the constants are in docs/voice-activity.md.

mod model;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::model::{SpeechModel, WINDOW};

/// Which silence is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Vad {
    /// How probable speech must be, from 0 to 1. At 0, everything is speech.
    pub threshold: f32,
    /// How much of the silence beside speech stays with it, at most a quarter of the longest
    /// chunk.
    pub padding: Duration,
    /// A silence from this length on ends a chunk; a shorter one within it stays.
    pub silence: Duration,
}

impl Default for Vad {
    /// 5 s end a chunk: whisper pays for 30 s with each, and more chunks cost more than a silence
    /// in one of them. The padding holds what the network misses of soft words beside
    /// clear ones.
    fn default() -> Self {
        Self {
            threshold: 0.5,
            padding: Duration::from_millis(400),
            silence: Duration::from_secs(5),
        }
    }
}

/// Speech begins with so many windows at the threshold or above it (96 ms): noise and hum have
/// shorter ones.
const ONSET: usize = 3;

/// How far below the threshold it ends, so that a soft sound within a word does not end it.
const HYSTERESIS: f32 = 0.35;

/// It ends below this in any case.
const LOWEST_END: f32 = 0.01;

/// Finds the speech in a stream that is pushed into it. All positions are samples at 16 kHz from
/// the start of the stream.
pub(super) struct SpeechDetector {
    model: SpeechModel,
    threshold: f32,
    /// The windows at the threshold or above it that may become speech.
    onset: usize,
    speaking: bool,
    spans: Spans,
}

impl SpeechDetector {
    pub(super) fn new(threshold: f32) -> Self {
        let model = SpeechModel::new();
        Self { model, threshold, onset: 0, speaking: false, spans: Spans::default() }
    }

    /// How far behind what was pushed the spans may be, in samples.
    pub(super) fn lag(&self) -> usize {
        model::LAG + ONSET * WINDOW
    }

    /// Takes more of the stream.
    pub(super) fn push(&mut self, samples: &[f32]) {
        let mut probabilities = Vec::new();
        self.model.push(samples, &mut probabilities);
        probabilities.into_iter().for_each(|probability| self.decide(probability));
    }

    /// The stream has ended after `length` samples.
    pub(super) fn finish(&mut self, length: u64) {
        let mut probabilities = Vec::new();
        self.model.finish(&mut probabilities);
        probabilities.into_iter().for_each(|probability| self.decide(probability));
        self.settle_onset(false);
        self.spans.end(length);
    }

    /// The spans of speech that are not forgotten, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<u64>> {
        self.spans.spans.iter().cloned()
    }

    /// Up to where the spans are final. Speech that begins behind it may be unknown yet.
    pub(super) fn settled(&self) -> u64 {
        self.spans.settled
    }

    /// What ends before `position` is of no interest any more.
    pub(super) fn forget(&mut self, position: u64) {
        self.spans.forget(position);
    }

    fn decide(&mut self, probability: f32) {
        if !self.speaking && probability >= self.threshold {
            self.onset += 1;
            if self.onset == ONSET {
                self.speaking = true;
                self.settle_onset(true);
            }
            return;
        }
        self.speaking &= probability >= (self.threshold - HYSTERESIS).max(LOWEST_END);
        self.settle_onset(false);
        self.spans.settle(self.speaking);
    }

    fn settle_onset(&mut self, is_speech: bool) {
        (0..std::mem::take(&mut self.onset)).for_each(|_| self.spans.settle(is_speech));
    }
}

/// The spans of speech, window by window.
#[derive(Default)]
struct Spans {
    spans: VecDeque<Range<u64>>,
    /// Up to where speech detection is done.
    settled: u64,
}

impl Spans {
    fn settle(&mut self, is_speech: bool) {
        let start = self.settled;
        self.settled += WINDOW as u64;
        match self.spans.back_mut() {
            _ if !is_speech => {}
            Some(last) if last.end == start => last.end = self.settled,
            _ => self.spans.push_back(start..self.settled),
        }
    }

    fn end(&mut self, length: u64) {
        if let Some(last) = self.spans.back_mut() {
            last.end = last.end.min(length);
        }
    }

    fn forget(&mut self, position: u64) {
        // The last one may go on growing.
        let grows = |spans: &Self| spans.spans.back().is_some_and(|span| span.end == spans.settled);
        while self.spans.len() > usize::from(grows(self))
            && self.spans.front().is_some_and(|span| span.end <= position)
        {
            self.spans.pop_front();
        }
    }
}
