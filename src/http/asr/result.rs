//! The result of openai-whisper's `transcribe` (v20250625) as JSON.
//!
//! Its segments are those of `verbose_json`, with their words inside.

use serde::Serialize;
use utoipa::ToSchema;

use auris_core::transcript::{Segment, Transcript};
use auris_format::{Granularities, TranscriptionSegment, TranscriptionVerbose, TranscriptionWord};

/// The response of `/asr` with `output=json`.
#[derive(Serialize, ToSchema)]
pub(super) struct WhisperResult {
    #[schema(examples("The quick brown fox jumps over the lazy dog."))]
    text: String,
    segments: Vec<WhisperSegment>,
    /// The code of the spoken language.
    #[schema(examples("en"))]
    language: &'static str,
}

/// A segment and its words.
#[derive(Serialize, ToSchema)]
struct WhisperSegment {
    #[serde(flatten)]
    segment: TranscriptionSegment,
    /// The words, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    words: Option<Vec<WhisperWord>>,
}

/// A word, its time and its probability.
#[derive(Serialize, ToSchema)]
struct WhisperWord {
    #[serde(flatten)]
    word: TranscriptionWord,
    /// From 0 to 1.
    #[schema(examples(0.97))]
    probability: f32,
}

impl WhisperResult {
    pub(super) fn new(transcript: &Transcript, words: bool) -> Self {
        let verbose =
            TranscriptionVerbose::new(transcript, Granularities { segments: true, words: true });
        let mut rest = verbose.words.into_iter().flatten();
        let mut words_of = |segment: &Segment| {
            let words = segment.words.iter().zip(rest.by_ref());
            words.map(|(own, word)| WhisperWord { word, probability: own.probability }).collect()
        };
        let segments = verbose.segments.into_iter().flatten().zip(&transcript.segments);
        let segments = segments
            .map(|(segment, own)| WhisperSegment { segment, words: words.then(|| words_of(own)) });
        Self {
            segments: segments.collect(),
            text: verbose.text,
            language: transcript.language.code(),
        }
    }
}
