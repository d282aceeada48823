//! Why a file gives no audio, split by what its sender can do about it.

use std::time::Duration;

use super::supported_formats;
use auris_core::recording::{ChannelChoice, Track, TrackChoice};

/// Why a file could not be decoded. [`AudioError::Io`] is the server's fault, and
/// [`AudioError::TooSlow`] may be; all others are the file's.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// There is not a single byte.
    #[error("the file is empty: check that the upload was complete")]
    Empty,

    /// The content is no audio format that is read here.
    #[error("the file is {found}, which cannot be decoded; supported are {}", supported_formats())]
    UnknownFormat {
        /// What it looks like, with its article, for example `a PDF document`.
        found: &'static str,
    },

    /// A readable container that holds no audio.
    #[error("the {container} file has no audio track: send a file with sound")]
    NoAudioTrack {
        /// The container's name.
        container: &'static str,
    },

    /// The track that is asked for is not there.
    #[error("the {container} file has no audio track {wanted}: it has {}", listed(tracks))]
    NoTrack {
        /// The container's name.
        container: &'static str,
        /// What was asked for.
        wanted: TrackChoice,
        /// What there is, as far as that is known.
        tracks: Vec<Track>,
    },

    /// The channel that is asked for is not there.
    #[error(
        "the audio has {found} channel{}, of which none is {wanted}: give mix or split, or a \
         number up to {found}",
        if *found == 1 { "" } else { "s" }
    )]
    NoChannel {
        /// What was asked for.
        wanted: ChannelChoice,
        /// How many channels there are.
        found: usize,
    },

    /// A readable container whose audio has no decoder here.
    #[error(
        "the {container} file holds {codec} audio, which cannot be decoded; supported are {}",
        supported_formats()
    )]
    UnsupportedCodec {
        /// The container's name.
        container: &'static str,
        /// The codec's name, or what about it is not supported.
        codec: String,
    },

    /// There is a decoder in ffmpeg, which is not installed.
    #[error(
        "the {container} file {}takes ffmpeg to decode: install ffmpeg on the server, or convert \
         the file; supported without it are {}",
        codec.as_deref().map(|codec| format!("holds {codec} audio, which ")).unwrap_or_default(),
        supported_formats()
    )]
    NeedsFfmpeg {
        /// The container's name.
        container: &'static str,
        /// The codec's name, or what about it is not supported, where that is known.
        codec: Option<String>,
    },

    /// A Matroska track in an encoding on top of its codec that cannot be undone here.
    #[error(
        "the audio track of the {container} file is compressed {how}, which cannot be undone here: \
         remux it, for example with `ffmpeg -i in.mkv -c copy out.mkv`"
    )]
    EncodedTrack {
        /// The container's name.
        container: &'static str,
        /// What was done to it, for example `with LZO`.
        how: &'static str,
    },

    /// A track that takes a key to decode.
    #[error("the audio track of the {container} file is encrypted: send it without encryption")]
    EncryptedTrack {
        /// The container's name.
        container: &'static str,
    },

    /// Headers are sound, but not one sample follows.
    #[error("the {container} file holds no samples: check that the recording is not empty")]
    NoSamples {
        /// The container's name.
        container: &'static str,
    },

    /// More audio than allowed came out of the decoder.
    #[error(
        "the audio{} is longer than {} seconds: send it in shorter parts",
        if *signals == 1 { String::new() } else { format!(" of its {signals} channels together") },
        limit.as_secs_f64()
    )]
    TooLong {
        /// How many signals there are: one, or one for each channel transcribed on its own.
        signals: usize,
        /// The longest audio allowed.
        limit: Duration,
    },

    /// Decoding took longer than allowed.
    #[error(
        "the audio takes too long to decode: convert it to WAV or FLAC, or send it in shorter parts"
    )]
    TooSlow,

    /// More channels than allowed.
    #[error("the audio has {found} channels, at most {limit} are accepted: mix it down first")]
    TooManyChannels {
        /// The number of channels in the file.
        found: usize,
        /// The most that are allowed.
        limit: usize,
    },

    /// A sample rate outside the accepted range.
    #[error(
        "the audio has a sample rate of {found} Hz, {lowest} to {highest} Hz are accepted: \
         resample it first"
    )]
    SampleRate {
        /// The file's sample rate in Hz.
        found: u32,
        /// The lowest accepted rate in Hz.
        lowest: u32,
        /// The highest accepted rate in Hz.
        highest: u32,
    },

    /// The format is known, but the data is damaged before the first sample.
    #[error("the {container} file is damaged ({cause}): export or record it again")]
    Corrupt {
        /// The container's name.
        container: &'static str,
        /// What the decoder stumbled over.
        cause: String,
    },

    /// The file could not be read.
    #[error("the audio file could not be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Describes `tracks` for a message.
fn listed(tracks: &[Track]) -> String {
    /// No message is longer for a file with a hundred tracks.
    const MOST: usize = 20;
    match tracks {
        [] => "one that cannot be told apart".to_owned(),
        tracks => {
            let told: Vec<String> = tracks.iter().take(MOST).map(Track::to_string).collect();
            let more = if tracks.len() > MOST { " and more" } else { "" };
            told.join(", ") + more
        }
    }
}
