//! `/v1/jobs`: transcriptions that run in the background.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::client::Client;
use super::durable;
use super::error::{ApiError, ErrorBody};
use super::fields::{self, Endpoint, Fields, JobForm, TranscriptionParams};
use super::response;
use super::stream::{self, EventId, ServerSentEvent, StreamOptions};
use super::upload::KeptUpload;
use auris_format::{Format, TranscriptionLine};
use auris_jobs::{Job, JobId, JobSubscription, Removed, TranscriptionEnd};

/// The path under which jobs are created.
pub(super) const PATH: &str = "/v1/jobs";

/// How many jobs a list holds by default.
const DEFAULT_LIMIT: u32 = 20;

/// The most jobs that a list holds.
const MAX_LIMIT: u32 = 100;

/// Jobs, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    /// Always `list`.
    #[schema(examples("list"))]
    object: &'static str,
    /// The jobs.
    data: Vec<Job>,
    /// Whether there are older ones: ask for them with `after` and the last one's id.
    has_more: bool,
}

/// Which jobs to list.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "described to clients; the query is read field by field")]
pub(super) struct ListParams {
    /// How many, from 1 to 100.
    #[param(default = 20, minimum = 1, maximum = 100, nullable = false)]
    limit: Option<u32>,
    /// Only jobs that are older than the one with this id.
    #[param(format = Uuid, nullable = false)]
    after: Option<String>,
}

/// How a transcript is to look.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "described to clients; the query is read field by field")]
pub(super) struct TranscriptParams {
    /// Its format; `response_format` means the same. Without it, the one that the job was made
    /// with.
    #[param(nullable = false)]
    format: Option<Format>,
    /// The most characters of a subtitle's line.
    #[param(minimum = 10, maximum = 200, nullable = false)]
    max_line_length: Option<u32>,
    /// The most lines of a subtitle.
    #[param(minimum = 1, maximum = 10, nullable = false)]
    max_lines: Option<u32>,
    /// The most characters of a subtitle for each second.
    #[param(minimum = 5, maximum = 100, nullable = false)]
    max_chars_per_second: Option<f32>,
}

/// Accept a file, to be transcribed without anybody waiting
///
/// The form is that of `/v1/audio/transcriptions`. The answer is the job; it goes on when the
/// client leaves, and after a restart of the server where it was. Its end can be waited for with
/// `/v1/jobs/{id}/events`, asked for with `/v1/jobs/{id}`, or told to a `webhook_url`.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "createJob",
    tag = "jobs",
    params(
        ("Prefer" = Option<String>, Header, description = "`wait=10` for the transcript itself if it takes no longer than 10 seconds", example = "wait=10"),
        ("Idempotency-Key" = Option<String>, Header, description = "Your name for the request, such as a UUID: sending it again makes no second job", min_length = 1, max_length = 255, pattern = "^[!#-~]+$"),
    ),
    request_body(content = JobForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "The job is accepted", body = Job,
            headers(
                ("location" = String, description = "Where to ask for it"),
                ("preference-applied" = String, description = "`respond-async`"),
                ("x-job-id" = String, description = "Its id"),
            )),
        (status = 200, description = "`Prefer: wait=10` asked to wait, and the job has finished: its transcript; headers as for a job's transcript, and `x-job-id`",
            content(
                (super::schema::JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (TranscriptionLine = "application/x-ndjson"),
            )),
        (status = "4XX", description = "As for transcriptions; 422 also if the idempotency key belongs to another request", body = ErrorBody),
        (status = "5XX", description = "As for transcriptions", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(state): State<AppState>,
    upload: KeptUpload,
) -> Result<Response, ApiError> {
    let params = TranscriptionParams::read(Endpoint::Jobs, &upload.fields)?;
    durable::answer(&state, upload, params).await
}

/// List jobs
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "jobs",
    params(ListParams),
    responses(
        (status = 200, description = "The newest first, without their texts", body = JobList),
        (status = "4XX", description = "A parameter cannot be used", body = ErrorBody),
        (status = "5XX", description = "This server keeps no jobs; its log says why", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    client: Client,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(&query);
    let limit = fields.one("limit")?.map(|limit| limit.number(1..=MAX_LIMIT)).transpose()?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let after = fields.one("after")?.map(|after| {
        after.text.parse::<JobId>().map_err(|_| after.wrong("after must be the id of a job"))
    });
    let mut data = state.jobs()?.list(&client.owner, after.transpose()?, limit + 1).await?;
    let has_more = data.len() > limit as usize;
    data.truncate(limit as usize);
    let mut response = Json(JobList { object: "list", data, has_more }).into_response();
    response::report_ignored(response.headers_mut(), &fields.ignored());
    Ok(response)
}

/// Tell how far a job is
///
/// With its text so far.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "getJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server keeps no jobs; its log says why", body = ErrorBody),
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

/// Hear a job's text while it is made
///
/// Server-sent events from the start of the file, as in a streaming transcription, with
/// `job.progress` between them. A client that lost the connection sends the last event's id as
/// `Last-Event-ID`, and goes on behind it.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    operation_id = "followJob",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "The job's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received"),
    ),
    responses(
        (status = 200, description = "Events until the job's end, then `[DONE]`", body = ServerSentEvent, content_type = "text/event-stream"),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server keeps no jobs; its log says why", body = ErrorBody),
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
    let heard = headers.get("last-event-id").and_then(|id| EventId::parse(id.to_str().ok()?));
    let heard = heard.unwrap_or_default();
    let telling = StreamOptions { progress: true, heard, ..StreamOptions::of(&request.rendering) };
    Ok(stream::respond_with(subscriber, telling, ()))
}

/// Get a job's transcript in any format
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/transcript",
    operation_id = "getJobTranscript",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id"), TranscriptParams),
    responses(
        (status = 200, description = "The transcript; headers and formats as for transcriptions, but no `x-rtf`: nobody waited",
            content(
                (super::schema::JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (TranscriptionLine = "application/x-ndjson"),
            )),
        (status = 409, description = "The job is unfinished; see Retry-After", body = ErrorBody),
        (status = "4XX", description = "The job does not exist, a parameter cannot be used, or the job failed: as the transcription would have", body = ErrorBody),
        (status = "5XX", description = "This server keeps no jobs, or the job failed", body = ErrorBody),
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
    let rendering = fields::rendering(&mut fields, request.rendering)?;
    if !job.state.is_ended() {
        return Err(ApiError::unfinished_job(job.percent, job.eta_seconds));
    }
    match subscriber.end().await {
        TranscriptionEnd::Finished(output) => {
            let mut headers = response::provenance(&output);
            response::report_ignored(&mut headers, &fields.ignored());
            Ok(response::answer(headers, &output, &rendering))
        }
        TranscriptionEnd::Failed(failure) => Err(failure.into()),
        TranscriptionEnd::Cancelled | TranscriptionEnd::Interrupted => Err(ApiError::cancelled()),
    }
}

/// Cancel and forget a job
///
/// An unfinished job is cancelled. Nothing is left of either but an event for its webhook.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    operation_id = "deleteJob",
    tag = "jobs",
    params(("id" = String, Path, format = Uuid, description = "The job's id")),
    responses(
        (status = 200, description = "It was unfinished, and is cancelled and forgotten: as it was at last", body = Job),
        (status = 204, description = "It had ended, and is forgotten"),
        (status = "4XX", description = "The job does not exist, or belongs to another client", body = ErrorBody),
        (status = "5XX", description = "This server keeps no jobs; its log says why", body = ErrorBody),
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

/// An invalid id names no job.
fn job_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|_| ApiError::no_such_job())
}
