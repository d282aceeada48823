//! From any audio file to chunks of mono f32 samples at 16 kHz.
//!
//! [`AudioStream`] sniffs, decodes and resamples a file block by block, mixed down or channel by
//! channel; [`Chunks`] cuts its output in pauses, and leaves out silence. Memory does not grow with
//! the length of the file, and nothing a header claims is trusted: limits apply to samples that
//! were really decoded. Times are those of the container: its gaps, late tracks and edits are
//! silence or left out ([`Losses`] and [`AudioInfo::start_offset`] report how much). This is
//! synchronous work for a blocking thread; both types are `Send` and continue where the last call
//! ended.
//!
//! It does not write audio. The only program that it starts is ffmpeg, for formats without a decoder
//! here, and only where [`Limits::ffmpeg`] names one.

#![forbid(unsafe_code)]

mod error;
mod pauses;
mod chunks;
mod segment;
mod stream;
mod vad;
// What the stream is made of, in the order in which the data passes.
mod block;
mod codecs;
mod budget;
mod isobmff;
mod clock;
mod content_encoding;
mod joined;
mod decode;
mod ebml;
mod ffmpeg;
mod headers;
mod budgeted_reader;
mod cancellation;
mod part;
mod seams;
mod pcm;
mod resample;
mod sniff;
mod source;
mod timestamps;
mod track;
mod tracks;
mod trim;
mod vorbis;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use auris_core::recording::Losses;
pub use chunks::{Chunk, Chunks, Piece};
pub use codecs::supported_formats;
pub use error::AudioError;
pub use ffmpeg::Ffmpeg;
pub use segment::ChunkPolicy;
pub use stream::AudioStream;
pub use vad::Vad;

/// The sample rate of everything this module returns, which is whisper's, in Hz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// The log directive that silences the decoders: their errors are returned to the client anyway.
pub const LOG_DIRECTIVE: &str = "symphonia=off";

/// The limits on a file. All of them are checked against decoded audio, not against headers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest audio to decode. A few kilobytes of FLAC can hold hours of silence.
    pub max_duration: Duration,
    /// The most channels to mix down.
    pub max_channels: usize,
    /// The sample rates to accept, in Hz. A rate of 1 Hz turns 100 kB into days of audio.
    pub sample_rates_hz: RangeInclusive<u32>,
    /// The longest that a file may be decoded for, waits between chunks not counted. Besides, it
    /// may never be more than 30 s behind real time.
    pub max_decode: Duration,
    /// What decodes the formats that have no decoder here; without it they are refused.
    pub ffmpeg: Option<Ffmpeg>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(24 * 60 * 60),
            max_channels: 8,
            sample_rates_hz: 8_000..=192_000,
            max_decode: Duration::from_secs(60 * 60),
            ffmpeg: None,
        }
    }
}

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioInfo {
    /// The container's name, for example `MP4`.
    pub container: &'static str,
    /// The codec's short name, for example `aac`; `unknown` where ffmpeg decodes it.
    pub codec: &'static str,
    /// The sample rate before resampling, in Hz.
    pub sample_rate_hz: u32,
    /// The number of channels before mixing down.
    pub channels: usize,
    /// The length that the header claims, if it claims one: good for a progress bar, never a limit.
    pub declared_duration: Option<Duration>,
    /// The silence put before the audio because its track begins later than the file: after the
    /// first track with sound or pictures, or where an MP4 edit list puts it. A file with nothing but
    /// this track begins with it, wherever its timestamps begin.
    pub start_offset: Duration,
}
