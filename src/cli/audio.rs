//! The options about audio.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Audio")]
pub struct AudioArgs {
    /// The longest audio accepted, in hours
    #[arg(long, env = "AURIS_MAX_AUDIO_HOURS", value_name = "HOURS", default_value_t = 24.0)]
    pub max_audio_hours: f64,
    /// The longest that decoding a file may take, in seconds
    #[arg(
        long,
        env = "AURIS_MAX_DECODE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 3600.0
    )]
    pub max_decode_seconds: f64,
    /// The most channels accepted
    #[arg(long, env = "AURIS_MAX_CHANNELS", value_name = "N", default_value_t = 8)]
    pub max_channels: usize,
    /// The lowest sample rate accepted, in Hz
    #[arg(long, env = "AURIS_MIN_SAMPLE_RATE", value_name = "HZ", default_value_t = 8_000)]
    pub min_sample_rate: u32,
    /// The highest sample rate accepted, in Hz
    #[arg(long, env = "AURIS_MAX_SAMPLE_RATE", value_name = "HZ", default_value_t = 192_000)]
    pub max_sample_rate: u32,
    /// The ffmpeg that decodes formats unknown to auris, or `off` [default: the one on the PATH]
    #[arg(long, env = "AURIS_FFMPEG", value_name = "FILE")]
    pub ffmpeg: Option<PathBuf>,
    /// The longest chunk that a file is cut into, in seconds, from 5 to 30 [default: 30]
    #[arg(long, env = "AURIS_CHUNK_SECONDS", value_name = "SECONDS")]
    pub chunk_seconds: Option<f64>,
    /// Encode whole windows of 30 s for short audio too: up to four times slower, and only useful
    /// for a model that writes nonsense in short windows
    #[arg(long, env = "AURIS_WHOLE_WINDOWS", value_parser = BoolishValueParser::new())]
    pub whole_windows: bool,
    /// Transcribe silence instead of skipping it; requests can override this
    #[arg(long, env = "AURIS_NO_VAD", value_parser = BoolishValueParser::new())]
    pub no_vad: bool,
}
