//! `json`: the text, and what it is charged by.

use serde::Serialize;
use utoipa::ToSchema;

use super::timestamp;
use crate::transcript::Transcript;

/// The answer in the default format, `json`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Transcription {
    /// The whole text.
    #[schema(examples("The quick brown fox jumps over the lazy dog."))]
    pub text: String,
    /// How much audio was transcribed.
    pub usage: Usage,
}

/// How much audio a request took, as OpenAI counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Usage {
    /// By the length of the audio.
    Duration {
        /// Whole seconds, rounded up.
        #[schema(examples(9))]
        seconds: u64,
    },
}

impl Usage {
    /// The usage for audio of `duration_seconds`.
    pub fn of(duration_seconds: f64) -> Self {
        Self::Duration { seconds: timestamp::milliseconds(duration_seconds).div_ceil(1000) }
    }
}

impl From<&Transcript> for Transcription {
    fn from(transcript: &Transcript) -> Self {
        Self { text: transcript.text(), usage: Usage::of(transcript.duration) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_seconds_count_whole() {
        for (duration, expected) in [(0.0, 0), (0.01, 1), (9.0, 9), (9.000_04, 9), (9.2, 10)] {
            assert_eq!(Usage::of(duration), Usage::Duration { seconds: expected }, "{duration}");
        }
    }
}
