//! `POST /inference`, as whisper.cpp's own server has it.
//!
//! Programs written for that server work here. Its engine settings beyond OpenAI's fields
//! (thresholds, beams) are ignored and reported, and errors have the shape of this server.

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use super::fields::{self, Fields, TranscriptionParams};
use super::schema::JsonAnswer;
use super::transcriptions;
use super::upload::Upload;
use auris_core::transcript::{Options, Task};
use auris_format::{Format, Granularities, Rendering, TranscriptionLine};

/// The form of `POST /inference`, for the document only.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(super) struct InferenceForm {
    /// The audio: almost any container and codec.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A model of `GET /v1/models`. Without it, the language decides.
    #[schema(nullable = false)]
    model: Option<String>,
    /// The spoken language as an ISO 639 code or an English name. Without it, or as `auto`, it
    /// is detected.
    #[schema(default = "auto", nullable = false)]
    language: Option<String>,
    /// Whether the text is wanted in English.
    #[schema(default = false, nullable = false)]
    translate: Option<bool>,
    /// How the text before would read, in the style wanted.
    #[schema(nullable = false)]
    prompt: Option<String>,
    /// From 0 to 1. 0 is the most probable text; it rises only where that is poor.
    #[schema(default = 0.0, minimum = 0.0, maximum = 1.0, nullable = false)]
    temperature: Option<f32>,
    /// Whether silence is left out; without it, as the server does.
    #[schema(nullable = false)]
    vad: Option<bool>,
    /// The audio track of a file that has several, as for `/v1/audio/transcriptions`.
    #[schema(pattern = "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9-]{0,34})$", nullable = false)]
    track: Option<String>,
    /// Which channels are heard, as for `/v1/audio/transcriptions`.
    #[schema(
        default = "mix",
        pattern = "^(mix|left|right|split|[1-9][0-9]{0,3})$",
        nullable = false
    )]
    channel: Option<String>,
    /// The shape of the answer.
    #[schema(default = "json", nullable = false)]
    response_format: Option<Format>,
}

/// Write down what is said, as whisper.cpp's server does
///
/// `json` and `verbose_json` are OpenAI's; the latter has words too. Other fields of that server
/// are passed over: the header `x-ignored-fields` names them.
#[utoipa::path(
    post,
    path = "/inference",
    operation_id = "inference",
    tag = "compatible",
    request_body(content = InferenceForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The text, in the `response_format` asked for; headers as for `/v1/audio/transcriptions`",
            content(
                (JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (TranscriptionLine = "application/x-ndjson"),
            )),
        (status = "4XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
        (status = "5XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
    )
)]
pub(super) async fn inference(
    State(state): State<AppState>,
    upload: Upload,
) -> Result<Response, ApiError> {
    let params = params(&mut Fields::new(&upload.fields))?;
    transcriptions::answer(state, upload.ticket, upload.file, params).await
}

fn params(fields: &mut Fields<'_>) -> Result<TranscriptionParams, ApiError> {
    let format = fields::format(fields)?;
    let granularities = Granularities { segments: true, words: format == Format::VerboseJson };
    let (language, languages) = fields::language(fields)?;
    let translate = fields.one("translate")?.map_or(Ok(false), |value| value.flag())?;
    let options = Options {
        task: if translate { Task::Translate } else { Task::Transcribe },
        language,
        languages,
        prompt: fields::prompt(fields)?,
        temperature: fields::temperature(fields)?,
        words: fields::needs_words(format, granularities),
        logprobs: false,
        keep_non_speech: fields::keep_non_speech(fields)?,
    };
    Ok(TranscriptionParams {
        model: fields::text(fields, "model")?,
        options,
        silence: fields::silence(fields)?,
        selection: fields::selection(fields)?,
        rendering: Rendering { format, granularities, ..Rendering::default() },
        ignored: fields.ignored(),
        ..TranscriptionParams::default()
    })
}
