//! The one place that knows status codes: every error as JSON in OpenAI's shape.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use auris_core::shortage::Shortage;
use auris_jobs::pipeline::{ApiFailure, FailureCode, PipelineError};
use auris_jobs::{JobsError, QuotaError, WebhookRefusal};
use auris_scheduler::Refusal;

/// Whether OpenAI's SDKs should send the same request again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When to retry while the server is shutting down or a model is loading, in seconds.
const SHORT_RETRY: u64 = 5;

/// The longest wait that OpenAI's SDKs accept, in seconds.
const LONGEST_RETRY: f64 = 120.0;

/// When to retry if there are too many jobs, in seconds.
const JOBS_RETRY: u64 = 30;

/// The errors of every endpoint that takes an upload, as the document describes them.
pub(super) struct UploadErrors;

impl IntoResponses for UploadErrors {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let errors = [
            ("400", "The form or one of its fields is invalid"),
            ("408", "The client stopped sending"),
            ("409", "The job behind the request was cancelled"),
            ("413", "The file or its audio is longer than the server accepts"),
            ("415", "The file is not audio that auris can decode"),
            (
                "422",
                "The file has no audio, it crashes the engine, or the idempotency key belongs to \
                 another request",
            ),
            (
                "429",
                "This client sends too many requests, or has too much audio in the queue; see Retry-After",
            ),
            ("500", "The server failed; its log has the cause"),
            ("501", "The server runs no jobs, or has no model that can detect the language"),
            (
                "503",
                "The queue is full, or the server is short of files, memory or disk space, starting \
                 or stopping; see Retry-After",
            ),
        ];
        errors.map(|(status, text)| (status.to_owned(), described(text))).into()
    }
}

/// An error response, as the document describes it.
pub(super) fn described(description: &str) -> RefOr<utoipa::openapi::Response> {
    let body = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    ResponseBuilder::new().description(description).content("application/json", body).build().into()
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// An error with OpenAI's four keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// What failed, where, and what to do about it.
    #[schema(examples(
        "unknown response format \"xml\": give one of json, verbose_json, text, srt, vtt"
    ))]
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    #[schema(examples("invalid_request_error"))]
    pub kind: &'static str,
    /// The invalid field.
    #[schema(required, examples("response_format"))]
    pub param: Option<String>,
    /// A fixed name of the error, for programs.
    #[schema(required, examples("invalid_value"))]
    pub code: Option<Cow<'static, str>>,
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<Cow<'static, str>>,
    /// Seconds after which the same request is worth sending again; `None` if it never is.
    retry_after: Option<u64>,
}

impl ApiError {
    /// An error that the same request would get again.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: Some(code.into()),
            retry_after: None,
        }
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

    /// 500: an internal error; its cause is logged and not sent.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("internal error: {cause}");
        let message = "the server failed; its log has the cause";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// An I/O error of the server: 503 if it is short of something, or else 500. `action` says what
    /// failed, for the log.
    pub(super) fn io(action: &str, error: &std::io::Error) -> Self {
        match Shortage::of(error) {
            Some(shortage) => Self::short_of(shortage, &format!("{action}: {error}")),
            None => Self::internal(&format!("{action}: {error}")),
        }
    }

    /// 503: the server is short of something; the cause is logged and not sent.
    fn short_of(shortage: Shortage, cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!("a request is refused: {cause}");
        ApiFailure::from(&shortage).into()
    }

    /// 503: it will work soon.
    pub(super) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message).after(SHORT_RETRY)
    }

    /// 401: the API key is missing or wrong.
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// 429: the client sends too much.
    pub(super) fn rate_limited(message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).after(retry_after)
    }

    /// 501: this server cannot run jobs.
    pub(super) fn no_jobs(reason: &str) -> Self {
        tracing::debug!("a job is refused: {reason}");
        let message = "this server runs no jobs; its log has the reason";
        Self::new(StatusCode::NOT_IMPLEMENTED, "jobs_unavailable", message)
    }

    /// 404: the job does not exist, or belongs to another client.
    pub(super) fn no_such_job() -> Self {
        let message = "job not found; finished jobs are deleted after the retention period";
        Self::new(StatusCode::NOT_FOUND, "job_not_found", message)
    }

    /// 409: there is no transcript since the job was cancelled.
    pub(super) fn cancelled() -> Self {
        ApiFailure::cancelled().into()
    }

    /// 503: the server is shutting down.
    pub(super) fn shutting_down() -> Self {
        ApiFailure::interrupted().into()
    }

    /// 409: a job has no transcript yet.
    pub(super) fn unfinished_job(percent: f64, eta_seconds: Option<f64>) -> Self {
        let message = format!(
            "the job is not finished ({percent} %): wait for it with GET /v1/jobs/{{id}}/events"
        );
        let seconds = eta_seconds.unwrap_or(1.0).ceil().clamp(1.0, LONGEST_RETRY) as u64;
        Self::new(StatusCode::CONFLICT, "job_unfinished", message).after(seconds)
    }

    /// 503: all connections are at work.
    pub(super) fn too_many_connections() -> Self {
        let message = "the server has too many connections; try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).after(SHORT_RETRY)
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

    /// The body alone, for a stream whose status has already been sent.
    pub(super) fn into_body(self) -> ErrorBody {
        let kind = self.kind();
        let Self { message, param, code, .. } = self;
        ErrorBody { error: ErrorDetail { message, kind, param, code } }
    }
}

/// The response to a request that is not HTTP as the server understands it, as it is sent.
pub(super) fn unreadable(status: StatusCode) -> Bytes {
    let message = match status {
        StatusCode::URI_TOO_LONG => "the address is too long: send fields in the form instead",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the headers are too long or too many: send fewer"
        }
        _ => {
            "this is not a valid request in HTTP/1.1: check its first line and headers, and that the \
              client speaks HTTP without TLS"
        }
    };
    let body = ApiError::new(status, "invalid_request", message).into_body();
    let body = serde_json::to_string(&body).unwrap_or_default();
    let (length, id) = (body.len(), Uuid::now_v7());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         {SHOULD_RETRY}: false\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"
    );
    (head + &body).into()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self.into_body())).into_response();
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

fn status(code: FailureCode) -> StatusCode {
    use FailureCode as Code;
    match code {
        Code::EmptyFile | Code::InvalidValue | Code::ModelNotFound => StatusCode::BAD_REQUEST,
        Code::AudioTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedAudio => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::AudioQuarantined
        | Code::DecoderFailed
        | Code::DecodingTimeout
        | Code::NoAudio
        | Code::UndecodableAudio
        | Code::UnsupportedLayout => StatusCode::UNPROCESSABLE_ENTITY,
        Code::CannotDetectLanguage => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled => StatusCode::CONFLICT,
        Code::RateLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
        Code::ModelUnavailable
        | Code::Overloaded
        | Code::ResourcesExhausted
        | Code::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Code::EngineFailed | Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<ApiFailure> for ApiError {
    fn from(failure: ApiFailure) -> Self {
        let ApiFailure { code, message, param } = failure;
        let status = status(code);
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SHORT_RETRY);
        Self { status, message, param, code: Some(<&str>::from(code).into()), retry_after }
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Refused(refusal) => refusal.into(),
            error => ApiFailure::from(&error).into(),
        }
    }
}

impl From<JobsError> for ApiError {
    fn from(error: JobsError) -> Self {
        let message = error.to_string();
        if let Some(shortage) = error.shortage() {
            return Self::short_of(shortage, &message);
        }
        match error {
            JobsError::Pipeline(error) => error.into(),
            JobsError::NotRetryable(_) => {
                Self::new(StatusCode::CONFLICT, "job_not_retryable", message)
            }
            JobsError::Quota(error) => error.into(),
            JobsError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message)
                    .for_param("Idempotency-Key")
            }
            JobsError::Full { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).after(JOBS_RETRY)
            }
            JobsError::Share { .. } => Self::rate_limited(message, JOBS_RETRY),
            error => Self::internal(&error),
        }
    }
}

impl From<QuotaError> for ApiError {
    fn from(error: QuotaError) -> Self {
        let message = error.to_string();
        match error {
            QuotaError::Full { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).after(JOBS_RETRY)
            }
            QuotaError::Share { .. } => Self::rate_limited(message, JOBS_RETRY),
            QuotaError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message)
                    .for_param("file")
            }
        }
    }
}

impl From<WebhookRefusal> for ApiError {
    fn from(refusal: WebhookRefusal) -> Self {
        Self::bad_field("webhook_url", refusal.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let error = Self::from(ApiFailure::from(&refusal));
        match refusal {
            Refusal::Full { retry_after } | Refusal::Share { retry_after } => {
                error.after(retry_after)
            }
            Refusal::Draining => error,
        }
    }
}
