//! The fields of a transcription form: what they mean and what they may be.

use utoipa::ToSchema;

use super::error::ApiError;
use crate::format::{Format, Granularities};
use crate::language::Language;
use crate::transcript::{Options, Task};

/// The form of `POST /v1/audio/transcriptions`, for the document only.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(super) struct TranscriptionForm {
    /// The audio: almost any container and codec. Its name and type are not looked at.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A model of `GET /v1/models`. Without it, or as `whisper-1`, the language decides.
    #[schema(examples("whisper-1"), nullable = false)]
    model: Option<String>,
    /// The spoken language as an ISO 639-1 code or an English name. Without it, it is detected.
    #[schema(examples("en"), nullable = false)]
    language: Option<String>,
    /// Words and names to expect, in the style wanted.
    #[schema(nullable = false)]
    prompt: Option<String>,
    /// The shape of the answer.
    #[schema(default = "json", nullable = false)]
    response_format: Option<Format>,
    /// From 0 to 1. 0 is the most probable text; it rises only where that is poor.
    #[schema(default = 0.0, minimum = 0.0, maximum = 1.0, nullable = false)]
    temperature: Option<f32>,
    /// What `verbose_json` gives times of: `segment`, `word` or both.
    #[schema(rename = "timestamp_granularities[]", nullable = false)]
    timestamp_granularities: Option<Vec<Granularity>>,
}

/// The form of `POST /v1/audio/translations`, for the document only.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(super) struct TranslationForm {
    /// The audio: almost any container and codec. Its name and type are not looked at.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A model of `GET /v1/models`. Without it, or as `whisper-1`, the language decides.
    #[schema(examples("whisper-1"), nullable = false)]
    model: Option<String>,
    /// English words and names to expect, in the style wanted.
    #[schema(nullable = false)]
    prompt: Option<String>,
    /// The shape of the answer.
    #[schema(default = "json", nullable = false)]
    response_format: Option<Format>,
    /// From 0 to 1. 0 is the most probable text; it rises only where that is poor.
    #[schema(default = 0.0, minimum = 0.0, maximum = 1.0, nullable = false)]
    temperature: Option<f32>,
}

/// What times are given of.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(super) enum Granularity {
    /// Times of segments.
    Segment,
    /// Times of words.
    Word,
}

/// What the form asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Wishes {
    pub(super) model: Option<String>,
    pub(super) options: Options,
    pub(super) format: Format,
    pub(super) granularities: Granularities,
}

impl Wishes {
    /// Reads the fields; those that it does not know are passed over.
    pub(super) fn read(task: Task, fields: &[(String, String)]) -> Result<Self, ApiError> {
        let one = |name: &str| {
            let mut values = fields.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(ApiError::bad_field(name, "the field is given twice")),
                // SDKs send unset fields empty.
                (value, None) => Ok(value.map(|value| value.trim()).filter(|v| !v.is_empty())),
            }
        };
        let invalid = |name: &str, error: &dyn std::fmt::Display| {
            ApiError::bad_field(name, error.to_string())
        };
        let language = one("language")?
            .map(Language::parse)
            .transpose()
            .map_err(|error| invalid("language", &error))?;
        let format = match one("response_format")? {
            Some(name) => name.parse().map_err(|error| invalid("response_format", &error))?,
            None => Format::default(),
        };
        let granularities = granularities(fields, format)?;
        Ok(Self {
            model: one("model")?.map(str::to_owned),
            options: Options {
                task,
                language,
                languages: Vec::new(),
                prompt: one("prompt")?.map(str::to_owned),
                temperature: one("temperature")?.map_or(Ok(0.0), temperature)?,
                // Subtitles are split at words.
                words: granularities.words || matches!(format, Format::Srt | Format::Vtt),
                logprobs: false,
            },
            format,
            granularities,
        })
    }
}

fn temperature(value: &str) -> Result<f32, ApiError> {
    match value.parse::<f32>() {
        Ok(temperature) if (0.0..=1.0).contains(&temperature) => Ok(temperature),
        _ => Err(ApiError::bad_field("temperature", "temperature must be a number from 0 to 1")),
    }
}

fn granularities(fields: &[(String, String)], format: Format) -> Result<Granularities, ApiError> {
    const NAME: &str = "timestamp_granularities[]";
    let given: Vec<&str> = fields
        .iter()
        .filter(|(key, _)| key == NAME || key == "timestamp_granularities")
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
        .collect();
    if let Some(unknown) = given.iter().find(|value| !["segment", "word"].contains(*value)) {
        let shown: String = unknown.chars().take(40).collect();
        let message = format!("unknown granularity {shown:?}: give `segment`, `word` or both");
        return Err(ApiError::bad_field(NAME, message));
    }
    if given.is_empty() {
        return Ok(Granularities::default());
    }
    let words = given.contains(&"word");
    if words && format != Format::VerboseJson {
        let message = format!("word times need response_format=verbose_json, not {format}");
        return Err(ApiError::bad_field(NAME, message));
    }
    Ok(Granularities { segments: given.contains(&"segment"), words })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Wishes, ApiError> {
        let fields: Vec<_> =
            fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Wishes::read(Task::Transcribe, &fields)
    }

    #[test]
    fn an_empty_form_asks_for_the_defaults() {
        let wishes = read(&[("language", ""), ("unknown", "x")]).unwrap();
        assert_eq!(wishes.model, None);
        assert_eq!(wishes.format, Format::Json);
        assert_eq!(wishes.options, Options::default());
        assert_eq!(wishes.granularities, Granularities::default());
    }

    #[test]
    fn words_alone_leave_the_segments_out() {
        for name in ["timestamp_granularities[]", "timestamp_granularities"] {
            let wishes = read(&[("response_format", "verbose_json"), (name, "word")]).unwrap();
            assert_eq!(wishes.granularities, Granularities { segments: false, words: true });
            assert!(wishes.options.words);
        }
    }

    #[test]
    fn wrong_values_name_their_field() {
        for (field, value) in [
            ("language", "klingon"),
            ("response_format", "xml"),
            ("temperature", "abc"),
            ("temperature", "1.5"),
            ("temperature", "NaN"),
            ("temperature", "-0.1"),
            ("timestamp_granularities[]", "page"),
            ("timestamp_granularities[]", "word"),
        ] {
            let error = read(&[(field, value)]).unwrap_err();
            assert!(format!("{error:?}").contains(field), "{field}={value}: {error:?}");
        }
        assert!(read(&[("prompt", "a"), ("prompt", "b")]).is_err());
    }
}
