//! The parts of a recording that are played, in their order, and the silence before them.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Padding, PlayedPart, Span};
use crate::block::Block;
use crate::clock::MAX_GAP_SECONDS;

/// What is left to do, in frames from the first decoded one.
pub(super) struct PlayPlan {
    /// What was decoded and not looked at yet. It begins at `position`.
    pub(super) decoded: Block,
    pub(super) position: u64,
    /// What is left of what is played now; `None` at the end.
    pub(super) part: Option<Range<u64>>,
    more: VecDeque<PlayedPart>,
    /// Silence to come before that.
    silence: u64,
    pub(super) hold: usize,
    /// The silence before the first part.
    pub(super) delay: u64,
}

/// The longest tail that is held back, in seconds: more than any packet of a lossy codec.
const MAX_TAIL_SECONDS: f64 = 0.5;

/// A track that begins later than the file by less begins with it, in seconds.
const MIN_DELAY_SECONDS: f64 = 0.02;

/// Parts that overlap by less follow each other, in seconds: edit lists count in milliseconds.
const ROUNDING_SECONDS: f64 = 0.01;

impl PlayPlan {
    pub(super) fn new(padding: &Padding, usual_start: Span, rate_hz: u32) -> Self {
        let declared = padding.start.frames(rate_hz);
        // A start earlier than the codec allows counts as not declared.
        let start = declared.max(usual_start.frames(rate_hz));
        let end = padding.end.map_or(u64::MAX, |end| end.frames(rate_hz)).max(start);
        let is_late = (MIN_DELAY_SECONDS..=MAX_GAP_SECONDS).contains(&padding.delay);
        let delay = match is_late {
            // What is cut off at the start was there to be played, too.
            true => Span::Seconds(padding.delay).frames(rate_hz) + (start - declared),
            false => 0,
        };
        let most_held = Span::Seconds(MAX_TAIL_SECONDS).frames(rate_hz);
        let mut plan = Self {
            decoded: Block { rate_hz, signals: Vec::new() },
            position: 0,
            part: Some(start..end),
            more: padding.more.iter().cloned().collect(),
            silence: delay,
            hold: padding.tail.frames(rate_hz).min(most_held) as usize,
            delay,
        };
        if start == end {
            plan.next_part();
        }
        plan
    }

    /// Replaces the empty `block` by silence or by some of what was decoded; false if there is none.
    pub(super) fn next(&mut self, block: &mut Block) -> bool {
        let rate_hz = self.decoded.rate_hz;
        while self.silence > 0 || self.decoded.frames() > 0 {
            block.rate_hz = rate_hz;
            if self.silence > 0 {
                let frames = self.silence.min(rate_hz.into());
                self.silence -= frames;
                block.signals.iter_mut().for_each(|signal| signal.resize(frames as usize, 0.0));
                return true;
            }
            let frames = self.decoded.frames() as u64;
            let Some(part) = self.part.clone().filter(|part| part.start <= self.position + frames)
            else {
                // It is played later, if at all.
                self.drop_decoded(frames);
                return false;
            };
            let skipped = part.start.saturating_sub(self.position).min(frames);
            self.drop_decoded(skipped);
            let kept = part.end.saturating_sub(self.position).min(frames - skipped);
            if skipped == 0 && kept == frames {
                std::mem::swap(&mut block.signals, &mut self.decoded.signals);
                self.decoded.clear();
                self.position += frames;
            } else {
                for (signal, decoded) in block.signals.iter_mut().zip(&self.decoded.signals) {
                    signal.extend_from_slice(&decoded[..kept as usize]);
                }
                self.drop_decoded(kept);
            }
            // What is left of the part.
            self.part = Some(self.position.max(part.start)..part.end);
            if self.position >= part.end {
                self.next_part();
            }
            if kept > 0 {
                return true;
            }
        }
        false
    }

    /// Goes on to the next part, which may be behind.
    pub(super) fn next_part(&mut self) {
        let rate_hz = self.decoded.rate_hz;
        self.part = self.more.pop_front().map(|PlayedPart { silence, range }| {
            if silence <= MAX_GAP_SECONDS {
                self.silence += Span::Seconds(silence).frames(rate_hz);
            }
            let mut start = Span::Seconds(range.start).frames(rate_hz);
            let end = Span::Seconds(range.end).frames(rate_hz);
            let overlap = self.position.saturating_sub(start);
            if overlap <= Span::Seconds(ROUNDING_SECONDS).frames(rate_hz) {
                start += overlap;
            }
            start..end.max(start)
        });
        if self.part.as_ref().is_none_or(|part| part.start < self.position) {
            self.decoded.clear();
        }
    }

    /// Drops the first `frames` that were decoded, at most as many as there are.
    fn drop_decoded(&mut self, frames: u64) {
        self.position += frames;
        for signal in &mut self.decoded.signals {
            signal.drain(..(frames as usize).min(signal.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trim::Trim;

    /// Plays parts (silence, start and end in ms) of 100 frames at 1000 Hz that count from 1, each
    /// after a rewind if it needs one.
    fn played(delay: f64, parts: &[(f64, f64, f64)]) -> Vec<f32> {
        let part = |(silence, start, end): &(f64, f64, f64)| PlayedPart {
            silence: silence / 1_000.0,
            range: start / 1_000.0..end / 1_000.0,
        };
        let (first, more) = parts.split_first().unwrap();
        let first = part(first);
        let padding = Padding {
            start: Span::Seconds(first.range.start),
            end: Some(Span::Seconds(first.range.end)),
            more: more.iter().map(part).collect(),
            delay: delay / 1_000.0,
            ..Padding::NONE
        };
        let mut trim = Trim::new(padding, Span::NONE);
        let frames: Vec<f32> = (1..=100_u8).map(f32::from).collect();
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            let mut block = Block { rate_hz: 1_000, signals: vec![Vec::new()] };
            if trim.next(&mut block) {
                out.extend_from_slice(&block.signals[0]);
                continue;
            }
            if let Some(seconds) = trim.rewind() {
                at = (seconds * 1_000.0).round() as usize / 30 * 30;
                trim.resume_at(at as f64 / 1_000.0);
            }
            if trim.is_over() || at >= frames.len() && !trim.end_part() {
                return out;
            }
            if at < frames.len() {
                let end = frames.len().min(at + 30);
                block.signals[0] = frames[at..end].to_vec();
                trim.push(&mut block);
                at = end;
            }
        }
    }

    fn range(range: Range<u8>) -> impl Iterator<Item = f32> {
        range.map(f32::from)
    }

    fn silence(frames: usize) -> impl Iterator<Item = f32> {
        std::iter::repeat_n(0.0, frames)
    }

    #[test]
    fn parts_are_played_in_their_order() {
        let cut = played(0.0, &[(0.0, 10.0, 20.0), (0.0, 85.0, 95.0)]);
        assert_eq!(cut, range(11..21).chain(range(86..96)).collect::<Vec<_>>());
        let turned = played(0.0, &[(0.0, 60.0, 100.0), (0.0, 5.0, 30.0), (0.0, 60.0, 61.0)]);
        let expected = range(61..101).chain(range(6..31)).chain(range(61..62));
        assert_eq!(turned, expected.collect::<Vec<_>>());
        // The first part is declared to be longer than the recording.
        let short = played(0.0, &[(0.0, 90.0, 190.0), (0.0, 3.0, 5.0)]);
        assert_eq!(short, range(91..101).chain(range(4..6)).collect::<Vec<_>>());
        let rounded = played(0.0, &[(0.0, 0.0, 50.0), (0.0, 48.0, 60.0)]);
        assert_eq!(rounded, range(1..61).collect::<Vec<_>>());
    }

    #[test]
    fn silence_comes_where_it_is_declared() {
        let late = played(1_500.0, &[(0.0, 10.0, 20.0), (2_005.0, 20.0, 25.0)]);
        let expected =
            silence(1_500).chain(range(11..21)).chain(silence(2_005)).chain(range(21..26));
        assert_eq!(late, expected.collect::<Vec<_>>());
        assert_eq!(played(10.0, &[(0.0, 0.0, 5.0)]).len(), 5, "not worth a delay");
    }
}
