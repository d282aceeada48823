//! What decodes a file: the reader of its container, or ffmpeg where there is none.

use std::fs::File;
use std::time::Instant;

use super::{Block, Decoder, guarded};
use crate::audio::budget::Budget;
use crate::audio::codecs::{Container, codec_name};
use crate::audio::ffmpeg::Input;
use crate::audio::sniff::{Convertible, Sniffed, sniff};
use crate::audio::source::{self, Access, Source};
use crate::audio::track::{AudioTrack, usual_delay};
use crate::audio::trim::{Padding, Span};
use crate::audio::{AudioError, AudioInfo, Limits};

impl Decoder {
    /// Finds out what `file` is and decodes up to its first samples, which go to `block`, by
    /// `deadline` if there is one.
    ///
    /// # Errors
    /// All variants of [`AudioError`] but [`AudioError::TooLong`].
    pub(in crate::audio) fn open(
        mut file: File,
        limits: &Limits,
        deadline: Option<Instant>,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        match sniff(&mut file)? {
            Sniffed::Audio(container, start) => {
                let budget = Budget::new(container, deadline);
                Self::open_known(&Source { file, container, start, budget }, limits, block)
            }
            // What is left is most likely MPEG audio with junk before its first frame.
            Sniffed::Unknown => {
                let container = Container::Mpeg;
                let budget = Budget::new(container, deadline);
                Self::open_known(&Source { file, container, start: 0, budget }, limits, block)
            }
            Sniffed::Convertible(Convertible { container, demuxer }) => {
                let budget = Budget::new(Container::Wav, deadline);
                let input = Input { file: &file, container, demuxer, tells_delay: false };
                Self::convert(&input, limits, budget, block)
            }
            Sniffed::Foreign(found) => Err(AudioError::UnknownFormat { found }),
            Sniffed::Empty => Err(AudioError::Empty),
        }
    }

    /// Opens a container that has a reader, with ffmpeg if there is no decoder for its audio.
    fn open_known(
        source: &Source,
        limits: &Limits,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let error = match Self::read(source, limits, block) {
            // The reader does not list tracks of codecs that it does not know.
            Err(
                error @ (AudioError::UnsupportedCodec { .. } | AudioError::NoAudioTrack { .. }),
            ) => error,
            result => return result,
        };
        let container = source.container.name();
        let input = Input {
            file: &source.file,
            container,
            demuxer: source.container.demuxer(),
            tells_delay: source.container.tells_delay(),
        };
        match Self::convert(&input, limits, source.budget.clone(), block) {
            Err(AudioError::NeedsFfmpeg { .. }) => Err(match error {
                AudioError::UnsupportedCodec { codec, .. } => {
                    AudioError::NeedsFfmpeg { container, codec: Some(codec) }
                }
                error => error,
            }),
            // The file's own reader knows better what is in it.
            Err(AudioError::Corrupt { .. } | AudioError::NoAudioTrack { .. }) => Err(error),
            result => result,
        }
    }

    /// Opens a container with its reader.
    fn read(
        source: &Source,
        limits: &Limits,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        if source.container.forward_only() || source.start > 0 {
            return Self::start(source, Access::Forward, limits, block);
        }
        match Self::start(source, Access::Seek, limits, block) {
            // A truncated MP4 or WebM file can often still be read from front to back.
            Err(error @ (AudioError::Corrupt { .. } | AudioError::NoSamples { .. })) => {
                Self::start(source, Access::Forward, limits, block).map_err(|_| error)
            }
            result => result,
        }
    }

    /// Opens what ffmpeg makes of `input`.
    fn convert(
        input: &Input<'_>,
        limits: &Limits,
        budget: Budget,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let container = input.container;
        let Some(ffmpeg) = &limits.ffmpeg else {
            return Err(AudioError::NeedsFfmpeg { container, codec: None });
        };
        let (conversion, output) = ffmpeg.convert(input, limits.max_duration)?;
        let opened = guarded(Container::Wav, || {
            let reader = source::reader(Container::Wav, Box::new(output))?;
            let mut track = AudioTrack::choose(reader.as_ref(), Container::Wav, limits)?;
            if let Some(codec) = conversion.codec() {
                track.codec = codec_name(codec);
                track.usual_start = match input.tells_delay {
                    true => Span::NONE,
                    false => usual_delay(codec),
                };
            } else {
                track.codec = "unknown";
            }
            Self::begin(Container::Wav, reader, track, Padding::NONE, limits, budget, block)
        });
        match opened {
            Ok((mut decoder, info)) => {
                decoder.conversion = Some(conversion);
                Ok((decoder, AudioInfo { container, ..info }))
            }
            Err(
                error @ (AudioError::TooManyChannels { .. }
                | AudioError::SampleRate { .. }
                | AudioError::TooSlow),
            ) => Err(error),
            Err(_) => Err(conversion.failure(container)),
        }
    }

    fn start(
        source: &Source,
        access: Access,
        limits: &Limits,
        block: &mut Block,
    ) -> Result<(Self, AudioInfo), AudioError> {
        let container = source.container;
        let (reader, track) = guarded(container, || {
            let reader = source.reader(access)?;
            let track = AudioTrack::choose(reader.as_ref(), container, limits)?;
            Ok((reader, track))
        })?;
        let padding = Padding::told(container, &source.file, track.id)?;
        Self::begin(container, reader, track, padding, limits, source.budget.clone(), block)
    }
}
