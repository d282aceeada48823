//! The forms of transcriptions and jobs, and the fields that they share with other forms.

use strum::{EnumString, VariantNames};
use utoipa::ToSchema;

use super::TranscriptionParams;
use super::chunking::ChunkingFields;
use super::form::form;
use super::prompt::PromptFields;
use super::reader::{Fields, Sent, from_field};
use crate::http::error::ApiError;
use auris_core::language::Language;
use auris_core::recording::{ChannelChoice, Selection, TrackChoice};
use auris_core::transcript::Task;
use auris_format::{CueRules, Format, Granularities, Rendering};

form! {
    /// The form of `POST /v1/audio/transcriptions` and `/v1/audio/translations`.
    ///
    /// Lists may be sent as `x[]`, `x[0]` or `x`, repeated or separated by commas.
    pub(in crate::http) struct TranscriptionForm {
        @file file,
        /// Send the text while it is made; with `json`, `text`, `verbose_json` and `ndjson`.
        #[schema(value_type = Option<bool>, default = false)]
        stream: Option<Sent<bool>>,
        ..details: DetailFields,
    }
}

form! {
    /// The form of `POST /v1/jobs`.
    pub(in crate::http) struct JobForm {
        @file file,
        /// `translate` returns the text in English.
        #[schema(default = "transcribe")]
        task: Option<TaskName>,
        ..details: DetailFields,
    }
}

form! {
    /// What transcriptions and jobs have beyond other forms.
    pub(in crate::http) struct DetailFields {
        /// `logprobs` returns the log probability of each token, with `json` only.
        #[schema(value_type = Vec<Include>)]
        include as "include[]": Vec<Sent<Include>>,
        /// The address to which the end of a job is reported, signed according to Standard Webhooks.
        /// Only for jobs: requests with `Prefer: respond-async` or an idempotency key.
        #[schema(examples("https://example.com/hooks/auris"))]
        webhook_url: Option<String>,
        ..text: TextFields,
        ..layout: LayoutFields,
    }
}

form! {
    /// What OpenAI's form and that of whisper.cpp have in common.
    pub(in crate::http) struct TextFields {
        /// A model of `GET /v1/models`. By default, or as `whisper-1`, `gpt-4o-transcribe` and other
        /// names of OpenAI, the language decides.
        #[schema(examples("whisper-1"))]
        model: Option<String>,
        /// The format of the response. `diarized_json` is refused: auris does not distinguish speakers.
        #[schema(default = "json")]
        response_format: Option<Format>,
        /// Sampling temperature from 0 to 1. 0 returns the most probable text, and rises only where
        /// that is poor.
        #[schema(default = 0.0)]
        temperature in 0.0..=1.0: Option<f32>,
        ..prompt: PromptFields,
        ..speech: SpeechFields,
    }
}

form! {
    /// What every transcription takes.
    pub(in crate::http) struct SpeechFields {
        /// The spoken language as an ISO 639 code or an English name. By default, or as `auto` or
        /// `und`, it is detected.
        #[schema(value_type = Option<String>, examples("en"))]
        language: Option<Sent>,
        /// The languages that detection may choose from. With one, nothing is detected. If `language`
        /// is sent too, it must be one of them, and is used.
        #[schema(value_type = Vec<String>, examples(json!(["en", "hi"])))]
        languages as "languages[]": Vec<Sent>,
        /// Suppress notes of sounds other than speech, such as `[Music]` or `♪`, as OpenAI's decoder
        /// does.
        #[schema(default = true)]
        suppress_non_speech: Option<bool>,
        ..chunking: ChunkingFields,
        ..selection: SelectionFields,
    }
}

form! {
    /// Which part of a file to transcribe.
    pub(in crate::http) struct SelectionFields {
        /// The audio track of a file that has several: its number from 1, or its language as the file
        /// declares it, such as `hin`. By default the file's default track, or else the first.
        #[schema(
            value_type = Option<String>,
            examples("1"),
            pattern = "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9-]{0,34})$"
        )]
        track: Option<TrackChoice>,
        /// The channels to transcribe: `mix` for all of them together, `left`, `right`, or one by its
        /// number. `split` transcribes each separately, as for calls with a speaker in each channel:
        /// segments come in order of time, each with its `channel`, and each channel counts as audio
        /// of its own.
        #[schema(
            value_type = Option<String>,
            default = "mix",
            examples("split"),
            pattern = "^(mix|left|right|split|[1-9][0-9]{0,3})$"
        )]
        channel: Option<ChannelChoice>,
    }
}

form! {
    /// How a transcript is laid out.
    pub(in crate::http) struct LayoutFields {
        /// Which times `verbose_json` and `ndjson` have: `segment`, `word` or both.
        #[schema(value_type = Vec<Granularity>)]
        granularities as "timestamp_granularities[]": Vec<Sent<Granularity>>,
        /// The most characters in a line of a subtitle; 42 by default.
        max_line_length in 10..=200: Option<usize>,
        /// The most lines of a subtitle; 2 by default.
        max_lines in 1..=10: Option<usize>,
        /// The most characters of a subtitle per second. By default subtitles last as long as they are
        /// spoken.
        #[schema(examples(17.0))]
        max_chars_per_second in 5.0..=100.0: Option<f32>,
    }
}

/// What to write down.
#[derive(Debug, Clone, Copy, EnumString, VariantNames, ToSchema)]
#[strum(serialize_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(in crate::http) enum TaskName {
    Transcribe,
    Translate,
}

/// What has times.
#[derive(Debug, Clone, Copy, EnumString, VariantNames, ToSchema)]
#[strum(serialize_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(in crate::http) enum Granularity {
    Segment,
    Word,
}

/// What a response may contain beyond its text.
#[derive(Debug, Clone, Copy, EnumString, VariantNames, ToSchema)]
#[strum(serialize_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(in crate::http) enum Include {
    Logprobs,
}

from_field!(choice: TaskName, Granularity, Include);

impl From<TaskName> for Task {
    fn from(name: TaskName) -> Self {
        match name {
            TaskName::Transcribe => Self::Transcribe,
            TaskName::Translate => Self::Translate,
        }
    }
}

impl TranscriptionForm {
    pub(super) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let params = self.details.params()?;
        let format = params.rendering.format;
        match self.stream {
            Some(stream) if stream.value && !format.can_stream() => {
                let formats = Format::ALL.iter().copied().filter(|format| format.can_stream());
                let formats: Vec<&str> = formats.map(Format::name).collect();
                let message =
                    format!("{format} cannot be streamed: give one of {}", formats.join(", "));
                Err(stream.wrong(message))
            }
            stream => {
                Ok(TranscriptionParams { stream: stream.is_some_and(|sent| sent.value), ..params })
            }
        }
    }
}

impl JobForm {
    pub(super) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let mut params = self.details.params()?;
        params.options.task = self.task.map(Task::from).unwrap_or_default();
        Ok(params)
    }
}

impl DetailFields {
    fn params(self) -> Result<TranscriptionParams, ApiError> {
        let Self { include, webhook_url, text, layout } = self;
        let mut params = text.params()?;
        params.rendering = layout.rendering(params.rendering)?;
        let Rendering { format, granularities, .. } = params.rendering;
        if let Some(sent) = include.first() {
            if format != Format::Json {
                let message = format!("logprobs need response_format=json, not {format}");
                return Err(sent.wrong(message));
            }
            params.rendering.logprobs = true;
            params.options.logprobs = true;
        }
        params.options.words = granularities.words || format.needs_words();
        params.webhook_url = webhook_url;
        Ok(params)
    }
}

impl TextFields {
    pub(in crate::http) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let Self { model, response_format, temperature, prompt, speech } = self;
        let mut params = speech.params()?;
        params.model = model;
        params.rendering.format = response_format.unwrap_or_default();
        params.options.temperature = temperature.unwrap_or(0.0);
        params.options.prompt = prompt.prompt()?;
        Ok(params)
    }
}

impl SpeechFields {
    pub(in crate::http) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let Self { language, languages, suppress_non_speech, chunking, selection } = self;
        let mut params = TranscriptionParams {
            silence: chunking.silence()?,
            selection: selection.selection(),
            ..TranscriptionParams::default()
        };
        let options = &mut params.options;
        (options.language, options.languages) = spoken(language, languages)?;
        options.keep_non_speech = suppress_non_speech == Some(false);
        Ok(params)
    }
}

/// The language if it is given, else the languages that detection may choose from; it is an error
/// if they disagree.
fn spoken(
    given: Option<Sent>,
    candidates: Vec<Sent>,
) -> Result<(Option<Language>, Vec<Language>), ApiError> {
    let parse = |sent: &Sent| {
        Language::parse_or_detect(&sent.value).map_err(|error| sent.wrong(error.to_string()))
    };
    let candidates = candidates.iter().map(parse).collect::<Result<Option<Vec<_>>, _>>()?;
    let mut distinct = Vec::new();
    // `auto` among them stands for all languages.
    for candidate in candidates.unwrap_or_default() {
        if !distinct.contains(&candidate) {
            distinct.push(candidate);
        }
    }
    let Some(given) = given else { return Ok(single_or_any(distinct)) };
    let Some(language) = parse(&given)? else { return Ok(single_or_any(distinct)) };
    if !distinct.is_empty() && !distinct.contains(&language) {
        let message = format!(
            "language {language} is not among languages[]: leave one of the two fields out"
        );
        return Err(given.wrong(message));
    }
    Ok((Some(language), Vec::new()))
}

/// A candidate alone needs no detection.
fn single_or_any(candidates: Vec<Language>) -> (Option<Language>, Vec<Language>) {
    match candidates[..] {
        [only] => (Some(only), Vec::new()),
        _ => (None, candidates),
    }
}

impl SelectionFields {
    /// Whether the file has that track and channel is checked when it is opened.
    pub(in crate::http) fn selection(self) -> Selection {
        Selection {
            track: self.track.unwrap_or_default(),
            channel: self.channel.unwrap_or_default(),
        }
    }
}

impl LayoutFields {
    /// `default` with what is sent.
    pub(in crate::http) fn rendering(self, default: Rendering) -> Result<Rendering, ApiError> {
        let Self { granularities: sent, max_line_length, max_lines, max_chars_per_second } = self;
        let Rendering { format, mut granularities, cues, .. } = default;
        if !sent.is_empty() {
            granularities = Granularities { segments: false, words: false };
        }
        for granularity in sent {
            match granularity.value {
                Granularity::Segment => granularities.segments = true,
                Granularity::Word if format.can_list_words() => granularities.words = true,
                Granularity::Word => {
                    let message = format!(
                        "word times need response_format=verbose_json or ndjson, not {format}"
                    );
                    return Err(granularity.wrong(message));
                }
            }
        }
        let cues = CueRules {
            line_chars: max_line_length.unwrap_or(cues.line_chars),
            lines: max_lines.unwrap_or(cues.lines),
            chars_per_second: max_chars_per_second.or(cues.chars_per_second),
        };
        Ok(Rendering { granularities, cues, ..default })
    }
}

/// OpenAI's fields about speakers, which change the text and cannot be ignored.
const SPEAKER_FIELDS: [&str; 2] = ["known_speaker_names", "known_speaker_references"];

pub(super) fn refuse_speakers(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    for name in SPEAKER_FIELDS {
        if let Some(refusal) = fields.list(name)?.first().and_then(|s| speakers_refusal(&s.field)) {
            return Err(refusal);
        }
    }
    Ok(())
}

/// The error for a field about speakers; `None` if it is another one.
pub(in crate::http) fn speakers_refusal(field: &str) -> Option<ApiError> {
    let name = SPEAKER_FIELDS.into_iter().find(|name| field.starts_with(name))?;
    let message = format!("auris does not distinguish speakers: leave {name} out");
    Some(ApiError::bad_field(field, message))
}
