//! Cutting a signal into chunks: what is silent for long is left out, and the rest is cut in pauses
//! where there are any.
//!
//! Where there is speech is found out in `vad`.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SAMPLE_RATE_HZ;
use super::pauses::{onset, quietest};
use super::vad::{SpeechDetector, Vad};

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
    /// Which silence is left out, and may end a chunk before `min`; without it, none is.
    pub vad: Option<Vad>,
}

impl Default for ChunkPolicy {
    /// 20 to 30 s with at least 1 s left at the end, without long silence. In conversations, ten
    /// seconds hold several pauses between sentences.
    fn default() -> Self {
        Self {
            max: Duration::from_secs(30),
            min: Duration::from_secs(20),
            min_tail: Duration::from_secs(1),
            vad: Some(Vad::default()),
        }
    }
}

/// What comes next in a signal.
pub(super) enum Cut {
    /// Samples to transcribe.
    Chunk {
        /// The place of their first in the signal.
        start: u64,
        samples: Vec<f32>,
        /// See [`super::Chunk::speech`].
        speech: Vec<Range<usize>>,
    },
    /// This many samples without speech are left out.
    Silence(usize),
}

/// Less silence than this is not worth leaving out.
const LEFT_OUT: usize = SAMPLE_RATE_HZ as usize;

/// A shorter gap in the speech of a chunk is part of a word (128 ms), such as the closure of a
/// stop consonant.
const SHORTEST_PAUSE: usize = 4 * 512;

/// A signal that is cut as it comes. The samples of what is cut in a row are the whole signal, bit by
/// bit.
pub(super) struct Cutter {
    max_samples: usize,
    min_samples: usize,
    tail_samples: usize,
    /// The shortest silence that ends a chunk.
    silence_samples: usize,
    padding_samples: usize,
    /// Without one, all is speech.
    detector: Option<SpeechDetector>,
    /// Pushed, but not cut yet.
    pending: Vec<f32>,
    /// The place of the first pending sample.
    start: u64,
    ended: bool,
}

impl Cutter {
    /// Cuts by `policy`; `min` is taken as at most `max`, and `max` as at least 1 s.
    pub(super) fn new(policy: ChunkPolicy) -> Self {
        let max_samples = samples_in(policy.max.max(Duration::from_secs(1)));
        let Vad { threshold, padding, silence } = policy.vad.unwrap_or_default();
        Self {
            max_samples,
            min_samples: samples_in(policy.min).clamp(1, max_samples),
            tail_samples: samples_in(policy.min_tail),
            silence_samples: samples_in(silence),
            padding_samples: samples_in(padding).min(max_samples / 4),
            detector: policy.vad.is_some().then(|| SpeechDetector::new(threshold)),
            pending: Vec::new(),
            start: 0,
            ended: false,
        }
    }

    /// Takes more of the signal.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.pending.extend_from_slice(samples);
        if let Some(detector) = &mut self.detector {
            detector.push(samples);
        }
    }

    /// The signal has ended.
    pub(super) fn finish(&mut self) {
        self.ended = true;
        if let Some(detector) = &mut self.detector {
            detector.finish(self.start + self.pending.len() as u64);
        }
    }

    /// Whether more must be pushed before something can be cut.
    pub(super) fn needs_more(&self) -> bool {
        // One sample more than chunk and tail together, to know whether the file ends in the tail,
        // what is kept of a silence that goes on, and how far behind the detector is.
        let enough =
            self.max_samples + self.tail_samples + self.kept_silence() + self.detection_lag();
        !self.ended && self.pending.len() <= enough
    }

    /// Whether all of the signal has been cut.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// The place of the next sample to be cut.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Cuts off what comes next: all that is pending if less than needed has been pushed.
    pub(super) fn cut_next(&mut self) -> Cut {
        let silent = self.silence_before_speech();
        if silent > 0 {
            self.take(silent);
            return Cut::Silence(silent);
        }
        let (start, length) = (self.start, self.cut());
        let speech = self.speech_within(length);
        Cut::Chunk { start, samples: self.take(length), speech }
    }

    fn take(&mut self, length: usize) -> Vec<f32> {
        let rest = self.pending.split_off(length);
        self.start += length as u64;
        if let Some(detector) = &mut self.detector {
            detector.forget(self.start);
        }
        std::mem::replace(&mut self.pending, rest)
    }

    /// How much of a silence stays pending while it is not known what follows: the padding, and a
    /// tail if the file ends soon after.
    fn kept_silence(&self) -> usize {
        match self.detector {
            Some(_) => self.padding_samples + self.tail_samples,
            None => 0,
        }
    }

    /// How far behind the detector may be.
    fn detection_lag(&self) -> usize {
        self.detector.as_ref().map_or(0, SpeechDetector::lag)
    }

    /// The speech among the pending samples.
    fn speech(&self) -> impl Iterator<Item = Range<usize>> {
        let spans = self.detector.iter().flat_map(SpeechDetector::spans);
        spans
            .map(|span| self.place(span.start)..self.place(span.end))
            .filter(|span| !span.is_empty())
    }

    /// The speech in the first `length` pending samples.
    fn speech_within(&self, length: usize) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for span in self.speech().filter(|span| span.start < length) {
            let end = span.end.min(length);
            let start = onset(&self.pending, span.start);
            match spans.last_mut() {
                Some(last) if start.saturating_sub(last.end) < SHORTEST_PAUSE => last.end = end,
                _ => spans.push(start..end),
            }
        }
        spans
    }

    /// A place in the stream as one among the pending samples.
    fn place(&self, position: u64) -> usize {
        // What is pending fits into memory, so that `as` loses nothing.
        position.saturating_sub(self.start).min(self.pending.len() as u64) as usize
    }

    /// Up to where speech detection is done, among the pending samples.
    fn settled(&self) -> usize {
        let settled = self.detector.as_ref().map_or(0, SpeechDetector::settled);
        if self.ended { self.pending.len() } else { self.place(settled) }
    }

    /// How many of the pending samples are silence to leave out before the next speech.
    fn silence_before_speech(&self) -> usize {
        if self.detector.is_none() {
            return 0;
        }
        match self.speech().next() {
            Some(speech) => {
                let silence = speech.start.saturating_sub(self.padding_samples);
                // Only at the end can the tail be in reach.
                let silence = silence.min(self.pending.len().saturating_sub(self.tail_samples));
                if silence >= LEFT_OUT { silence } else { 0 }
            }
            None if self.ended => self.pending.len(),
            None => self.settled().saturating_sub(self.kept_silence()),
        }
    }

    /// How many of the pending samples make the next chunk.
    fn cut(&self) -> usize {
        let pending = self.pending.len();
        // Only at the end can the tail be in reach.
        let latest = self.max_samples.min(pending.saturating_sub(self.tail_samples));
        let silences = self.silences();
        if let Some(cut) = silences.iter().find_map(|silence| self.cut_in(silence, latest)) {
            return cut;
        }
        if self.ended && pending <= self.max_samples {
            return pending;
        }
        let cut = quietest(&self.pending, self.min_samples, latest.max(self.min_samples));
        let silence = silences.iter().find(|silence| silence.range.contains(&cut));
        let left_out = silence.and_then(|silence| self.left_out(silence));
        left_out.map_or(cut, |left_out| left_out.start.max(self.tail_samples).min(cut))
    }

    /// The silences behind the first speech among the pending samples.
    fn silences(&self) -> Vec<Silence> {
        let starts = self.speech().skip(1).map(|next| Some(next.start)).chain([None]);
        let between = self.speech().zip(starts).map(|(speech, next)| Silence {
            range: speech.end..next.unwrap_or_else(|| self.settled()),
            speech_follows: next.is_some(),
        });
        between.filter(|silence| !silence.range.is_empty()).collect()
    }

    /// The part of a silence that is in no chunk, if that is worth it.
    fn left_out(&self, silence: &Silence) -> Option<Range<usize>> {
        let start = silence.range.start + self.padding_samples;
        let padding = if silence.speech_follows { self.padding_samples } else { 0 };
        let end = silence.range.end.saturating_sub(padding);
        (start + LEFT_OUT <= end).then_some(start..end)
    }

    /// Where a chunk ends in a silence, if it may end there, at `latest`.
    fn cut_in(&self, silence: &Silence, latest: usize) -> Option<usize> {
        let left_out = self.left_out(silence);
        let is_end = self.ended && !silence.speech_follows;
        let ends = match is_end {
            true => left_out.is_some(),
            false => silence.range.len() >= self.silence_samples,
        };
        let padded = silence.range.end.saturating_sub(self.padding_samples);
        let cut = left_out.map_or(padded.max(silence.range.start), |left_out| left_out.start);
        let cut = cut.max(self.tail_samples);
        (ends && cut <= latest.min(silence.range.end)).then_some(cut)
    }
}

/// A stretch between two spans of speech, or behind the last one, among the pending samples.
struct Silence {
    range: Range<usize>,
    speech_follows: bool,
}

fn samples_in(duration: Duration) -> usize {
    let samples = duration.as_secs_f64() * f64::from(SAMPLE_RATE_HZ);
    // `as` saturates.
    samples.round() as usize
}
