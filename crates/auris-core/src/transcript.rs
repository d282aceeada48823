//! Transcription: the request parameters and the result.
//!
//! Plain data without behaviour of its own. The engine produces it, `auris_format` renders it.

use serde::{Deserialize, Serialize};

use crate::device::{Backend, DeviceId};
use crate::language::Language;
use crate::recording::{Channel, Losses, TranscribedParts};

/// What to write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The words as spoken.
    #[default]
    Transcribe,
    /// Their meaning in English.
    Translate,
}

/// The parameters of a request, the same for every chunk of a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Options {
    pub task: Task,
    /// The spoken language; `None` detects it.
    pub language: Option<Language>,
    /// The languages that detection may choose from; empty for all of the model's languages.
    pub languages: Vec<Language>,
    /// Words and names to expect, in the desired style.
    pub prompt: Option<String>,
    /// Sampling temperature from 0 to 1. 0 starts greedy and rises only if the result is poor.
    pub temperature: f32,
    pub words: bool,
    pub logprobs: bool,
    /// Whether to keep notes of sounds other than speech, such as `[Music]`.
    #[serde(default)]
    pub keep_non_speech: bool,
}

/// A word and when it was spoken, in seconds from the start of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word with its punctuation, without surrounding spaces.
    pub text: String,
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// The mean probability of its tokens, from 0 to 1.
    pub probability: f32,
}

/// OpenAI's limits for trustworthy text (`transcribe.py` of openai-whisper).
pub mod limits {
    /// Text whose tokens have a lower mean log probability is poor.
    pub const MIN_AVG_LOGPROB: f32 = -1.0;
    /// Text that compresses better than this repeats itself.
    pub const MAX_COMPRESSION_RATIO: f32 = 2.4;
    /// Poor text counts as no text if silence is more probable than this.
    pub const MAX_NO_SPEECH_PROB: f32 = 0.6;
}

/// A stretch of text, usually a sentence or a part of one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Segment {
    /// Start in seconds from the start of the file.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// The text as written by the model: with a leading space in languages that use spaces, so that
    /// joined segments are readable.
    pub text: String,
    /// Whisper's token ids of the text, without time and control tokens.
    pub tokens: Vec<i32>,
    /// The temperature at which the decoder produced this text.
    pub temperature: f32,
    /// The mean log probability of the tokens.
    pub avg_logprob: f32,
    /// The text's size over its size when compressed.
    pub compression_ratio: f32,
    /// The probability that there is no speech here.
    pub no_speech_prob: f32,
    pub words: Vec<Word>,
    /// The log probability of each of `tokens`, if requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// The channel of the speech, if channels were transcribed separately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

impl Segment {
    /// Whether all of its numbers are finite; JSON has no others.
    pub fn is_finite(&self) -> bool {
        let times = self.words.iter().flat_map(|word| [word.start, word.end]);
        let probabilities = self.words.iter().map(|word| word.probability);
        let logprobs = self.logprobs.iter().map(|token| token.logprob);
        let own = [self.temperature, self.avg_logprob, self.compression_ratio, self.no_speech_prob];
        times.chain([self.start, self.end]).all(f64::is_finite)
            && probabilities.chain(logprobs).chain(own).all(f32::is_finite)
    }
}

/// The probability that the model gave a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text. A token may contain only part of a character.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// Where a span of the file was transcribed, and why there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Start of the span in seconds from the start of the file.
    pub start: f64,
    /// End of the span in seconds.
    pub end: f64,
    /// The device that produced the text.
    pub device: DeviceId,
    /// The engine that drove it.
    pub backend: Backend,
    /// The model that actually ran.
    pub model: String,
    /// Why it did not run on the first choice, or not at the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// The channel of the span, if channels were transcribed separately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

/// A span of the file that is not in the text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Start in seconds from the start of the file.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    pub reason: SkipReason,
    /// The channel of the span, if channels were transcribed separately.
    pub channel: Option<Channel>,
}

/// Why a span of the file is not in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// There is no speech, so it was not transcribed: silence, noise, tones.
    NoSpeech,
    /// The model kept repeating itself.
    Repetition,
    /// The model took it for no speech and was not confident of its text.
    LowConfidence,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    pub task: Task,
    /// The spoken language, given or detected.
    pub language: Language,
    /// The probability of each language, if detected, most probable first.
    pub detected: Vec<(Language, f32)>,
    /// The length of the decoded audio in seconds.
    pub duration: f64,
    /// The silence before the audio because its track begins later than the file, in seconds.
    pub start_offset: f64,
    /// What is missing of the recording.
    pub losses: Losses,
    pub segments: Vec<Segment>,
    /// Where it was transcribed, in order of time.
    pub runs: Vec<Run>,
    /// The spans of the file that are not in the text, in order of time.
    pub skipped: Vec<Skipped>,
    /// Which tracks and channels of the file were transcribed.
    pub parts: TranscribedParts,
}

impl Transcript {
    pub fn text(&self) -> String {
        let whole: String = self.segments.iter().map(|segment| segment.text.as_str()).collect();
        whole.trim().to_owned()
    }
}
