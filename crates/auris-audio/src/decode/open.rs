//! What decodes a file: the reader of its container, or ffmpeg where there is none.

use std::fs::File;
use std::time::Instant;

use super::{Decoder, Wanted, guarded};
use crate::block::Block;
use crate::budget::Budget;
use crate::codecs::{Container, codec_name};
use crate::content_encoding::Decoding;
use crate::ffmpeg::{Beginning, Input};
use crate::seams::is_endless;
use crate::sniff::{Convertible, Sniffed, sniff};
use crate::source::{self, Access, Source};
use crate::timestamps::Timestamps;
use crate::track::{AudioTrack, usual_delay};
use crate::tracks::Tracks;
use crate::trim::{Padding, Span};
use crate::{AudioError, AudioInfo};
use auris_core::recording::TrackChoice;

impl Decoder {
    /// Finds out what `file` is and decodes up to its first samples, which go to `block`, by
    /// `deadline` if there is one.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub(crate) fn open(
        mut file: File,
        wanted: Wanted<'_>,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        match sniff(&mut file, 0)? {
            Sniffed::Audio(container, start) => {
                Self::open_known(&Source::new(file, container, start, deadline)?, wanted, block)
            }
            // What is left is most likely MPEG audio with junk before its first frame.
            Sniffed::Unknown => {
                Self::read(&Source::new(file, Container::Mpeg, 0, deadline)?, wanted, block)
            }
            Sniffed::Convertible(Convertible { container, demuxer }) => {
                let budget = Budget::new(Container::Wav, deadline);
                let input =
                    Input { file: &file, container, demuxer, track: None, declares_delay: false };
                Self::convert(input, Tracks::default(), wanted, budget, block)
            }
            Sniffed::Foreign(found) => Err(AudioError::UnknownFormat { found }),
            Sniffed::Empty => Err(AudioError::Empty),
        }
    }

    /// Opens the recording that begins at byte `at` of `file`, behind others.
    ///
    /// # Errors
    /// Those of [`Decoder::open`]; there must be a reader for it here.
    pub(crate) fn open_part(
        mut file: File,
        at: u64,
        wanted: Wanted<'_>,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<Self, AudioError> {
        match sniff(&mut file, at)? {
            Sniffed::Audio(container, start) => {
                let source = Source::new(file, container, start, deadline)?;
                Self::read(&source, wanted, block).map(|(decoder, _)| decoder)
            }
            _ => Err(AudioError::UnknownFormat { found: "of no known format" }),
        }
    }

    /// Opens a container that has a reader, with ffmpeg if that finds no audio that it can decode.
    fn open_known(
        source: &Source,
        wanted: Wanted<'_>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let error = match Self::read(source, wanted, block) {
            // The reader does not list tracks of codecs that it does not know, and refuses some
            // files that others can read.
            Err(
                error @ (AudioError::UnsupportedCodec { .. }
                | AudioError::EncodedTrack { .. }
                | AudioError::NoAudioTrack { .. }
                | AudioError::NoSamples { .. }
                | AudioError::Corrupt { .. }
                | AudioError::UnknownFormat { .. }),
            ) => error,
            result => return result,
        };
        let container = source.container.name();
        let input = Input {
            file: &source.file,
            container,
            demuxer: source.demuxer,
            track: None,
            declares_delay: source.container.declares_delay(),
        };
        let tracks = Tracks::declared(source.container, &source.file)?;
        let chosen = tracks.find(&wanted.selection.track, container).unwrap_or_default();
        let chosen = chosen.or(tracks.usual());
        if let Some(id) = chosen.map(|entry| entry.id)
            && let Err(error @ AudioError::EncryptedTrack { .. }) =
                Decoding::read_from(source.container, &source.file, source.part.start(), id)
        {
            return Err(error);
        }
        match Self::convert(input, tracks, wanted, source.budget.clone(), block) {
            Err(AudioError::NeedsFfmpeg { .. }) => Err(match error {
                AudioError::UnsupportedCodec { codec, .. } => {
                    AudioError::NeedsFfmpeg { container, codec: Some(codec) }
                }
                error => error,
            }),
            // The file's own reader knows better what is in it.
            Err(AudioError::Corrupt { .. } | AudioError::NoAudioTrack { .. }) => Err(error),
            Err(AudioError::NoTrack { tracks, .. }) if tracks.is_empty() => Err(error),
            result => result,
        }
    }

    /// Opens a container with its reader.
    fn read(
        source: &Source,
        wanted: Wanted<'_>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        if source.container.forward_only() {
            return Self::start(source, Access::Forward, wanted, block);
        }
        match Self::start(source, Access::Seek, wanted, block) {
            // A truncated MP4 or WebM file can often still be read from front to back.
            Err(error @ (AudioError::Corrupt { .. } | AudioError::NoSamples { .. })) => {
                Self::start(source, Access::Forward, wanted, block).map_err(|again| match again {
                    AudioError::Io(_) => again,
                    _ => error,
                })
            }
            result => result,
        }
    }

    /// Opens what ffmpeg makes of `input`, which has these `tracks`, if they are known.
    fn convert(
        input: Input<'_>,
        tracks: Tracks,
        wanted: Wanted<'_>,
        budget: Budget,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let container = input.container;
        let Some(ffmpeg) = &wanted.limits.ffmpeg else {
            return Err(AudioError::NeedsFfmpeg { container, codec: None });
        };
        let slot = ffmpeg.slot()?;
        let choice = &wanted.selection.track;
        let may_be_several = *choice != TrackChoice::Usual || input.may_hold_several_tracks();
        let tracks = match tracks.is_empty() && may_be_several {
            true => ffmpeg.tracks(&input)?,
            false => tracks,
        };
        let number = match tracks.find(choice, container)? {
            Some(chosen) => Some(chosen.track.number),
            None => tracks.usual().map(|usual| usual.track.number),
        };
        // The only one is found without being named, however it is counted.
        let track = number.filter(|_| tracks.list().len() > 1);
        let input = Input { track, ..input };
        let (conversion, output) = ffmpeg.convert(slot, &input, wanted.limits.max_duration)?;
        let opened = guarded(Container::Wav, || {
            let reader = source::reader(Container::Wav, Box::new(output))?;
            let mut track =
                AudioTrack::choose(reader.as_ref(), None, Container::Wav, wanted.limits)?;
            let Beginning { codec, silence } = conversion.beginning();
            track.codec = codec.map_or("unknown", codec_name);
            let priming = match codec.filter(|_| !input.declares_delay) {
                Some(codec) => usual_delay(codec),
                None => 0,
            };
            // The silence is put there again if it is worth it; priming is behind it.
            track.usual_start = Span::Frames(silence.saturating_add(priming));
            let rate_hz = track.decoder.codec_params().sample_rate.unwrap_or(0);
            let padding = Padding::after_silence(silence, rate_hz);
            Self::begin(Container::Wav, reader, track, padding, wanted, budget, block)
        });
        match opened {
            Ok((mut decoder, info)) => {
                decoder.conversion = Some(conversion);
                (decoder.tracks, decoder.number) = (tracks, number);
                Ok((decoder, AudioInfo { container, ..info }))
            }
            Err(
                error @ (AudioError::TooManyChannels { .. }
                | AudioError::SampleRate { .. }
                | AudioError::NoChannel { .. }
                | AudioError::TooSlow),
            ) => Err(error),
            Err(_) => Err(conversion.failure(container)),
        }
    }

    fn start(
        source: &Source,
        access: Access,
        wanted: Wanted<'_>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let container = source.container;
        let (reader, mut track, tracks) = guarded(container, || {
            let reader = source.reader(access)?;
            let tracks = match source.is_first() {
                true => Tracks::of(container, &source.file, reader.as_ref())?,
                false => Tracks::read(reader.as_ref()),
            };
            let chosen = match tracks.is_empty() {
                true => None, // whatever is asked for, there is none
                false => tracks.find(&wanted.selection.track, container.name())?,
            };
            let track = AudioTrack::choose(reader.as_ref(), chosen, container, wanted.limits)?;
            Ok((reader, track, tracks))
        })?;
        let number = tracks.number_of(track.id);
        track.decoding =
            Decoding::read_from(container, &source.file, source.part.start(), track.id)?;
        track.timestamps = Timestamps::of(container, &source.file, source.part.start(), track.id)?;
        let padding = match source.is_first() {
            true => Padding::declared(container, &source.file, track.id)?,
            false => {
                let mut padding = Padding::NONE;
                padding.open_ended = is_endless(container, &source.file, source.part.start());
                padding
            }
        };
        let budget = source.budget.clone();
        let (mut decoder, info) =
            Self::begin(container, reader, track, padding, wanted, budget, block)?;
        (decoder.tracks, decoder.number) = (tracks, number);
        decoder.part = Some(source.part.clone());
        decoder.losses.truncated |= source.truncated;
        Ok((decoder, info))
    }
}
