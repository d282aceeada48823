//! Puts decoded audio on the clock of its recording: cuts off what encoders put before and after it,
//! plays the parts that an edit list names, and begins with silence if the track begins late.
//!
//! Each container declares these in its own way, which the decoding library does not read for MP4 and
//! Matroska ([`mp4`], [`matroska`]); if nothing is declared, the codec's usual values apply.

mod matroska;
mod mp4;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::time::Duration;

use super::clock::MAX_GAP_SECONDS;
use super::codecs::Container;
use super::decode::Block;

/// A length of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    /// At the rate that the decoder gives.
    Frames(u64),
    Seconds(f64),
}

impl Span {
    pub(super) const NONE: Self = Self::Frames(0);

    fn frames(self, rate_hz: u32) -> u64 {
        match self {
            Self::Frames(frames) => frames,
            // `as` saturates, and a negative number is 0.
            Self::Seconds(seconds) => (seconds * f64::from(rate_hz)).round() as u64,
        }
    }
}

/// What is of the recording, and when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Padding {
    /// What is not of the recording, before it.
    start: Span,
    /// From the first decoded frame to the end of the recording, if that is declared.
    end: Option<Span>,
    /// What is not of the recording, behind it.
    tail: Span,
    /// What is played after `end`, in order.
    more: Vec<Part>,
    /// How much later than the file the track begins, in seconds.
    delay: f64,
    /// Whether the file has no end of its own, so that it is whole wherever it ends.
    pub(super) open_ended: bool,
}

/// A part of what is decoded, in seconds from the first decoded frame.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// The silence before it, in seconds.
    silence: f64,
    range: Range<f64>,
}

impl Padding {
    pub(super) const NONE: Self = Self {
        start: Span::NONE,
        end: None,
        tail: Span::NONE,
        more: Vec::new(),
        delay: 0.0,
        open_ended: false,
    };

    /// For audio after so many frames of silence, which are there because it begins later. Some
    /// decoders take packets before they give any audio, Windows Media 92 ms: that is no delay.
    pub(super) fn after_silence(frames: u64, rate_hz: u32) -> Self {
        let delay = frames as f64 / f64::from(rate_hz.max(1));
        let delay = if delay < MAX_DECODER_DELAY_SECONDS { 0.0 } else { delay };
        Self { start: Span::Frames(frames), delay, ..Self::NONE }
    }

    /// What `file` declares for its track `track_id`; what cannot be parsed counts as not declared.
    /// The position in the file stays where a reader has left it.
    ///
    /// # Errors
    /// The position cannot be kept.
    pub(super) fn told(container: Container, mut file: &File, track_id: u32) -> io::Result<Self> {
        if !matches!(container, Container::Mp4 | Container::Matroska) {
            return Ok(Self::NONE);
        }
        let here = file.stream_position()?;
        let mut buffered = BufReader::new(file);
        let told = match container {
            Container::Mp4 => mp4::padding(&mut buffered, track_id),
            _ => matroska::padding(&mut buffered, track_id),
        };
        file.seek(SeekFrom::Start(here))?;
        Ok(told.unwrap_or(Self::NONE))
    }
}

/// Puts blocks of audio on the clock of the recording as they pass.
pub(super) struct Trim {
    padding: Padding,
    /// What the codec always puts before the audio.
    usual_start: Span,
    /// Known with the first block.
    plan: Option<Plan>,
    /// The last frames of each signal so far, which may turn out to be the tail.
    held: Vec<Vec<f32>>,
}

/// What is left to do, in frames from the first decoded one.
struct Plan {
    /// What was decoded and not looked at yet. It begins at `position`.
    decoded: Block,
    position: u64,
    /// What is left of what is played now; `None` at the end.
    part: Option<Range<u64>>,
    more: VecDeque<Part>,
    /// Silence to come before that.
    silence: u64,
    hold: usize,
    /// The silence before the first part.
    delay: u64,
}

/// The longest tail that is held back, in seconds: more than any packet of a lossy codec.
const MAX_TAIL_SECONDS: f64 = 0.5;

/// A track that begins later than the file by less begins with it, in seconds.
const MIN_DELAY_SECONDS: f64 = 0.02;

/// The longest delay of a decoder of ffmpeg, in seconds.
const MAX_DECODER_DELAY_SECONDS: f64 = 0.1;

/// Parts that overlap by less follow each other, in seconds: edit lists count in milliseconds.
const ROUNDING_SECONDS: f64 = 0.01;

impl Trim {
    pub(super) fn new(padding: Padding, usual_start: Span) -> Self {
        Self { padding, usual_start, plan: None, held: Vec::new() }
    }

    /// Takes what is decoded next, all of it: `block` is empty afterwards.
    pub(super) fn push(&mut self, block: &mut Block) {
        let rate_hz = block.rate_hz;
        let Self { padding, usual_start, .. } = self;
        let plan = self.plan.get_or_insert_with(|| Plan::new(padding, *usual_start, rate_hz));
        std::mem::swap(&mut plan.decoded, block);
        block.clear();
        block.rate_hz = rate_hz;
        block.signals.resize(plan.decoded.signals.len(), Vec::new());
    }

    /// Replaces `block`, which is empty, by what comes next of what was pushed, and by silence. What
    /// may be the tail is held back. False if more must be pushed.
    pub(super) fn next(&mut self, block: &mut Block) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        while plan.next(block) {
            self.held.resize(block.signals.len(), Vec::new());
            for (signal, held) in block.signals.iter_mut().zip(&mut self.held) {
                if plan.hold > 0 {
                    held.append(signal);
                    let sure = held.len().saturating_sub(plan.hold);
                    signal.extend(held.drain(..sure));
                }
            }
            if block.frames() > 0 {
                return true;
            }
        }
        false
    }

    /// Where to decode next, in seconds from the first decoded frame, if that is behind.
    pub(super) fn rewind(&self) -> Option<f64> {
        let plan = self.plan.as_ref()?;
        let start = plan.part.as_ref()?.start;
        (start < plan.position).then(|| start as f64 / f64::from(plan.decoded.rate_hz))
    }

    /// What is pushed next begins at this time, in seconds from the first decoded frame.
    pub(super) fn resume_at(&mut self, seconds: f64) {
        if let Some(plan) = &mut self.plan {
            plan.position = Span::Seconds(seconds).frames(plan.decoded.rate_hz);
            // What is not there any more is not waited for.
            plan.part = plan.part.take().map(|part| part.start.max(plan.position)..part.end);
        }
    }

    /// Nothing more can be decoded. Whether a later part can: one that is before this place.
    pub(super) fn end_part(&mut self) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        while plan.part.is_some() {
            plan.next_part();
            if plan.part.as_ref().is_some_and(|part| part.start < plan.position) {
                return true;
            }
        }
        false
    }

    /// Whether nothing of the recording is left.
    pub(super) fn is_over(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.part.is_none())
    }

    /// The silence before the audio.
    pub(super) fn delay(&self) -> Duration {
        let plan = self.plan.as_ref();
        plan.map_or(Duration::ZERO, |plan| {
            Duration::from_secs_f64(plan.delay as f64 / f64::from(plan.decoded.rate_hz.max(1)))
        })
    }

    /// What was held back, for a file that broke off before its tail.
    pub(super) fn take_held(&mut self) -> Vec<Vec<f32>> {
        std::mem::take(&mut self.held)
    }
}

impl Plan {
    fn new(padding: &Padding, usual_start: Span, rate_hz: u32) -> Self {
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
    fn next(&mut self, block: &mut Block) -> bool {
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
    fn next_part(&mut self) {
        let rate_hz = self.decoded.rate_hz;
        self.part = self.more.pop_front().map(|Part { silence, range }| {
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

    /// Passes 100 frames in blocks of 30 at 1000 Hz; frames count from 0.
    fn trimmed(padding: Padding, usual_start: Span) -> (Vec<f32>, Vec<f32>) {
        let mut trim = Trim::new(padding, usual_start);
        let frames: Vec<f32> = (0..100_u8).map(f32::from).collect();
        let mut out = Vec::new();
        for mono in frames.chunks(30) {
            let mirrored = mono.iter().map(|frame| -frame).collect();
            let mut block = Block { rate_hz: 1_000, signals: vec![mono.to_vec(), mirrored] };
            trim.push(&mut block);
            while trim.next(&mut block) {
                let [signal, other] = &block.signals[..] else { unreachable!() };
                assert!(signal.iter().zip(other).all(|(one, other)| *one == -*other));
                assert_eq!(signal.len(), other.len());
                out.extend_from_slice(signal);
                block.clear();
            }
        }
        (out, trim.take_held().pop().unwrap_or_default())
    }

    #[track_caller]
    fn check(padding: Padding, usual_start: Span, first: f32, last: f32, held: usize) {
        let (out, rest) = trimmed(padding.clone(), usual_start);
        assert_eq!((out.first(), out.last()), (Some(&first), Some(&last)), "{padding:?}");
        assert_eq!(rest.len(), held, "{padding:?}");
    }

    #[test]
    fn padding_is_cut_off_on_both_sides() {
        let told = |start, end, tail| Padding { start, end, tail, ..Padding::NONE };
        let (none, ms) = (Span::NONE, |ms: f64| Span::Seconds(ms / 1_000.0));
        check(Padding::NONE, none, 0.0, 99.0, 0);
        check(Padding::NONE, Span::Frames(45), 45.0, 99.0, 0);
        check(told(ms(50.0), None, none), Span::Frames(45), 50.0, 99.0, 0);
        check(told(none, None, none), Span::Frames(45), 45.0, 99.0, 0);
        check(told(ms(10.0), Some(ms(70.0)), none), none, 10.0, 69.0, 0);
        check(told(ms(10.0), None, ms(35.0)), none, 10.0, 64.0, 35);
    }

    #[test]
    fn lies_take_no_memory_and_do_not_panic() {
        let lie = Padding {
            start: Span::Seconds(-1.0),
            end: Some(Span::Seconds(f64::INFINITY)),
            tail: Span::Seconds(f64::MAX),
            delay: f64::MAX,
            more: vec![Part { silence: f64::NAN, range: f64::NAN..f64::INFINITY }],
            ..Padding::NONE
        };
        let (out, held) = trimmed(lie, Span::NONE);
        assert!(out.is_empty());
        assert_eq!(held.len(), 100);
        let nothing = Padding { end: Some(Span::Frames(0)), ..Padding::NONE };
        assert_eq!(trimmed(nothing, Span::Frames(u64::MAX)), (Vec::new(), Vec::new()));
    }

    /// Plays parts (silence, start and end in ms) of 100 frames at 1000 Hz that count from 1, each
    /// after a rewind if it needs one.
    fn played(delay: f64, parts: &[(f64, f64, f64)]) -> Vec<f32> {
        let part = |(silence, start, end): &(f64, f64, f64)| Part {
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
