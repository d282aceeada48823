//! A file as the recordings that it consists of, one after the other.
//!
//! Recorders append to a file, and people join files with `cat`. Each recording has a decoder of
//! its own; what comes out of them is one stream. What cannot be read behind a recording is counted,
//! so that nobody takes a part for the whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::block::Block;
use super::decode::{Decoder, Wanted};
use super::headers::is_tag;
use super::part::{fill_at, peek};
use super::pcm::Signals;
use super::seams::recording_begins;
use super::{AudioError, AudioInfo, Limits, Losses};
use auris_core::recording::{Selection, TranscribedParts};

/// The most recordings in a file.
const MAX_RECORDINGS: usize = 1_000;

/// Less than this behind a recording is padding or a signature.
const MIN_REST: u64 = 4 << 10;

/// How often padding is skipped.
const MAX_SKIPS: usize = 1_000;

/// So many equal bytes are padding.
const MIN_PADDING: usize = 16;

/// A file that is being decoded.
pub(super) struct Joined {
    file: File,
    len: u64,
    decoder: Decoder,
    selection: Selection,
    limits: Limits,
    /// What is decoded of the first recording, which decides for all, once there is another.
    first: Option<(TranscribedParts, Signals)>,
    recordings: usize,
    /// What is missing of earlier recordings, and what cannot be read behind the last one.
    losses: Losses,
}

impl Joined {
    /// Finds out what `file` is and decodes up to its first samples, which go to `block`, by
    /// `deadline` if there is one.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub(super) fn open(
        file: File,
        selection: &Selection,
        limits: &Limits,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let wanted = Wanted { selection, limits, signals: None };
        let len = file.metadata()?.len();
        let (decoder, info) = Decoder::open(file.try_clone()?, wanted, deadline, block)?;
        let joined = Self {
            file,
            len,
            decoder,
            selection: selection.clone(),
            limits: limits.clone(),
            first: None,
            recordings: 1,
            losses: Losses::default(),
        };
        Ok((joined, info))
    }

    /// Replaces `block` by the next one, by `deadline` if there is one; false at the end, which is
    /// also where reading was ended by the deadline.
    ///
    /// # Errors
    /// [`AudioError::SampleRate`] and [`AudioError::TooManyChannels`] where the stream changes to
    /// these, [`AudioError::TooSlow`], [`AudioError::Io`] if reading fails.
    pub(super) fn next_block(
        &mut self,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<bool, AudioError> {
        if self.decoder.next_block(deadline, block)? {
            return Ok(true);
        }
        // Only once, even if it is asked again.
        let next = std::mem::replace(&mut self.recordings, usize::MAX);
        let at = match self.decoder.next_recording().filter(|_| next < usize::MAX) {
            Some(at) => self.rest(at)?,
            None => None,
        };
        match at {
            Some(at) => {
                let opened = next < MAX_RECORDINGS && self.open_next(at, deadline, block)?;
                if opened {
                    self.recordings = next + 1;
                } else if !is_tag(&peek::<8>(&self.file, at)?) {
                    self.losses.unread_bytes = self.len - at;
                }
                Ok(opened)
            }
            None => Ok(false),
        }
    }

    /// Where what is left behind this byte begins, if it is more than padding.
    fn rest(&self, mut at: u64) -> Result<Option<u64>, AudioError> {
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..MAX_SKIPS {
            if recording_begins(&self.file, at)? {
                break;
            }
            let read = fill_at(|buffer, at| self.file.read_at(buffer, at), &mut buffer, at)?;
            let padding = buffer[..read].iter().take_while(|byte| **byte == buffer[0]).count();
            if padding == 0 || (padding < MIN_PADDING && read < MIN_REST as usize) {
                return Ok(None);
            }
            if padding < MIN_PADDING {
                return Ok(Some(at));
            }
            at += padding as u64;
        }
        Ok(Some(at))
    }

    /// Goes on with what begins at this byte, if that is a recording.
    fn open_next(
        &mut self,
        at: u64,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<bool, AudioError> {
        let (parts, signals) = (self.decoder.parts(), self.decoder.signals());
        if self.first.is_none() {
            self.first = signals.map(|signals| (parts, signals));
        }
        let (selection, limits) = (&self.selection, &self.limits);
        let signals = self.first.as_ref().map(|(_, signals)| *signals);
        let wanted = Wanted { selection, limits, signals };
        let opened = Decoder::open_part(self.file.try_clone()?, at, wanted, deadline, block);
        match opened {
            Ok(next) => {
                self.losses += self.decoder.losses();
                self.decoder = next;
                Ok(true)
            }
            Err(
                error @ (AudioError::Io(_)
                | AudioError::TooSlow
                | AudioError::SampleRate { .. }
                | AudioError::TooManyChannels { .. }),
            ) => Err(error),
            Err(_) => {
                block.clear();
                Ok(false)
            }
        }
    }

    /// Which part of the file is decoded, as its first recording has it.
    pub(super) fn parts(&self) -> TranscribedParts {
        self.first.as_ref().map_or_else(|| self.decoder.parts(), |(parts, _)| parts.clone())
    }

    /// What is missing so far. Final once `next_block` gave false.
    pub(super) fn losses(&self) -> Losses {
        let mut losses = self.losses;
        losses += self.decoder.losses();
        losses.truncated |= losses.unread_bytes > 0;
        losses
    }
}
