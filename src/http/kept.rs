//! Requests that outlive their client: accepted as jobs, and answered at once, after a while, or
//! with their transcript.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::AppState;
use super::error::ApiError;
use super::fields::Wishes;
use super::stream;
use super::upload::KeptUpload;
use super::whole;
use crate::jobs::{End, JobId, JobRequest, Submission, Submitted};

/// The name of the job behind an answer.
const JOB_ID: HeaderName = HeaderName::from_static("x-job-id");

/// RFC 7240: which preference was obeyed.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Accepts a job and answers as its client prefers: `respond_async` with the job itself.
pub(super) async fn answer(
    state: &AppState,
    upload: KeptUpload,
    wishes: Wishes,
) -> Result<Response, ApiError> {
    let jobs = state.jobs()?;
    let preferences = upload.preferences;
    let owner = upload.client.owner.clone();
    let Wishes { model, mut options, chunks, rendering, stream, .. } = wishes;
    // Which format its transcript is asked for in is not known yet.
    options.words = true;
    let submission = Submission {
        upload: upload.file,
        request: JobRequest {
            model,
            options,
            chunks: chunks.unwrap_or(state.pipeline.chunks),
            rendering,
        },
        owner: owner.clone(),
        idempotency_key: preferences.idempotency_key,
        fingerprint: upload.fingerprint,
        webhook: None,
        ticket: upload.ticket,
    };
    let (Submitted::New(id) | Submitted::Same(id)) = jobs.submit(submission).await?;

    let gone = || ApiError::internal(&"an accepted job is gone");
    let (_, follower) = jobs.follow(&owner, id).await?.ok_or_else(gone)?;
    if stream && !preferences.respond_async {
        return Ok(named(id, stream::answer(follower, &rendering, ())));
    }
    let end = match preferences.respond_async {
        false => Some(follower.end().await),
        true => match preferences.wait {
            Some(wait) => timeout(wait, follower.end()).await.ok(),
            None => None,
        },
    };
    match end {
        Some(End::Finished(output)) => {
            Ok(named(id, whole::answer(whole::provenance(&output), &output, &rendering)))
        }
        Some(End::Failed(fault)) => Err(fault.into()),
        Some(End::Cancelled) => Err(ApiError::cancelled()),
        Some(End::Interrupted) => Err(ApiError::shutting_down()),
        None => {
            let job = jobs.job(&owner, id).await?.ok_or_else(gone)?;
            let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
            let headers = response.headers_mut();
            headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"));
            if let Ok(location) = HeaderValue::from_str(&format!("/v1/jobs/{id}")) {
                headers.insert(header::LOCATION, location);
            }
            Ok(named(id, response))
        }
    }
}

fn named(id: JobId, mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(JOB_ID, id);
    }
    response
}
