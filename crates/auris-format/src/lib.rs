//! Renders a transcript: a file for each response format.
//!
//! Pure: a [`Transcript`] in, text out. The server's `http` module reads from the request which
//! format and detail a client wants; streaming is there too.
//!
//! To add a format, follow the recipe in CONTRIBUTING.md.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "not published; comments carry what names and messages do not say")]

mod recording;
mod timestamp;

mod cue;
mod delta;

mod json;
mod lrc;
mod ndjson;
mod srt;
mod text;
mod tsv;
mod verbose_json;
mod vtt;

use serde::{Deserialize, Serialize};
use strum::VariantArray;
use utoipa::ToSchema;

pub use cue::{CueRuleError, CueRules};
pub use delta::Deltas;
pub use json::{TranscriptionJson, TranscriptionLogprob, TranscriptionUsage};
pub use ndjson::{
    TranscriptionLine, TranscriptionSegmentLine, ndjson_segment_line, ndjson_transcript_line,
};
pub use recording::{TranscriptionLanguage, TranscriptionLosses, TranscriptionTrack};
pub use text::{TurnLines, with_turns};
pub use verbose_json::{
    TranscriptionRun, TranscriptionSegment, TranscriptionSkipped, TranscriptionVerbose,
    TranscriptionWord,
};

use auris_core::transcript::Transcript;

/// The format of a transcript, by its name in requests.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownFormat, parse_err_fn = unknown)]
pub enum Format {
    /// The text in an object.
    #[default]
    Json,
    /// The text with times, probabilities, and which device and model ran.
    VerboseJson,
    /// The text alone.
    Text,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// A table of segments, separated by tabs.
    Tsv,
    /// Lyrics.
    Lrc,
    /// Segments as JSON objects, one on each line.
    Ndjson,
}

/// The text names no format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown response format {0:?}: give one of {list}", list = names())]
pub struct UnknownFormat(pub String);

/// Which lists with times `verbose_json` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granularities {
    /// Times of segments.
    pub segments: bool,
    /// Times of words. The engine must have been asked for them as well.
    pub words: bool,
}

impl Default for Granularities {
    /// Segments only.
    fn default() -> Self {
        Self { segments: true, words: false }
    }
}

/// How a transcript is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rendering {
    /// Its format.
    pub format: Format,
    /// Which lists [`Format::VerboseJson`] has. [`Format::Ndjson`] always has segments.
    pub granularities: Granularities,
    /// How subtitles are laid out.
    pub cues: CueRules,
    /// Whether [`Format::Json`] has the log probability of each token. The engine must have been
    /// asked for them as well.
    pub logprobs: bool,
}

/// `transcript` as the whole body of a response. All but the JSON objects end in one newline.
pub fn render(transcript: &Transcript, rendering: &Rendering) -> String {
    let Rendering { format, granularities, cues, logprobs } = *rendering;
    match format {
        Format::Json => to_json(&TranscriptionJson::new(transcript, logprobs)),
        Format::VerboseJson => to_json(&TranscriptionVerbose::new(transcript, granularities)),
        Format::Text => text::render(transcript),
        Format::Srt => srt::render(transcript, cues),
        Format::Vtt => vtt::render(transcript, cues),
        Format::Tsv => tsv::render(transcript),
        Format::Lrc => lrc::render(transcript, cues),
        Format::Ndjson => ndjson::render(transcript, granularities.words),
    }
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name in requests.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What a file of this format is called after its dot.
    pub fn file_extension(self) -> &'static str {
        match self {
            Self::Json | Self::VerboseJson => "json",
            Self::Text => "txt",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::Tsv => "tsv",
            Self::Lrc => "lrc",
            Self::Ndjson => "ndjson",
        }
    }

    /// The value of the header `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::VerboseJson => "application/json",
            Self::Text | Self::Srt | Self::Lrc => "text/plain; charset=utf-8",
            Self::Vtt => "text/vtt; charset=utf-8",
            Self::Tsv => "text/tab-separated-values; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// Whether it is split at words, and so needs their times.
    pub fn needs_words(self) -> bool {
        match self {
            Self::Srt | Self::Vtt | Self::Lrc => true,
            Self::Json | Self::VerboseJson | Self::Text | Self::Tsv | Self::Ndjson => false,
        }
    }

    /// Whether it can list words with their times.
    pub fn can_list_words(self) -> bool {
        match self {
            Self::VerboseJson | Self::Ndjson => true,
            Self::Json | Self::Text | Self::Srt | Self::Vtt | Self::Tsv | Self::Lrc => false,
        }
    }

    /// Whether it can be sent before the whole text is known.
    pub fn can_stream(self) -> bool {
        match self {
            Self::Json | Self::VerboseJson | Self::Text | Self::Ndjson => true,
            Self::Srt | Self::Vtt | Self::Tsv | Self::Lrc => false,
        }
    }
}

fn unknown(text: &str) -> UnknownFormat {
    UnknownFormat(text.chars().take(40).collect())
}

fn names() -> String {
    Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
}

fn to_json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("structs of strings and numbers always serialise")
}

#[cfg(test)]
mod tests;
