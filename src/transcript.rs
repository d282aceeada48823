//! Vocabulary of transcription: what is asked for, and what comes out.
//!
//! Plain data without behaviour of its own; the engine makes it, `format` renders it.

use serde::{Deserialize, Serialize};

use crate::device::{Backend, DeviceId};
use crate::language::Language;
use crate::recording::{Channel, Heard};

/// What is to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The words as spoken.
    #[default]
    Transcribe,
    /// Their meaning in English.
    Translate,
}

/// What a caller asks for, the same for every chunk of a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Options {
    /// Transcribe or translate.
    pub task: Task,
    /// The spoken language; `None` has it detected.
    pub language: Option<Language>,
    /// The languages that detection may choose from; all of the model's if there are none here.
    pub languages: Vec<Language>,
    /// Words and names to expect, in the style wanted.
    pub prompt: Option<String>,
    /// Sampling temperature from 0 to 1. 0 starts greedy and rises only where the result is poor.
    pub temperature: f32,
    /// Whether each word's times are wanted.
    pub words: bool,
    /// Whether each token's log probability is wanted.
    pub logprobs: bool,
    /// Whether notes of sounds other than speech, such as `[Music]`, are kept.
    #[serde(default)]
    pub keep_non_speech: bool,
}

/// A word and when it was spoken, in seconds from the start of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word with its punctuation, without surrounding spaces.
    pub text: String,
    /// Start in seconds.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// The mean probability of its tokens, from 0 to 1.
    pub probability: f32,
}

/// OpenAI's limits for a text that can be trusted (`transcribe.py` of openai-whisper).
pub mod limits {
    /// A text with a lower mean log probability of its tokens is poor.
    pub const MIN_AVG_LOGPROB: f32 = -1.0;
    /// A text that compresses better repeats itself.
    pub const MAX_COMPRESSION_RATIO: f32 = 2.4;
    /// A poor text is none if silence is more probable than this.
    pub const MAX_NO_SPEECH_PROB: f32 = 0.6;
}

/// A stretch of text, usually a sentence or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Start in seconds from the start of the file.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// The text as the model wrote it: with its leading space in languages that have spaces,
    /// so that segments join to a readable whole.
    pub text: String,
    /// Whisper's token ids of the text, without time and control tokens.
    pub tokens: Vec<i32>,
    /// The temperature at which the decoder made this text.
    pub temperature: f32,
    /// The mean log probability of the tokens.
    pub avg_logprob: f32,
    /// The text's size over its size when compressed.
    pub compression_ratio: f32,
    /// The probability that there is no speech here.
    pub no_speech_prob: f32,
    /// The words, if they were asked for.
    pub words: Vec<Word>,
    /// How sure the model was of each of `tokens`, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// The channel in which it was said, where each was heard on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

/// How sure the model was of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text. One token may hold a part of a character only.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// Where a stretch of the file was transcribed, and why there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Start of the stretch in seconds from the start of the file.
    pub start: f64,
    /// End of the stretch in seconds.
    pub end: f64,
    /// The device that made the text.
    pub device: DeviceId,
    /// The engine that drove it.
    pub backend: Backend,
    /// The model that really ran.
    pub model: String,
    /// Why it did not run on the first choice, or not at the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// The channel that it was a stretch of, where each was heard on its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
}

/// A stretch of the file that is not in the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Skipped {
    /// Start in seconds from the start of the file.
    pub start: f64,
    /// End in seconds.
    pub end: f64,
    /// Why.
    pub reason: SkipReason,
    /// The channel that it is a stretch of, where each was heard on its own.
    pub channel: Option<Channel>,
}

/// Why a stretch of the file is not in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Nobody speaks there, so it was not transcribed: silence, noise, tones.
    NoSpeech,
    /// The model went on repeating itself.
    Repetition,
    /// The model took it for no speech and doubted what it wrote.
    LowConfidence,
}

/// The whole result for one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// What was asked for.
    pub task: Task,
    /// The spoken language, given or detected.
    pub language: Language,
    /// How probable each language is, if that was found out, most probable first.
    pub detected: Vec<(Language, f32)>,
    /// The length of the decoded audio in seconds.
    pub duration: f64,
    /// The text in order of time.
    pub segments: Vec<Segment>,
    /// Where it was made, in order of time.
    pub runs: Vec<Run>,
    /// What of the file is not in the text, in order of time.
    pub skipped: Vec<Skipped>,
    /// Which of its tracks and channels was heard.
    pub heard: Heard,
}

impl Transcript {
    /// All segments' text as one line.
    pub fn text(&self) -> String {
        let whole: String = self.segments.iter().map(|segment| segment.text.as_str()).collect();
        whole.trim().to_owned()
    }
}
