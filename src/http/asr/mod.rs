//! `POST /asr` and `/detect-language`, like whisper-asr-webservice.
//!
//! Programs written for that service work here. They send the file in the form and the rest in the
//! query; here either may hold the rest.
//! Errors have the shape of this server.

mod raw;
mod result;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use strum::{EnumString, VariantNames};
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, UploadErrors};
use super::fields::{
    Fields, SelectionFields, SpeechFields, TaskName, TranscriptionParams, form, from_field,
};
use super::response;
use super::transcriptions;
use super::upload::Upload;
use auris_core::transcript::Task;
use auris_format::{Format, Granularities, Rendering};
use result::WhisperResult;

form! {
    /// The query of `POST /asr`.
    pub(super) struct AsrQuery {
        /// `translate` returns the text in English.
        #[schema(default = "transcribe")]
        task: Option<TaskName>,
        /// Text in the wanted style that could precede the audio.
        initial_prompt: Option<String>,
        /// The format of the response.
        #[schema(default = "txt")]
        output: Option<AsrOutput>,
        /// Add words with their times to `json`.
        #[schema(default = false)]
        word_timestamps: Option<bool>,
        /// `false` if the file is raw samples: mono, 16 bits, little-endian, 16 kHz. WAV files are
        /// recognised all the same.
        #[schema(default = true)]
        encode: Option<bool>,
        ..speech: SpeechFields,
    }
}

form! {
    /// The query of `POST /detect-language`.
    pub(super) struct DetectLanguageQuery {
        /// `false` if the file is raw samples, as for `/asr`.
        #[schema(default = true)]
        encode: Option<bool>,
        ..selection: SelectionFields,
    }
}

/// The form of both endpoints. Fields of the query may also be in the form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documented here, received by `Upload`")]
pub(super) struct AudioFileForm {
    /// The audio: almost any container and codec. Its name and type are ignored.
    #[schema(value_type = String, format = Binary)]
    audio_file: (),
}

/// The format of a response; `json` is that of openai-whisper.
#[derive(Debug, Clone, Copy, EnumString, VariantNames, ToSchema)]
#[strum(serialize_all = "lowercase")]
#[schema(rename_all = "lowercase")]
pub(super) enum AsrOutput {
    Txt,
    Vtt,
    Srt,
    Tsv,
    Json,
}

/// The spoken language.
#[derive(Serialize, ToSchema)]
pub(super) struct DetectedLanguage {
    /// Its English name in lower case.
    #[schema(examples("english"))]
    detected_language: &'static str,
    /// Its code.
    #[schema(examples("en"))]
    language_code: &'static str,
    /// Its probability, from 0 to 1.
    #[schema(examples(0.99))]
    confidence: f32,
}

/// Transcribe, like whisper-asr-webservice
#[utoipa::path(
    post,
    path = "/asr",
    operation_id = "asr",
    tag = "compatible",
    params(AsrQuery),
    request_body(content = AudioFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The text in the requested `output`; headers as for `/v1/audio/transcriptions`",
            content(
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (WhisperResult = "application/json"),
            )),
        UploadErrors,
    )
)]
pub(super) async fn asr(
    State(state): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
    Upload { file, fields, ticket }: Upload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(query.iter().chain(&fields));
    let query = AsrQuery::read(&mut fields)?;
    let ignored = fields.ignored();
    let is_raw = query.encode == Some(false);
    let params = TranscriptionParams { ignored: ignored.clone(), ..query.params()? };
    let file = if is_raw { raw::as_wav(file, &state.uploads).await? } else { file };
    if params.rendering.format != Format::Json {
        return transcriptions::respond(state, ticket, file, params).await;
    }
    let words = params.options.words;
    let (mut headers, output) = transcriptions::transcribed(&state, ticket, file, params).await?;
    response::report_ignored(&mut headers, &ignored);
    let json = HeaderValue::from_static(Format::Json.content_type());
    headers.insert(header::CONTENT_TYPE, json);
    Ok((headers, Json(WhisperResult::new(&output.transcript, words))).into_response())
}

/// Detect the spoken language, like whisper-asr-webservice
///
/// Uses the first 30 seconds with speech. Without any, it returns English with confidence 0.
#[utoipa::path(
    post,
    path = "/detect-language",
    operation_id = "detectLanguage",
    tag = "compatible",
    params(DetectLanguageQuery),
    request_body(content = AudioFileForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The language; `x-device`, `x-model` and `x-fallback-reason` say where it was detected", body = DetectedLanguage),
        UploadErrors,
    )
)]
pub(super) async fn detect_language(
    State(state): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
    Upload { file, fields, ticket }: Upload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(query.iter().chain(&fields));
    let DetectLanguageQuery { encode, selection } = DetectLanguageQuery::read(&mut fields)?;
    let is_raw = encode == Some(false);
    let file = if is_raw { raw::as_wav(file, &state.uploads).await? } else { file };
    let detection = state.pipeline.detect_language(file, selection.selection(), ticket).await?;
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
    let detected = DetectedLanguage {
        detected_language: detection.language.name(),
        language_code: detection.language.code(),
        confidence: detection.probability,
    };
    Ok((headers, Json(detected)).into_response())
}

from_field!(choice: AsrOutput);

impl AsrQuery {
    pub(super) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let mut params = self.speech.params()?;
        let format = match self.output.unwrap_or(AsrOutput::Txt) {
            AsrOutput::Txt => Format::Text,
            AsrOutput::Vtt => Format::Vtt,
            AsrOutput::Srt => Format::Srt,
            AsrOutput::Tsv => Format::Tsv,
            AsrOutput::Json => Format::Json,
        };
        let words = self.word_timestamps == Some(true);
        let granularities = Granularities { segments: true, words };
        params.rendering = Rendering { format, granularities, ..Rendering::default() };
        params.options.task = self.task.map(Task::from).unwrap_or_default();
        params.options.prompt = self.initial_prompt;
        params.options.words = words || format.needs_words();
        Ok(params)
    }
}
