//! Requests that outlive their client: accepted as jobs, and answered at once, after a while, or
//! with their transcript.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::AppState;
use super::error::ApiError;
use super::fields::Wishes;
use super::jobs::PATH;
use super::stream;
use super::upload::KeptUpload;
use super::whole;
use crate::jobs::{End, Job, JobRequest, Jobs, Submission, Submitted};

/// The name of the job behind an answer.
const JOB_ID: HeaderName = HeaderName::from_static("x-job-id");

/// RFC 7240: which preference was obeyed.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Accepts a job and answers as its client prefers.
pub(super) async fn answer(
    state: &AppState,
    upload: KeptUpload,
    wishes: Wishes,
) -> Result<Response, ApiError> {
    let jobs = state.jobs()?;
    let preferences = upload.preferences.clone();
    let owner = upload.client.owner.clone();
    let (rendering, stream) = (wishes.rendering, wishes.stream);
    let ignored = wishes.ignored.clone();
    let submission = submission(state, jobs, upload, wishes)?;
    let (Submitted::New(id) | Submitted::Same(id)) = jobs.submit(submission).await?;

    let gone = || ApiError::internal(&"an accepted job is gone");
    let (_, follower) = jobs.follow(&owner, id).await?.ok_or_else(gone)?;
    let wait = match preferences.respond_async {
        true => preferences.wait.unwrap_or_default(),
        false => Duration::MAX,
    };
    let mut response = if stream && !preferences.respond_async {
        stream::answer(follower, &rendering, ())
    } else {
        match timeout(wait, follower.end()).await {
            Ok(End::Finished(output)) => {
                whole::answer(whole::provenance(&output), &output, &rendering)
            }
            Ok(End::Failed(fault)) => return Err(fault.into()),
            Ok(End::Cancelled) => return Err(ApiError::cancelled()),
            Ok(End::Interrupted) => return Err(ApiError::shutting_down()),
            Err(_) => accepted(jobs.job(&owner, id).await?.ok_or_else(gone)?),
        }
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(JOB_ID, id);
    }
    whole::tell_ignored(headers, &ignored);
    Ok(response)
}

fn submission(
    state: &AppState,
    jobs: &Jobs,
    upload: KeptUpload,
    wishes: Wishes,
) -> Result<Submission, ApiError> {
    let Wishes { model, mut options, chunks, rendering, webhook_url, .. } = wishes;
    // In which format its transcript will be asked for is not known yet.
    options.words = true;
    Ok(Submission {
        upload: upload.file,
        request: JobRequest {
            model,
            options,
            chunks: chunks.unwrap_or(state.pipeline.chunks),
            rendering,
        },
        owner: upload.client.owner,
        idempotency_key: upload.preferences.idempotency_key,
        fingerprint: upload.fingerprint,
        webhook: webhook_url.map(|url| jobs.webhook(&url)).transpose()?,
        ticket: upload.ticket,
    })
}

fn accepted(job: Job) -> Response {
    let location = HeaderValue::from_str(&format!("{PATH}/{}", job.id));
    let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
    let headers = response.headers_mut();
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
    if let Ok(location) = location {
        headers.insert(header::LOCATION, location);
    }
    response
}
