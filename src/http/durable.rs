//! Requests that survive a disconnect: accepted as jobs, and answered at once, after a while, or
//! with their transcript.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, HeaderBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::AppState;
use super::error::ApiError;
use super::fields::TranscriptionParams;
use super::jobs::PATH;
use super::response;
use super::stream;
use super::upload::{KeptUpload, Room};
use auris_jobs::{End, Followed, Job, JobId, JobRequest, Jobs, JobsError, Submission};

/// The id of the job behind a response.
const JOB_ID: HeaderName = HeaderName::from_static("x-job-id");

/// RFC 7240: which preference was applied.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// 202 with the job, as the document describes it.
pub(super) struct JobAccepted;

impl IntoResponses for JobAccepted {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let header = |description: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String);
            HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
        };
        let body = Content::new(Some(Ref::from_schema_name(Job::name())));
        let response = ResponseBuilder::new()
            .description("The request was accepted as a job")
            .content("application/json", body)
            .header("location", header("The address of the job"))
            .header("preference-applied", header("`respond-async`, if the request asked for it"))
            .header("x-job-id", header("The id of the job; also with a transcript"));
        [("202".to_owned(), response.build().into())].into()
    }
}

/// Accepts a job and responds as its client prefers.
pub(super) async fn respond(
    state: &AppState,
    upload: KeptUpload,
    params: TranscriptionParams,
) -> Result<Response, ApiError> {
    let received = Instant::now();
    let jobs = state.jobs()?;
    let (preferences, owner) = (upload.preferences.clone(), upload.owner.clone());
    let (rendering, stream) = (params.rendering, params.stream);
    let ignored = params.ignored.clone();
    let id = accept(state, jobs, upload, params).await?;

    // It was refused just now, for another client that sent the same.
    let gone = || ApiError::not_ready("the job with this idempotency key was just refused");
    let Followed { follower, .. } = jobs.follow(&owner, id).await?.ok_or_else(gone)?;
    let wait = if preferences.respond_async { preferences.wait } else { Some(Duration::MAX) };
    let mut response = if stream && !preferences.respond_async {
        stream::respond(follower, &rendering, ())
    } else {
        let end = match wait {
            Some(wait) => timeout(wait, follower.end()).await.ok(),
            None => None,
        };
        match end {
            Some(End::Finished(output)) => {
                let mut headers = response::provenance(&output);
                let audio_seconds = output.transcript.duration.max(1e-3);
                let elapsed = received.elapsed().as_secs_f64();
                response::number(&mut headers, "x-rtf", elapsed / audio_seconds);
                response::respond(headers, &output, &rendering)
            }
            Some(End::Failed(fault)) => ApiError::from(fault).into_response(),
            Some(End::Cancelled) => ApiError::cancelled().into_response(),
            Some(End::Interrupted) if !preferences.respond_async => {
                ApiError::shutting_down().into_response()
            }
            // It continues when the server starts again.
            Some(End::Interrupted) | None => {
                accepted(jobs.job(&owner, id).await?.ok_or_else(gone)?)
            }
        }
    };
    let headers = response.headers_mut();
    if preferences.is_preferred {
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(JOB_ID, id);
    }
    response::report_ignored(headers, &ignored);
    Ok(response)
}

/// The new job, or the one that is repeated.
async fn accept(
    state: &AppState,
    jobs: &Jobs,
    upload: KeptUpload,
    params: TranscriptionParams,
) -> Result<JobId, ApiError> {
    let KeptUpload { file, preferences, fingerprint, room, .. } = upload;
    let (place, ticket) = match room {
        Room::New { place, ticket } => (place, ticket),
        Room::Known { job, fingerprint: earlier } if earlier == fingerprint => return Ok(job),
        Room::Known { .. } => return Err(JobsError::KeyReused.into()),
    };
    let TranscriptionParams {
        model, mut options, silence, selection, rendering, webhook_url, ..
    } = params;
    // The format that its transcript will be asked for in is not known yet.
    options.words = true;
    let chunks = silence.policy(state.pipeline.chunks);
    let submission = Submission {
        place,
        upload: file,
        request: JobRequest { model, options, chunks, selection, rendering },
        idempotency_key: preferences.idempotency_key,
        fingerprint,
        webhook: webhook_url.map(|url| jobs.webhook(&url)).transpose()?,
        ticket,
    };
    Ok(jobs.submit(submission).await?)
}

fn accepted(job: Job) -> Response {
    let location = HeaderValue::from_str(&format!("{PATH}/{}", job.id));
    let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
