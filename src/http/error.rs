//! The one place that knows status codes: every error's JSON answer, in OpenAI's shape.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::Denial;
use crate::audio::AudioError;
use crate::pipeline::PipelineError;
use crate::scheduler::{ChunkError, Refusal};

/// Tells OpenAI's SDKs whether sending the same request again can help.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When to come back while the server is ending or a model is loading, in seconds.
const SHORT_RETRY: u64 = 5;

/// Body of every error answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, with OpenAI's four keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// What failed, for what, and what to do about it.
    #[schema(examples(
        "unknown response format \"xml\": give one of json, verbose_json, text, srt, vtt"
    ))]
    pub message: String,
    /// The class: `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    #[schema(examples("invalid_request_error"))]
    pub kind: &'static str,
    /// The field that is at fault.
    #[schema(required, examples("response_format"))]
    pub param: Option<String>,
    /// A name for programs.
    #[schema(required, examples("invalid_value"))]
    pub code: Option<&'static str>,
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which the same request is worth sending again; `None` if it never is.
    retry_after: Option<u64>,
}

impl ApiError {
    /// An answer with `status` that would be the same if the request were repeated.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: Some(code), retry_after: None }
    }

    /// 400: the value of `param` cannot be used.
    pub(super) fn bad_field(param: &str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        Self { param: Some(param.to_owned()), ..error }
    }

    /// 400: the request as a whole cannot be read.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 500: a fault of ours, whose cause is logged and not sent.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        let message = "the server failed on this request; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// 503: it will work soon.
    pub(super) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message).after(SHORT_RETRY)
    }

    fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn for_param(self, param: &str) -> Self {
        Self { param: Some(param.to_owned()), ..self }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let kind = self.kind();
        let Self { status, message, param, code, retry_after } = self;
        let body = ErrorBody { error: ErrorDetail { message, kind, param, code } };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match retry_after {
            Some(seconds) => headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => headers.insert(SHOULD_RETRY, HeaderValue::from_static("false")),
        };
        response
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        let message = error.to_string();
        match error {
            PipelineError::Audio(error) => error.into(),
            PipelineError::Refused(refusal) => refusal.into(),
            PipelineError::Chunk(error) => error.into(),
            PipelineError::UnknownModel { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "model_not_found", message).for_param("model")
            }
            PipelineError::ModelLanguage { .. } => Self::bad_field("language", message),
            PipelineError::DecoderPanicked => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "undecodable_audio", message)
                    .for_param("file")
            }
        }
    }
}

impl From<AudioError> for ApiError {
    fn from(error: AudioError) -> Self {
        let (status, code) = match &error {
            AudioError::Io(cause) => return Self::internal(cause),
            AudioError::Empty => (StatusCode::BAD_REQUEST, "empty_file"),
            AudioError::UnknownFormat { .. } | AudioError::UnsupportedCodec { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_audio")
            }
            AudioError::NoAudioTrack { .. } | AudioError::NoSamples { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "no_audio")
            }
            AudioError::Corrupt { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "undecodable_audio"),
            AudioError::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "audio_too_long"),
            AudioError::TooManyChannels { .. } | AudioError::SampleRate { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unsupported_audio")
            }
        };
        let limit = match &error {
            AudioError::TooLong { .. } => " (the server's --max-audio-hours raises the limit)",
            _ => "",
        };
        Self::new(status, code, format!("{error}{limit}")).for_param("file")
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Full { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).after(retry_after)
            }
            Refusal::Share { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
                    .after(retry_after)
            }
            Refusal::Draining => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message)
                    .after(SHORT_RETRY)
            }
        }
    }
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        let message = denial.to_string();
        match denial {
            Denial::Missing | Denial::Misplaced { .. } | Denial::Unknown => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
            }
            Denial::TooMany { retry_after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
                    .after(retry_after)
            }
        }
    }
}

impl From<ChunkError> for ApiError {
    fn from(error: ChunkError) -> Self {
        let message = error.to_string();
        match error {
            ChunkError::Unavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "model_unavailable", message)
                    .after(SHORT_RETRY)
            }
            ChunkError::Quarantined => {
                let message = "this audio crashed the engine twice and is not tried again; cut \
                               out the part or convert the file, and try that";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "audio_quarantined", message)
                    .for_param("file")
            }
            ChunkError::Failed { reason } => {
                tracing::error!(reason, "a request failed on every attempt");
                let message = "the engine failed on this audio at every attempt; \
                               GET /v1/devices and the server's log say why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "engine_failed", message)
            }
            ChunkError::ShutDown => Refusal::Draining.into(),
        }
    }
}
