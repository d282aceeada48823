//! What a transcription's fields may be, and what they mean.
//!
//! The fields are OpenAI's and a few of our own. An invalid value is an error that names its
//! field; an unknown field is ignored and reported.

mod reader;

mod chunking;
mod forms;
mod language;
mod selection;
mod prompt;

#[cfg(test)]
mod tests;

use super::error::ApiError;
use auris_core::recording::Selection;
use auris_core::transcript::{Options, Task};
use auris_format::{CueRules, Format, Granularities, Rendering};

pub(super) use chunking::{Silence, silence};
pub(super) use forms::{JobForm, TaskName, TranscriptionForm, TranslationForm};
pub(super) use language::language;
pub(super) use prompt::prompt;
pub(super) use reader::Fields;
pub(super) use selection::selection;

/// The formats that can be sent before the whole text is known.
const STREAMED: [&str; 4] = ["json", "text", "verbose_json", "ndjson"];

/// Where fields were sent to: some are for one endpoint only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// Jobs, which have the field `task` and are never streamed.
    Jobs,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Default)]
pub(super) struct TranscriptionParams {
    /// The model's name; `None` has it chosen by the language.
    pub(super) model: Option<String>,
    /// The options for the engine.
    pub(super) options: Options,
    /// What happens to silence.
    pub(super) silence: Silence,
    /// Which track and channels of the file to use.
    pub(super) selection: Selection,
    /// What the body looks like.
    pub(super) rendering: Rendering,
    /// Whether the text is sent as it is made. Only with a format that can be.
    pub(super) stream: bool,
    /// The address to call when a job is done, as it was sent. Unused without a job.
    pub(super) webhook_url: Option<String>,
    /// The names of fields that are not known here: each once, safe for a header, and bounded.
    pub(super) ignored: Vec<String>,
}

impl TranscriptionParams {
    /// Reads the fields that were sent to `endpoint`.
    pub(super) fn read(endpoint: Endpoint, fields: &[(String, String)]) -> Result<Self, ApiError> {
        let fields = &mut Fields::new(fields);
        refuse_speakers(fields)?;
        let format = format(fields)?;
        let granularities = granularities(fields, format)?.unwrap_or_default();
        let logprobs = logprobs(fields, format)?;
        let (language, languages) = language(fields)?;
        let task = match endpoint {
            Endpoint::Transcriptions => Task::Transcribe,
            Endpoint::Translations => Task::Translate,
            Endpoint::Jobs => task(fields)?,
        };
        let options = Options {
            task,
            language,
            languages,
            prompt: prompt(fields)?,
            temperature: temperature(fields)?,
            words: needs_words(format, granularities),
            logprobs,
            keep_non_speech: keep_non_speech(fields)?,
        };
        let stream = match endpoint {
            Endpoint::Jobs => false,
            _ => stream(fields, format)?,
        };
        Ok(Self {
            model: text(fields, "model")?,
            options,
            silence: silence(fields)?,
            selection: selection(fields)?,
            rendering: Rendering {
                format,
                granularities,
                cues: cues(fields, CueRules::default())?,
                logprobs,
            },
            stream,
            webhook_url: text(fields, "webhook_url")?,
            ignored: fields.ignored(),
        })
    }
}

/// The rendering of a transcript that is requested later, with `default` for what is not given.
pub(super) fn rendering(
    fields: &mut Fields<'_>,
    default: Rendering,
) -> Result<Rendering, ApiError> {
    let format = match (fields.one("response_format")?, fields.one("format")?) {
        (Some(_), Some(value)) => return Err(value.wrong("give format or response_format")),
        (Some(value), None) | (None, Some(value)) => value.parse()?,
        (None, None) => default.format,
    };
    let granularities = match granularities(fields, format)? {
        Some(given) => given,
        None => default.granularities,
    };
    Ok(Rendering { format, granularities, cues: cues(fields, default.cues)?, ..default })
}

/// Whether the engine must find the words' times. Subtitles are split at words.
pub(super) fn needs_words(format: Format, granularities: Granularities) -> bool {
    granularities.words || matches!(format, Format::Srt | Format::Vtt | Format::Lrc)
}

/// The value of a field, whatever it is.
pub(super) fn text(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ApiError> {
    Ok(fields.one(name)?.map(|value| value.text))
}

/// `temperature`.
pub(super) fn temperature(fields: &mut Fields<'_>) -> Result<f32, ApiError> {
    fields.one("temperature")?.map_or(Ok(0.0), |value| value.number(0.0..=1.0))
}

/// The opposite of `suppress_non_speech`, which is on by default.
pub(super) fn keep_non_speech(fields: &mut Fields<'_>) -> Result<bool, ApiError> {
    let suppress = fields.one("suppress_non_speech")?.map_or(Ok(true), |value| value.flag())?;
    Ok(!suppress)
}

/// `response_format`.
pub(super) fn format(fields: &mut Fields<'_>) -> Result<Format, ApiError> {
    match fields.one("response_format")? {
        Some(value) if value.text == "diarized_json" => Err(value.wrong(
            "speakers are not told apart here: use response_format=verbose_json for the text with \
             its times",
        )),
        Some(value) => value.parse(),
        None => Ok(Format::default()),
    }
}

/// `task`.
pub(super) fn task(fields: &mut Fields<'_>) -> Result<Task, ApiError> {
    let Some(value) = fields.one("task")? else { return Ok(Task::default()) };
    match value.text.as_str() {
        "transcribe" => Ok(Task::Transcribe),
        "translate" => Ok(Task::Translate),
        _ => Err(value
            .wrong(format!("unknown task {:?}: give `transcribe` or `translate`", value.shown()))),
    }
}

fn refuse_speakers(fields: &mut Fields<'_>) -> Result<(), ApiError> {
    for name in ["known_speaker_names", "known_speaker_references"] {
        if let Some(value) = fields.list(name).first() {
            let message = format!("speakers are not told apart here: leave {name} out");
            return Err(value.wrong(message));
        }
    }
    Ok(())
}

fn granularities(
    fields: &mut Fields<'_>,
    format: Format,
) -> Result<Option<Granularities>, ApiError> {
    let given = fields.list("timestamp_granularities");
    if given.is_empty() {
        return Ok(None);
    }
    let mut granularities = Granularities { segments: false, words: false };
    for value in given {
        match value.text.as_str() {
            "segment" => granularities.segments = true,
            "word" if matches!(format, Format::VerboseJson | Format::Ndjson) => {
                granularities.words = true;
            }
            "word" => {
                let message =
                    format!("word times need response_format=verbose_json or ndjson, not {format}");
                return Err(value.wrong(message));
            }
            _ => {
                let shown = value.shown();
                let message =
                    format!("unknown granularity {shown:?}: give `segment`, `word` or both");
                return Err(value.wrong(message));
            }
        }
    }
    Ok(Some(granularities))
}

fn logprobs(fields: &mut Fields<'_>, format: Format) -> Result<bool, ApiError> {
    let mut logprobs = false;
    for value in fields.list("include") {
        logprobs = match value.text.as_str() {
            "logprobs" if format == Format::Json => true,
            "logprobs" => {
                let message = format!("logprobs need response_format=json, not {format}");
                return Err(value.wrong(message));
            }
            _ => {
                let message = format!("{:?} cannot be included: give `logprobs`", value.shown());
                return Err(value.wrong(message));
            }
        };
    }
    Ok(logprobs)
}

fn stream(fields: &mut Fields<'_>, format: Format) -> Result<bool, ApiError> {
    let Some(value) = fields.one("stream")? else { return Ok(false) };
    let stream = value.flag()?;
    if stream && !STREAMED.contains(&format.name()) {
        let formats = STREAMED.join(", ");
        return Err(value.wrong(format!("{format} cannot be streamed: give one of {formats}")));
    }
    Ok(stream)
}

fn cues(fields: &mut Fields<'_>, mut cues: CueRules) -> Result<CueRules, ApiError> {
    if let Some(value) = fields.one("max_line_length")? {
        cues.line_chars = value.number(10..=200)?;
    }
    if let Some(value) = fields.one("max_lines")? {
        cues.lines = value.number(1..=10)?;
    }
    if let Some(value) = fields.one("max_chars_per_second")? {
        cues.chars_per_second = Some(value.number(5.0..=100.0)?);
    }
    Ok(cues)
}
