//! `/v1/jobs`: transcriptions that run in the background.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::client::Client;
use super::durable::{self, JobAccepted};
use super::error::{ApiError, ErrorBody, UploadErrors};
use super::fields::{
    Endpoint, Fields, FromField, JobForm, LayoutFields, Sent, TranscriptionParams, form,
};
use super::preferences::Preferences;
use super::response::{self, TranscriptResponse};
use super::stream::{self, EventId, ServerSentEvent, StreamOptions};
use super::upload::KeptUpload;
use auris_format::{Format, Rendering};
use auris_jobs::{Job, JobId, JobSubscription, Removed, TranscriptionEnd};

const DEFAULT_LIMIT: u32 = 20;

/// Jobs, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    /// Always `list`.
    #[schema(examples("list"))]
    object: &'static str,
    data: Vec<Job>,
    /// Whether there are older jobs: ask for them with `after` and the last one's id.
    has_more: bool,
}

form! {
    /// Which jobs to list.
    pub(super) struct ListQuery {
        /// The most jobs to return.
        #[schema(default = 20)]
        limit in 1..=100: Option<u32>,
        /// Only jobs that are older than the one with this id.
        #[schema(value_type = Option<String>, format = Uuid)]
        after: Option<JobId>,
    }
}

form! {
    /// How to lay a transcript out.
    pub(super) struct TranscriptQuery {
        /// The format. By default the one that the job was created with.
        format: Option<Format>,
        /// The same as `format`, which counts if both are given.
        response_format: Option<Format>,
        ..layout: LayoutFields,
    }
}

impl FromField for JobId {
    fn from_field(sent: Sent) -> Result<Self, ApiError> {
        sent.value
            .parse()
            .map_err(|_| sent.wrong(format!("{} must be the id of a job", sent.field)))
    }
}

/// Create a job
///
/// The form is that of `/v1/audio/transcriptions`. The job runs in the background: it continues
/// after the client disconnects, and resumes after a restart of the server. Wait for its end with
/// `/v1/jobs/{id}/events`, ask for it with `/v1/jobs/{id}`, or pass a `webhook_url`.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "createJob",
    tag = "jobs",
    params(Preferences),
    request_body(content = JobForm, content_type = "multipart/form-data"),
    responses(JobAccepted, TranscriptResponse, UploadErrors)
)]
pub(super) async fn create(
    State(state): State<AppState>,
    upload: KeptUpload,
) -> Result<Response, ApiError> {
    let params = TranscriptionParams::read(Endpoint::Jobs, &upload.fields)?;
    durable::respond(&state, upload, params).await
}

/// List jobs
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(ListQuery),
    responses(
        (status = 200, description = "The newest first, without their texts", body = JobList),
        (status = "4XX", description = "A parameter is invalid", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs; its log has the reason", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    client: Client,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(&query);
    let ListQuery { limit, after } = ListQuery::read(&mut fields)?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut data = state.jobs()?.list(&client.owner, after, limit + 1).await?;
    let has_more = data.len() > limit as usize;
    data.truncate(limit as usize);
    let mut response = Json(JobList { object: "list", data, has_more }).into_response();
    response::report_ignored(response.headers_mut(), &fields.ignored());
    Ok(response)
}

/// Get a job
///
/// With its progress, and its text so far.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs; its log has the reason", body = ErrorBody),
    )
)]
pub(super) async fn get(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
) -> Result<Json<Job>, ApiError> {
    let job = state.jobs()?.job(&client.owner, job_id(&id)?).await?;
    Ok(Json(job.ok_or_else(ApiError::no_such_job)?))
}

/// Stream a job
///
/// Server-sent events from the start of the file, as in a streaming transcription, with
/// `job.progress` between them. After a lost connection, send the id of the last event as
/// `Last-Event-ID` to continue after it.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "followJob",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "The job's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last received event"),
    ),
    responses(
        (status = 200, description = "Events until the job's end, then `[DONE]`", body = ServerSentEvent, content_type = "text/event-stream"),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs; its log has the reason", body = ErrorBody),
    )
)]
pub(super) async fn events(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let subscription = state.jobs()?.subscribe(&client.owner, job_id(&id)?).await?;
    let JobSubscription { request, subscriber, .. } =
        subscription.ok_or_else(ApiError::no_such_job)?;
    // An invalid id counts as none: the client gets everything from the start.
    let received = headers.get("last-event-id").and_then(|id| EventId::parse(id.to_str().ok()?));
    let received = received.unwrap_or_default();
    let options =
        StreamOptions { progress: true, received, ..StreamOptions::of(&request.rendering) };
    Ok(stream::respond_with(subscriber, options, ()))
}

/// Get a job's transcript in any format
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/transcript",
    operation_id = "getJobTranscript",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id"), TranscriptQuery),
    responses(
        TranscriptResponse,
        (status = 409, description = "The job is unfinished, see Retry-After; or it was cancelled", body = ErrorBody),
        (status = "4XX", description = "The job does not exist, a parameter is invalid, or the job failed with this error", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs, or the job failed", body = ErrorBody),
    )
)]
pub(super) async fn transcript(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let id = job_id(&id)?;
    let jobs = state.jobs()?;
    let subscription = jobs.subscribe(&client.owner, id).await?;
    let JobSubscription { request, job, subscriber } =
        subscription.ok_or_else(ApiError::no_such_job)?;
    let mut fields = Fields::new(&query);
    let rendering = TranscriptQuery::read(&mut fields)?.rendering(request.rendering)?;
    if !job.state.is_ended() {
        return Err(ApiError::unfinished_job(job.percent, job.eta_seconds));
    }
    match subscriber.end().await {
        TranscriptionEnd::Finished(output) => {
            let mut headers = response::provenance(&output);
            response::report_ignored(&mut headers, &fields.ignored());
            Ok(response::respond(headers, &output, &rendering))
        }
        TranscriptionEnd::Failed(failure) => Err(failure.into()),
        TranscriptionEnd::Cancelled | TranscriptionEnd::Interrupted => Err(ApiError::cancelled()),
    }
}

/// Delete a job
///
/// An unfinished job is cancelled first, and its webhook called.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "deleteJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id")),
    responses(
        (status = 200, description = "The job was unfinished and is now cancelled and deleted; its last state", body = Job),
        (status = 204, description = "The job had ended and is now deleted"),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs; its log has the reason", body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let removed = state.jobs()?.remove(&client.owner, job_id(&id)?).await?;
    match removed.ok_or_else(ApiError::no_such_job)? {
        Removed::Cancelled(job) => Ok(Json(*job).into_response()),
        Removed::Ended => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Run a failed job again
///
/// A job with `retryable` continues after what was transcribed before it failed, and calls its
/// webhook again when it ends.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/retry",
    operation_id = "retryJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id")),
    responses(
        (
            status = 202, description = "The job is queued again", body = Job,
            headers(("location" = String, description = "The address of the job")),
        ),
        (status = 409, description = "The job is unfinished, has finished, was cancelled, or failed because of its file", body = ErrorBody),
        (status = 429, description = "This client has too many unfinished jobs; see Retry-After", body = ErrorBody),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = 503, description = "There are too many unfinished jobs, or the server is stopping; see Retry-After", body = ErrorBody),
        (status = "5XX", description = "This server runs no jobs; its log has the reason", body = ErrorBody),
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
) -> Result<JobAccepted, ApiError> {
    let Client { owner, caller } = client;
    let job = state.jobs()?.retry(&owner, caller, job_id(&id)?).await?;
    job.map(JobAccepted).ok_or_else(ApiError::no_such_job)
}

impl TranscriptQuery {
    pub(super) fn rendering(self, default: Rendering) -> Result<Rendering, ApiError> {
        let format = self.format.or(self.response_format).unwrap_or(default.format);
        self.layout.rendering(Rendering { format, ..default })
    }
}

/// An invalid id names no job.
fn job_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|_| ApiError::no_such_job())
}
