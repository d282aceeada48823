//! Requests that survive a disconnect: accepted as jobs, and answered at once, after a while, or
//! with their transcript.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use utoipa::IntoResponses;

use super::AppState;
use super::error::ApiError;
use super::fields::TranscriptionParams;
use super::preferences::JOBS_PATH;
use super::response;
use super::stream;
use super::upload::{KeptUpload, Room};
use auris_jobs::pipeline::TranscriptionRequest;
use auris_jobs::{
    Job, JobId, JobRequest, JobSubscription, Jobs, JobsError, Submission, TranscriptionEnd,
};

const JOB_ID: HeaderName = HeaderName::from_static("x-job-id");

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The request was accepted as a job
#[derive(IntoResponses)]
#[response(
    status = 202,
    headers(
        ("location" = String, description = "The address of the job"),
        ("preference-applied" = String, description = "`respond-async`, if requested"),
        ("x-job-id" = String, description = "The id of the job; also with a transcript"),
    )
)]
pub(super) struct JobAccepted(pub(super) Job);

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
    let JobSubscription { subscriber, .. } = jobs.subscribe(&owner, id).await?.ok_or_else(gone)?;
    let wait = if preferences.respond_async { preferences.wait } else { Some(Duration::MAX) };
    let mut response = if stream && !preferences.respond_async {
        stream::respond(subscriber, &rendering, ())
    } else {
        let end = match wait {
            Some(wait) => timeout(wait, subscriber.end()).await.ok(),
            None => None,
        };
        match end {
            Some(TranscriptionEnd::Finished(output)) => {
                let mut headers = response::provenance(&output);
                let audio_seconds = output.transcript.duration.max(1e-3);
                let elapsed = received.elapsed().as_secs_f64();
                response::number(&mut headers, "x-rtf", elapsed / audio_seconds);
                response::respond(headers, &output, &rendering)
            }
            Some(TranscriptionEnd::Failed(failure)) => ApiError::from(failure).into_response(),
            Some(TranscriptionEnd::Cancelled) => ApiError::cancelled().into_response(),
            Some(TranscriptionEnd::Interrupted) if !preferences.respond_async => {
                ApiError::shutting_down().into_response()
            }
            // It continues when the server starts again.
            Some(TranscriptionEnd::Interrupted) | None => {
                JobAccepted(jobs.job(&owner, id).await?.ok_or_else(gone)?).into_response()
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
    let KeptUpload { file, bytes, preferences, fingerprint, room, .. } = upload;
    let (reservation, ticket) = match room {
        Room::New { reservation, ticket } => (reservation, ticket),
        Room::Known { job, fingerprint: earlier } if earlier == fingerprint => return Ok(job),
        Room::Known { .. } => return Err(JobsError::KeyReused.into()),
    };
    let TranscriptionParams {
        model, mut options, silence, selection, rendering, webhook_url, ..
    } = params;
    // Its transcript may be requested in any format later.
    options.words = true;
    let chunks = silence.policy(state.pipeline.chunks);
    let submission = Submission {
        reservation,
        upload: file,
        bytes,
        request: JobRequest {
            transcription: TranscriptionRequest { model, options, chunks, selection },
            rendering,
        },
        idempotency_key: preferences.idempotency_key,
        fingerprint,
        webhook: webhook_url.map(|url| jobs.webhook(&url)).transpose()?,
        ticket,
    };
    Ok(jobs.submit(submission).await?)
}

impl IntoResponse for JobAccepted {
    fn into_response(self) -> Response {
        let location = HeaderValue::from_str(&format!("{JOBS_PATH}/{}", self.0.id));
        let mut response = (StatusCode::ACCEPTED, Json(self.0)).into_response();
        if let Ok(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}
