//! The packets of a track with the times that their container gives them, where the decoding library
//! reports others.

mod fragments;
mod ogg_pages;

use std::fs::File;
use std::io;

use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::Packet;

use self::fragments::Fragments;
pub(super) use self::fragments::first_decode_times;
use self::ogg_pages::Pages;
use super::budget::{Budget, Phase};
use super::codecs::Container;

/// Where the times of packets come from.
pub(super) enum Timestamps {
    /// The container has no clock of its own: its packets follow each other.
    Counted,
    /// The reader reports them.
    Reported,
    Fragments(Fragments),
    Pages(Box<Pages>),
}

impl Timestamps {
    /// Those of the track `track_id` of the container that begins at byte `start` of `file`. The
    /// position in the file stays where a reader has left it.
    ///
    /// # Errors
    /// The position cannot be kept.
    pub(super) fn of(
        container: Container,
        file: &File,
        start: u64,
        track_id: u32,
    ) -> io::Result<Self> {
        Ok(match container {
            Container::Mp4 => match Fragments::read_from(file, start, track_id)? {
                Some(fragments) => Self::Fragments(fragments),
                None => Self::Reported,
            },
            Container::Matroska => Self::Reported,
            Container::Ogg => Self::Pages(Box::new(Pages::new(file.try_clone()?, start, track_id))),
            _ => Self::Counted,
        })
    }

    /// Whether they are those of a clock, so that gaps in them are gaps in the recording.
    pub(super) fn have_clock(&self) -> bool {
        !matches!(self, Self::Counted)
    }

    /// The next packet, which may be one of another track.
    ///
    /// # Errors
    /// Those of `reader`.
    pub(super) fn next_packet(
        &mut self,
        reader: &mut dyn FormatReader,
        budget: &Budget,
        track_id: u32,
    ) -> Result<Option<Packet>, Error> {
        match self {
            Self::Pages(pages) => pages.next_packet(|| {
                budget.begin(Phase::Packets).map_err(io::Error::other)?;
                reader.next_packet()
            }),
            Self::Fragments(fragments) => {
                let mut packet = reader.next_packet()?;
                if let Some(own) = packet.as_mut().filter(|packet| packet.track_id == track_id) {
                    fragments.correct(own);
                }
                Ok(packet)
            }
            Self::Counted | Self::Reported => reader.next_packet(),
        }
    }

    /// Another stream follows in the chain, with its own clock.
    pub(super) fn restart(&mut self, track_id: u32) {
        if let Self::Pages(pages) = self {
            pages.restart(track_id);
        }
    }
}
