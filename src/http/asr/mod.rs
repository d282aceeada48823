//! `POST /asr` and `/detect-language`, as whisper-asr-webservice has them.
//!
//! Programs written for that service work here: the file is in the form, the rest in the query.
//! Errors have the shape of this server.

mod raw;
mod result;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use super::fields::{self, Fields, TranscriptionParams};
use super::response;
use super::transcriptions;
use super::upload::Upload;
use auris_core::transcript::{Options, Task};
use auris_format::{Format, Granularities, Rendering};
use result::WhisperResult;

/// The form of both, for the document only.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(super) struct AudioFileForm {
    /// The audio: almost any container and codec.
    #[schema(value_type = String, format = Binary)]
    audio_file: Vec<u8>,
}

/// The shape of an answer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "described to clients; the query is read by hand")]
pub(super) enum AsrOutput {
    /// The text alone.
    Txt,
    /// WebVTT subtitles.
    Vtt,
    /// SubRip subtitles.
    Srt,
    /// A table with times in milliseconds.
    Tsv,
    /// What openai-whisper returns.
    Json,
}

/// The language that is spoken.
#[derive(Serialize, ToSchema)]
pub(super) struct DetectedLanguage {
    /// Its English name in lower case.
    #[schema(examples("english"))]
    detected_language: &'static str,
    /// Its code.
    #[schema(examples("en"))]
    language_code: &'static str,
    /// How probable it is, from 0 to 1.
    #[schema(examples(0.99))]
    confidence: f32,
}

/// Write down what is said, as whisper-asr-webservice does
#[utoipa::path(
    post,
    path = "/asr",
    operation_id = "asr",
    tag = "compatible",
    params(
        ("task" = inline(Option<fields::TaskName>), Query, description = "`transcribe`, or `translate` for English text; without it `transcribe`"),
        ("language" = Option<String>, Query, description = "The spoken language as an ISO 639 code or an English name; without it, it is detected", example = "en"),
        ("initial_prompt" = Option<String>, Query, description = "How the text before would read, in the style wanted"),
        ("output" = inline(Option<AsrOutput>), Query, description = "The shape of the answer: `txt`, `vtt`, `srt`, `tsv` or `json`; without it `txt`", example = "json"),
        ("word_timestamps" = Option<bool>, Query, description = "Whether `json` has the words and their times"),
        ("encode" = Option<bool>, Query, description = "`false` says that the file is bare samples: mono, 16 bits, little-endian, 16 kHz; a WAV file is known all the same"),
        ("vad_filter" = Option<bool>, Query, description = "Whether silence is left out; without it, as the server does"),
        ("track" = Option<String>, Query, description = "The audio track of a file that has several, as for `/v1/audio/transcriptions`", pattern = "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9-]{0,34})$"),
        ("channel" = Option<String>, Query, description = "Which channels are heard, as for `/v1/audio/transcriptions`", pattern = "^(mix|left|right|split|[1-9][0-9]{0,3})$"),
    ),
    request_body(content = AudioFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The text, in the `output` asked for; headers as for `/v1/audio/transcriptions`",
            content(
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (WhisperResult = "application/json"),
            )),
        (status = "4XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
        (status = "5XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
    )
)]
pub(super) async fn asr(
    State(state): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
    Upload { file, fields, ticket }: Upload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(query.iter().chain(&fields));
    let is_raw = is_raw(&mut fields)?;
    let params = params(&mut fields)?;
    let file = if is_raw { raw::as_wav(file, &state.uploads).await? } else { file };
    if params.rendering.format != Format::Json {
        return transcriptions::answer(state, ticket, file, params).await;
    }
    let words = params.options.words;
    let ignored = params.ignored.clone();
    let (mut headers, output) = transcriptions::transcribed(&state, ticket, file, params).await?;
    response::report_ignored(&mut headers, &ignored);
    let json = HeaderValue::from_static(Format::Json.content_type());
    headers.insert(header::CONTENT_TYPE, json);
    Ok((headers, Json(WhisperResult::new(&output.transcript, words))).into_response())
}

/// Find out which language is spoken, as whisper-asr-webservice does
///
/// By the first 30 seconds in which somebody speaks. Without any, it is English with the
/// confidence 0.
#[utoipa::path(
    post,
    path = "/detect-language",
    operation_id = "detectLanguage",
    tag = "compatible",
    params(
        ("encode" = Option<bool>, Query, description = "As for `/asr`"),
        ("track" = Option<String>, Query, description = "As for `/asr`", pattern = "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9-]{0,34})$"),
        ("channel" = Option<String>, Query, description = "As for `/asr`", pattern = "^(mix|left|right|split|[1-9][0-9]{0,3})$"),
    ),
    request_body(content = AudioFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The language; `x-device`, `x-model` and `x-fallback-reason` tell where it was found out", body = DetectedLanguage),
        (status = 501, description = "Every model here is for one language", body = ErrorBody),
        (status = "4XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
        (status = "5XX", description = "As for `/v1/audio/transcriptions`", body = ErrorBody),
    )
)]
pub(super) async fn detect_language(
    State(state): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
    Upload { file, fields, ticket }: Upload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(query.iter().chain(&fields));
    let is_raw = is_raw(&mut fields)?;
    let selection = fields::selection(&mut fields)?;
    let file = if is_raw { raw::as_wav(file, &state.uploads).await? } else { file };
    let detection = state.pipeline.detect_language(file, selection, ticket).await?;
    let mut headers = HeaderMap::new();
    if let Some(done) = &detection.done {
        for (name, values) in [
            ("x-device", vec![done.device.as_str()]),
            ("x-model", vec![done.model.as_str()]),
            ("x-fallback-reason", done.fallback_reason.iter().map(String::as_str).collect()),
        ] {
            response::text(&mut headers, name, values);
        }
    }
    response::report_ignored(&mut headers, &fields.ignored());
    let answer = DetectedLanguage {
        detected_language: detection.language.name(),
        language_code: detection.language.code(),
        confidence: detection.probability,
    };
    Ok((headers, Json(answer)).into_response())
}

/// Whether the file is bare samples, which `encode=false` says.
fn is_raw(fields: &mut Fields<'_>) -> Result<bool, ApiError> {
    Ok(!fields.one("encode")?.map_or(Ok(true), |value| value.flag())?)
}

fn params(fields: &mut Fields<'_>) -> Result<TranscriptionParams, ApiError> {
    let format = match fields.one("output")? {
        None => Format::Text,
        Some(value) => match value.text.as_str() {
            "txt" => Format::Text,
            "json" | "srt" | "vtt" | "tsv" => value.parse()?,
            _ => {
                let shown = value.shown();
                let message = format!("unknown output {shown:?}: give txt, vtt, srt, tsv or json");
                return Err(value.wrong(message));
            }
        },
    };
    let words = fields.one("word_timestamps")?.map_or(Ok(false), |value| value.flag())?;
    let (language, languages) = fields::language(fields)?;
    let task: Task = fields::task(fields)?;
    let granularities = Granularities { segments: true, words };
    let options = Options {
        task,
        language,
        languages,
        prompt: fields::text(fields, "initial_prompt")?,
        temperature: 0.0,
        words: fields::needs_words(format, granularities),
        logprobs: false,
        keep_non_speech: fields::keep_non_speech(fields)?,
    };
    Ok(TranscriptionParams {
        options,
        silence: fields::silence(fields)?,
        selection: fields::selection(fields)?,
        rendering: Rendering { format, granularities, ..Rendering::default() },
        ignored: fields.ignored(),
        ..TranscriptionParams::default()
    })
}
