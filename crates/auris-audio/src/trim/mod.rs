//! Cuts off what encoders put before and after the audio, so that times are those of the recording.
//!
//! Each container declares it in its own way, which the decoding library does not read for MP4 and
//! Matroska ([`mp4`], [`matroska`]); if nothing is declared, the codec's usual values apply.

mod matroska;
mod mp4;

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};

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

/// What is not of the recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Padding {
    /// Before it.
    start: Span,
    /// From the first decoded frame to the end of the recording, if that is declared.
    end: Option<Span>,
    /// Behind the recording.
    tail: Span,
    /// Whether the file has no end of its own, so that it is whole wherever it ends.
    pub(super) open_ended: bool,
}

impl Padding {
    pub(super) const NONE: Self =
        Self { start: Span::NONE, end: None, tail: Span::NONE, open_ended: false };

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

/// Takes the padding off as blocks pass.
pub(super) struct Trim {
    padding: Padding,
    /// What the codec always puts before the audio.
    usual_start: Span,
    /// Known with the first block.
    left: Option<Left>,
    /// The last frames of each signal so far, which may turn out to be the tail.
    held: Vec<Vec<f32>>,
}

/// What is left to do, in frames.
struct Left {
    skip: u64,
    /// What may come behind that.
    keep: u64,
    hold: usize,
}

/// The longest tail that is held back, in seconds: more than any packet of a lossy codec.
const MAX_TAIL_SECONDS: f64 = 0.5;

impl Trim {
    pub(super) fn new(padding: Padding, usual_start: Span) -> Self {
        Self { padding, usual_start, left: None, held: Vec::new() }
    }

    /// Takes off `block` what is not of the recording. What may be its tail is held back.
    pub(super) fn apply(&mut self, block: &mut Block) {
        let rate_hz = block.rate_hz;
        let Self { padding, usual_start, .. } = self;
        let left = self.left.get_or_insert_with(|| {
            // A start earlier than the codec allows counts as not declared.
            let skip = padding.start.frames(rate_hz).max(usual_start.frames(rate_hz));
            let end = padding.end.map_or(u64::MAX, |end| end.frames(rate_hz));
            let most_held = Span::Seconds(MAX_TAIL_SECONDS).frames(rate_hz);
            let hold = padding.tail.frames(rate_hz).min(most_held) as usize;
            Left { skip, keep: end.saturating_sub(skip), hold }
        });
        let frames = block.frames() as u64;
        let skipped = left.skip.min(frames);
        left.skip -= skipped;
        let kept = (frames - skipped).min(left.keep);
        left.keep -= kept;
        // Both are at most what the block has.
        let range = skipped as usize..(skipped + kept) as usize;
        self.held.resize(block.signals.len(), Vec::new());
        for (signal, held) in block.signals.iter_mut().zip(&mut self.held) {
            signal.truncate(range.end);
            signal.drain(..range.start);
            if left.hold > 0 {
                held.append(signal);
                let sure = held.len().saturating_sub(left.hold);
                signal.extend(held.drain(..sure));
            }
        }
    }

    /// Whether nothing of the recording is left.
    pub(super) fn is_over(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.keep == 0)
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
            trim.apply(&mut block);
            let [signal, other] = &block.signals[..] else { unreachable!() };
            assert!(signal.iter().zip(other).all(|(one, other)| *one == -*other));
            assert_eq!(signal.len(), other.len());
            out.extend_from_slice(signal);
        }
        (out, trim.take_held().swap_remove(0))
    }

    #[track_caller]
    fn check(padding: Padding, usual_start: Span, first: f32, last: f32, held: usize) {
        let (out, rest) = trimmed(padding, usual_start);
        assert_eq!((out.first(), out.last()), (Some(&first), Some(&last)), "{padding:?}");
        assert_eq!(rest.len(), held, "{padding:?}");
    }

    #[test]
    fn padding_is_cut_off_on_both_sides() {
        let told = |start, end, tail| Padding { start, end, tail, open_ended: false };
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
            open_ended: false,
        };
        let (out, held) = trimmed(lie, Span::NONE);
        assert!(out.is_empty());
        assert_eq!(held.len(), 100);
        let nothing = Padding { end: Some(Span::Frames(0)), ..Padding::NONE };
        assert_eq!(trimmed(nothing, Span::Frames(u64::MAX)), (Vec::new(), Vec::new()));
    }
}
