//! Voice activity: where in a stream somebody speaks.
//!
//! A network judges frames of 16 ms (`network`), a hysteresis makes speech of them, and held tones
//! are taken out again (`gate`). What becomes of the silence between the spans of speech is decided
//! in `segment`.
//!
//! Measured with earshot 1.2, whose input is turned down where it is loud (`level`), on
//! `tests/fixtures/eval` (278 s of synthetic voices, 64 % of it speech) in frames at the threshold
//! 0.5; what is beside the sentences is so much weaker than they are:
//!
//! | | speech missed | the rest taken for speech |
//! |---|---|---|
//! | as they are, at -40, -50, -55 dB of full scale | 2.0, 2.1, 2.3, 3.7 % | 14, 15, 21, 27 % |
//! | white noise of 20, 10, 5 dB less | 2.3, 2.5, 1.6 % | 22, 42, 73 % |
//! | pink noise of 20, 10, 5 dB less | 2.6, 2.9, 2.6 % | 18, 28, 57 % |
//! | a tone of 440 Hz of 10 dB less | 2.6 % | 19 % |
//!
//! With 400 ms around each span not one of the 95 sentences loses anything, but for one at -55 dB.
//! Nor does one of 470 recorded prompts in four languages, joined with pauses, beside noise of 10
//! and 5 dB less; at -40 dB one does. With 8 s between the sentences, a hum of 100 Hz with overtones
//! of 5 dB less costs one of the 95, a tone of 440 Hz as loud as the speech two; of 10 dB less,
//! neither costs any.
//!
//! Left out altogether are white, pink and brown noise and mains hum, with and without overtones,
//! at each level from -60 to -6 dB, tones and distorted tones, dial tones, held and changing chords,
//! and melodies of 250 to 400 ms a note. Loud noise between pink and brown (1/f^1.4) still passes
//! for speech in part; so do melodies with a strong vibrato or of 125 ms a note, sweeps, busy
//! signals, and 64 % of 26 pieces of computer games' music (89 % without level and gate). An hour
//! takes 3.6 s of a core.
//!
//! Silero 6.2 in place of earshot misses 1.7 to 3.7 % of the speech and takes 6 to 10 % of the rest
//! for it in the same files, and loses no sentence either. No noise, hum or tone passes, of melodies
//! at most 0.2 %, and nothing of five of the pieces of music. An hour takes 13 s of a core.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::{self, Gate};
use super::network::{Network, VoiceJudge};

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
pub(super) const FRAME: usize = 256;

/// Speech begins with so many frames at the threshold or above it (96 ms): noise has shorter ones.
const ONSET_FRAMES: usize = 6;

/// How far below the threshold it ends, so that a soft sound within a word does not end it.
const HYSTERESIS: f32 = 0.15;

/// Finds the speech in a stream that is pushed into it. All positions are samples at 16 kHz from
/// the start of the stream.
pub(super) struct SpeechDetector {
    network: Network,
    threshold: f32,
    /// The frames at the threshold or above it that may become speech.
    onset: usize,
    speaking: bool,
    gate: Gate,
    spans: Spans,
}

impl SpeechDetector {
    pub(super) fn new(threshold: f32, judge: Option<VoiceJudge>) -> Self {
        Self {
            network: Network::new(judge),
            threshold,
            onset: 0,
            speaking: false,
            gate: Gate::new(),
            spans: Spans::default(),
        }
    }

    /// How far the judgement may be behind what was pushed, in samples.
    pub(super) fn lag(&self) -> usize {
        self.network.lag() + gate::LAG
    }

    /// Hears what comes next.
    pub(super) fn push(&mut self, samples: &[f32]) {
        // The resampler may overshoot, and the network asks for [-1, 1].
        let samples: Vec<f32> = samples.iter().map(|sample| sample.clamp(-1.0, 1.0)).collect();
        self.gate.push(&samples);
        let mut probabilities = Vec::new();
        self.network.push(&samples, &mut probabilities);
        probabilities.into_iter().for_each(|probability| self.hear(probability));
    }

    /// The stream has ended after `length` samples.
    pub(super) fn finish(&mut self, length: u64) {
        let mut probabilities = Vec::new();
        self.network.finish(&mut probabilities);
        probabilities.into_iter().for_each(|probability| self.hear(probability));
        self.settle_onset(false);
        self.gate.finish(&mut |is_speech| self.spans.settle(is_speech));
        self.spans.end(length);
    }

    /// The spans of speech that are not forgotten, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<u64>> {
        self.spans.spans.iter().cloned()
    }

    /// Up to where the spans are final. Speech that begins behind it may be unknown yet.
    pub(super) fn judged(&self) -> u64 {
        self.spans.settled
    }

    /// What ends before `position` is of no interest any more.
    pub(super) fn forget(&mut self, position: u64) {
        self.spans.forget(position);
    }

    fn hear(&mut self, probability: f32) {
        if !self.speaking && probability >= self.threshold {
            self.onset += 1;
            if self.onset == ONSET_FRAMES {
                self.speaking = true;
                self.settle_onset(true);
            }
            return;
        }
        self.speaking &= probability >= self.threshold - HYSTERESIS;
        self.settle_onset(false);
        self.settle(self.speaking);
    }

    fn settle_onset(&mut self, is_speech: bool) {
        (0..std::mem::take(&mut self.onset)).for_each(|_| self.settle(is_speech));
    }

    fn settle(&mut self, passes: bool) {
        self.gate.hear(passes, &mut |is_speech| self.spans.settle(is_speech));
    }
}

/// The spans of speech, frame by frame.
#[derive(Default)]
struct Spans {
    spans: VecDeque<Range<u64>>,
    /// Up to where it is settled who speaks.
    settled: u64,
}

impl Spans {
    fn settle(&mut self, is_speech: bool) {
        let start = self.settled;
        self.settled += FRAME as u64;
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
