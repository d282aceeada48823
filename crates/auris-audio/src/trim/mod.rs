//! Puts decoded audio on the clock of its recording: cuts off what encoders put before and after it,
//! plays the parts that an edit list names, and begins with silence if the track begins late.
//!
//! Each container declares these in its own way, which the decoding library does not read for MP4 and
//! Matroska ([`mp4`], [`matroska`]); if nothing is declared, the codec's usual values apply.

mod matroska;
mod mp4;
mod plan;

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::time::Duration;

use self::plan::PlayPlan;
use super::block::Block;
use super::codecs::Container;

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
    more: Vec<PlayedPart>,
    /// How much later than the file the track begins, in seconds.
    delay: f64,
    /// Whether the file has no end of its own, so that it is whole wherever it ends.
    pub(super) open_ended: bool,
}

/// A part of what is decoded, in seconds from the first decoded frame.
#[derive(Debug, Clone, PartialEq)]
struct PlayedPart {
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
    pub(super) fn declared(
        container: Container,
        mut file: &File,
        track_id: u32,
    ) -> io::Result<Self> {
        if !matches!(container, Container::Mp4 | Container::Matroska) {
            return Ok(Self::NONE);
        }
        let here = file.stream_position()?;
        let mut buffered = BufReader::new(file);
        let declared = match container {
            Container::Mp4 => mp4::padding(&mut buffered, track_id),
            _ => matroska::padding(&mut buffered, track_id),
        };
        file.seek(SeekFrom::Start(here))?;
        Ok(declared.unwrap_or(Self::NONE))
    }
}

/// The longest delay of a decoder of ffmpeg, in seconds.
const MAX_DECODER_DELAY_SECONDS: f64 = 0.1;

/// Puts blocks of audio on the clock of the recording as they pass.
pub(super) struct Trim {
    padding: Padding,
    /// What the codec always puts before the audio.
    usual_start: Span,
    /// Known with the first block.
    plan: Option<PlayPlan>,
    /// The last frames of each signal so far, which may turn out to be the tail.
    held: Vec<Vec<f32>>,
}

impl Trim {
    pub(super) fn new(padding: Padding, usual_start: Span) -> Self {
        Self { padding, usual_start, plan: None, held: Vec::new() }
    }

    /// Takes what is decoded next, all of it: `block` is empty afterwards.
    pub(super) fn push(&mut self, block: &mut Block) {
        let rate_hz = block.rate_hz;
        let Self { padding, usual_start, .. } = self;
        let plan = self.plan.get_or_insert_with(|| PlayPlan::new(padding, *usual_start, rate_hz));
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
        let declared = |start, end, tail| Padding { start, end, tail, ..Padding::NONE };
        let (none, ms) = (Span::NONE, |ms: f64| Span::Seconds(ms / 1_000.0));
        check(Padding::NONE, none, 0.0, 99.0, 0);
        check(Padding::NONE, Span::Frames(45), 45.0, 99.0, 0);
        check(declared(ms(50.0), None, none), Span::Frames(45), 50.0, 99.0, 0);
        check(declared(none, None, none), Span::Frames(45), 45.0, 99.0, 0);
        check(declared(ms(10.0), Some(ms(70.0)), none), none, 10.0, 69.0, 0);
        check(declared(ms(10.0), None, ms(35.0)), none, 10.0, 64.0, 35);
    }

    #[test]
    fn lies_take_no_memory_and_do_not_panic() {
        let lie = Padding {
            start: Span::Seconds(-1.0),
            end: Some(Span::Seconds(f64::INFINITY)),
            tail: Span::Seconds(f64::MAX),
            delay: f64::MAX,
            more: vec![PlayedPart { silence: f64::NAN, range: f64::NAN..f64::INFINITY }],
            ..Padding::NONE
        };
        let (out, held) = trimmed(lie, Span::NONE);
        assert!(out.is_empty());
        assert_eq!(held.len(), 100);
        let nothing = Padding { end: Some(Span::Frames(0)), ..Padding::NONE };
        assert_eq!(trimmed(nothing, Span::Frames(u64::MAX)), (Vec::new(), Vec::new()));
    }
}
