//! What responses say of the recording itself: what is missing of it, what is spoken, and its tracks.

use serde::Serialize;
use utoipa::ToSchema;

use super::timestamp::rounded;
use auris_core::recording::{Losses, TranscribedParts};
use auris_core::transcript::Transcript;

/// What is missing of a recording. Silence takes its place, so that times stay right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionLosses {
    /// Seconds that could not be decoded.
    #[schema(examples(0.12))]
    pub undecodable_seconds: f64,
    /// Seconds in which the file has nothing: packets were lost, or the recording was paused.
    #[schema(examples(4.5))]
    pub gap_seconds: f64,
    /// Bytes at the end of the file that could not be read.
    #[schema(examples(0))]
    pub unread_bytes: u64,
}

/// A language that is spoken in the audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TranscriptionLanguage {
    /// ISO 639-1 code, or Whisper's code for a language without one.
    #[schema(examples("en"))]
    pub code: &'static str,
}

impl TranscriptionLosses {
    /// `None` if nothing is missing.
    pub fn of(losses: &Losses) -> Option<Self> {
        let lost = Self {
            undecodable_seconds: rounded(losses.undecodable.as_secs_f64()),
            gap_seconds: rounded(losses.gaps.as_secs_f64()),
            unread_bytes: losses.unread_bytes,
        };
        let is_whole = lost.undecodable_seconds + lost.gap_seconds == 0.0 && lost.unread_bytes == 0;
        (!is_whole).then_some(lost)
    }
}

impl TranscriptionLanguage {
    /// That of `transcript`, if it has any text.
    pub fn of(transcript: &Transcript) -> Vec<Self> {
        let spoken = (!transcript.segments.is_empty()).then_some(transcript.language.code());
        spoken.map(|code| Self { code }).into_iter().collect()
    }
}

/// An audio track of the file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionTrack {
    /// The number of the track, from 1, for the field `track`.
    #[schema(examples(2))]
    pub number: u32,
    /// The codec.
    #[schema(examples("aac"))]
    pub codec: String,
    /// The language, if the file declares it.
    #[schema(required, examples("hin"))]
    pub language: Option<String>,
    /// The number of channels, if the file declares it.
    #[schema(required, examples(2))]
    pub channels: Option<u32>,
    /// Whether this track was transcribed.
    pub transcribed: bool,
}

impl TranscriptionTrack {
    /// The tracks of the file, if there are several.
    pub fn of(parts: &TranscribedParts) -> Vec<Self> {
        let several = if parts.tracks.len() > 1 { &parts.tracks[..] } else { &[] };
        let listed = several.iter().map(|track| Self {
            number: track.number,
            codec: track.codec.clone(),
            language: track.language.clone(),
            channels: track.channels,
            transcribed: parts.track == Some(track.number),
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_missing_is_reported() {
        assert_eq!(TranscriptionLosses::of(&Losses::default()), None);
        let truncated = Losses { truncated: true, ..Losses::default() };
        assert_eq!(TranscriptionLosses::of(&truncated), None, "which has a field of its own");
        let gaps = Losses { gaps: Duration::from_millis(4_500), ..Losses::default() };
        let lost = TranscriptionLosses::of(&gaps).unwrap();
        assert_eq!((lost.gap_seconds, lost.undecodable_seconds, lost.unread_bytes), (4.5, 0.0, 0));
    }
}
