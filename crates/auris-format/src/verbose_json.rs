//! `verbose_json`: the text with the times of its segments and words, and where it was made.
//!
//! The keys are OpenAI's, and all those it requires are always there. Ours are `start_offset`,
//! `truncated`, `lost`, `runs`, `skipped`, `tracks`, `channels` and `channel`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::recording::{TranscriptionLanguage, TranscriptionLosses, TranscriptionTrack};
use super::timestamp::rounded;
use super::{Granularities, TranscriptionUsage};
use auris_core::device::{Backend, DeviceId};
use auris_core::language::Language;
use auris_core::recording::Channel;
use auris_core::transcript::{Run, Segment, SkipReason, Skipped, Task, Transcript};

/// The most languages that a response lists.
const MOST_PROBABLE_LANGUAGES: usize = 5;

/// A transcript in `verbose_json`. All times are in seconds, to the millisecond.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionVerbose {
    /// `transcribe` or `translate`.
    #[schema(value_type = String, examples("transcribe"))]
    pub task: Task,
    /// The language of the text: its English name in lower case. `english` for translations.
    #[schema(examples("hindi"))]
    pub language: String,
    /// The probability of the language, from 0 to 1, if it was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples(0.97), nullable = false)]
    pub language_probability: Option<f32>,
    /// The most probable languages with their probabilities, if the language was detected.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(examples(json!({"en": 0.02, "hi": 0.97})))]
    pub language_probabilities: BTreeMap<&'static str, f32>,
    /// The languages of the speech; empty if there is none.
    pub languages: Vec<TranscriptionLanguage>,
    /// The length of the audio in seconds.
    #[schema(examples(8.47))]
    pub duration: f64,
    /// Seconds by which the audio starts later than the file, for example than its picture. All
    /// times count from the start of the file.
    #[schema(examples(0.0))]
    pub start_offset: f64,
    /// Whether the file breaks off or its end cannot be read.
    #[schema(examples(false))]
    pub truncated: bool,
    /// What is missing of the recording, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lost: Option<TranscriptionLosses>,
    /// The whole text.
    #[schema(examples("The quick brown fox jumps over the lazy dog."))]
    pub text: String,
    /// The segments, unless only words were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub segments: Option<Vec<TranscriptionSegment>>,
    /// The words, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub words: Option<Vec<TranscriptionWord>>,
    /// The amount of transcribed audio.
    pub usage: TranscriptionUsage,
    /// Which device and model transcribed each part of the audio.
    pub runs: Vec<TranscriptionRun>,
    /// The parts of the audio that are not in the text, and why.
    pub skipped: Vec<TranscriptionSkipped>,
    /// The audio tracks of the file, if it has more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<TranscriptionTrack>,
    /// The channels, if transcribed separately: `left` and `right` of two, else numbers from 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, examples(json!(["left", "right"])))]
    pub channels: Vec<Channel>,
}

/// A segment of the text, usually a sentence or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionSegment {
    /// The number of the segment, from 0.
    #[schema(examples(0))]
    pub id: usize,
    /// The start of the chunk in which it was decoded, in units of 10 ms.
    #[schema(examples(3000))]
    pub seek: u64,
    /// Start in seconds.
    #[schema(examples(0.32))]
    pub start: f64,
    /// End in seconds.
    #[schema(examples(3.36))]
    pub end: f64,
    /// The text, including the space before it.
    #[schema(examples(" The quick brown fox jumps over the lazy dog."))]
    pub text: String,
    /// The model's token ids.
    #[schema(examples(json!([440, 2068, 3699, 21831])))]
    pub tokens: Vec<i32>,
    /// The sampling temperature.
    #[schema(examples(0.0))]
    pub temperature: f32,
    /// The mean log probability of the tokens. Below -1 the text is doubtful.
    #[schema(examples(-0.21))]
    pub avg_logprob: f32,
    /// The size of the text divided by its compressed size. Above 2.4 the text repeats itself.
    #[schema(examples(1.14))]
    pub compression_ratio: f32,
    /// The probability that there is no speech, from 0 to 1.
    #[schema(examples(0.01))]
    pub no_speech_prob: f32,
    /// The channel, if channels were transcribed separately.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, examples("left"))]
    pub channel: Option<Channel>,
}

/// A word and its time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionWord {
    /// The word with its punctuation.
    #[schema(examples("fox"))]
    pub word: String,
    /// Start in seconds.
    #[schema(examples(1.02))]
    pub start: f64,
    /// End in seconds.
    #[schema(examples(1.46))]
    pub end: f64,
    /// The channel, if channels were transcribed separately.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, examples("left"))]
    pub channel: Option<Channel>,
}

/// Which device and model transcribed a part of the audio, and why.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionRun {
    /// Start in seconds.
    #[schema(examples(0.0))]
    pub start: f64,
    /// End in seconds.
    #[schema(examples(28.6))]
    pub end: f64,
    /// The id of the device.
    #[schema(value_type = String, examples("cuda:0"))]
    pub device: DeviceId,
    /// The backend of the device.
    #[schema(value_type = String, examples("cuda"))]
    pub backend: Backend,
    /// The model that ran.
    #[schema(examples("medium"))]
    pub model: String,
    /// Why another model or device, or a second attempt, was needed. Missing if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("cuda:0 is out of memory"))]
    pub fallback_reason: Option<String>,
    /// The channel, if channels were transcribed separately.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, examples("left"))]
    pub channel: Option<Channel>,
}

/// A part of the audio that is not in the text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptionSkipped {
    /// Start in seconds.
    #[schema(examples(30.4))]
    pub start: f64,
    /// End in seconds.
    #[schema(examples(61.2))]
    pub end: f64,
    /// `no_speech`: silence, noise or tones, which were not transcribed. `repetition`: the model
    /// repeated itself. `low_confidence`: the model detected no speech, and its text was improbable.
    #[schema(value_type = String, examples("no_speech"))]
    pub reason: SkipReason,
    /// The channel, if channels were transcribed separately.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, examples("left"))]
    pub channel: Option<Channel>,
}

impl TranscriptionVerbose {
    /// `transcript` with the lists that `granularities` requests.
    pub fn new(transcript: &Transcript, granularities: Granularities) -> Self {
        let Transcript { task, language: spoken, detected, .. } = transcript;
        let Transcript { duration, segments, runs, skipped, parts, .. } = transcript;
        let language = match task {
            Task::Transcribe => *spoken,
            Task::Translate => Language::ENGLISH,
        };
        let probability = detected.iter().find(|found| found.0 == *spoken).map(|found| found.1);
        let most_probable = detected.iter().take(MOST_PROBABLE_LANGUAGES);
        Self {
            task: *task,
            language: language.name().to_owned(),
            language_probability: probability,
            language_probabilities: most_probable.map(|(l, p)| (l.code(), *p)).collect(),
            languages: TranscriptionLanguage::of(transcript),
            duration: rounded(*duration),
            start_offset: rounded(transcript.start_offset),
            truncated: transcript.losses.truncated,
            lost: TranscriptionLosses::of(&transcript.losses),
            text: transcript.text(),
            segments: granularities.segments.then(|| {
                segments
                    .iter()
                    .enumerate()
                    .map(|(id, part)| TranscriptionSegment::new(id, part, runs))
                    .collect()
            }),
            words: granularities.words.then(|| segments.iter().flat_map(words).collect()),
            usage: TranscriptionUsage::of(transcript),
            runs: runs.iter().map(TranscriptionRun::from).collect(),
            skipped: skipped.iter().map(TranscriptionSkipped::from).collect(),
            tracks: TranscriptionTrack::of(parts),
            channels: parts.split.clone(),
        }
    }
}

impl TranscriptionSegment {
    /// The segment number `id`, counted from 0, of a transcript that was made by `runs`.
    pub fn new(id: usize, segment: &Segment, runs: &[Run]) -> Self {
        let own = runs.iter().filter(|run| run.channel == segment.channel);
        let chunk = own.rev().find(|run| rounded(run.start) <= rounded(segment.start));
        Self {
            id,
            seek: chunk.map_or(0, |run| (run.start.max(0.0) * 100.0).round() as u64),
            start: rounded(segment.start),
            end: rounded(segment.end),
            text: segment.text.clone(),
            tokens: segment.tokens.clone(),
            temperature: finite(segment.temperature),
            avg_logprob: finite(segment.avg_logprob),
            compression_ratio: finite(segment.compression_ratio),
            no_speech_prob: finite(segment.no_speech_prob),
            channel: segment.channel,
        }
    }
}

/// The words of a segment.
pub(super) fn words(segment: &Segment) -> impl Iterator<Item = TranscriptionWord> {
    segment.words.iter().map(|word| TranscriptionWord {
        word: word.text.clone(),
        start: rounded(word.start),
        end: rounded(word.end),
        channel: segment.channel,
    })
}

impl From<&Run> for TranscriptionRun {
    fn from(run: &Run) -> Self {
        Self {
            start: rounded(run.start),
            end: rounded(run.end),
            device: run.device.clone(),
            backend: run.backend,
            model: run.model.clone(),
            fallback_reason: run.fallback_reason.clone(),
            channel: run.channel,
        }
    }
}

impl From<&Skipped> for TranscriptionSkipped {
    fn from(Skipped { start, end, reason, channel }: &Skipped) -> Self {
        let (start, end) = (rounded(*start), rounded(*end));
        Self { start, end, reason: *reason, channel: *channel }
    }
}

/// JSON has no infinity: it would become `null` where clients require a number.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use utoipa::PartialSchema as _;

    use super::*;
    use crate::tests::{bilingual, segment, transcript};

    fn rendered(transcript: &Transcript, granularities: Granularities) -> Value {
        serde_json::to_value(TranscriptionVerbose::new(transcript, granularities)).unwrap()
    }

    #[test]
    fn only_what_is_asked_for_is_there() {
        for (segments, words) in [(true, false), (false, true), (true, true)] {
            let answer = rendered(&bilingual(), Granularities { segments, words });
            assert_eq!(answer.get("segments").is_some(), segments);
            assert_eq!(answer.get("words").is_some(), words);
        }
    }

    #[test]
    fn words_stand_in_one_list_in_order() {
        let answer = rendered(&bilingual(), Granularities { segments: false, words: true });
        let words: Vec<_> =
            answer["words"].as_array().unwrap().iter().map(|w| &w["word"]).collect();
        assert_eq!(words, ["Tea", "&", "milk,", "please.", "मेरा", "नाम", "रवि", "है।"]);
    }

    #[test]
    fn seek_is_the_start_of_the_chunk() {
        let answer = rendered(&bilingual(), Granularities::default());
        assert_eq!(answer["segments"][0]["seek"], 0);
        assert_eq!(answer["segments"][1]["seek"], 2950);
    }

    #[test]
    fn numbers_stay_numbers_when_the_engine_returns_none() {
        let broken = Segment {
            avg_logprob: f32::NEG_INFINITY,
            compression_ratio: f32::NAN,
            ..segment(f64::NAN, f64::INFINITY, "x")
        };
        let answer = rendered(&transcript(vec![broken]), Granularities::default());
        for (key, value) in answer["segments"][0].as_object().unwrap() {
            assert!(!value.is_null(), "{key}");
        }
    }

    #[test]
    fn a_translation_is_in_english() {
        let hindi = Language::parse("hi").unwrap();
        for (task, expected) in [(Task::Transcribe, "hindi"), (Task::Translate, "english")] {
            let transcript = Transcript { task, language: hindi, ..bilingual() };
            let answer = rendered(&transcript, Granularities::default());
            assert_eq!(answer["language"], expected);
            assert_eq!(answer["task"], json!(task));
        }
    }

    #[test]
    fn the_schema_requires_every_key_but_those_that_may_be_absent() {
        let document = serde_json::to_value([
            TranscriptionVerbose::schema(),
            TranscriptionSegment::schema(),
            TranscriptionRun::schema(),
        ])
        .unwrap();
        for (schema, optional) in [
            (
                0,
                &[
                    "segments",
                    "words",
                    "lost",
                    "tracks",
                    "channels",
                    "language_probability",
                    "language_probabilities",
                ] as &[&str],
            ),
            (1, &["channel"]),
            (2, &["fallback_reason", "channel"]),
        ] {
            let required = document[schema]["required"].as_array().unwrap();
            for (key, property) in document[schema]["properties"].as_object().unwrap() {
                assert_ne!(required.contains(&json!(key)), optional.contains(&key.as_str()));
                assert!(!property.to_string().contains("null"), "{key} may be null");
            }
        }
    }
}
