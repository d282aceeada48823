//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::AppState;
use super::durable::{self, JobAccepted};
use super::error::{ApiError, UploadErrors};
use super::fields::{Endpoint, TranscriptionForm, TranscriptionParams};
use super::preferences::Preferences;
use super::response::{self, StreamableTranscriptResponse};
use super::stream;
use super::upload::{AnyUpload, Upload};
use auris_jobs::ClientTranscription;
use auris_jobs::pipeline::{TranscriptionOutput, TranscriptionRequest};
use auris_scheduler::Ticket;

/// Transcribe an audio file
///
/// Takes a file in almost any format and returns its text in the requested format. Headers say
/// which device and model ran. Long files are cut in pauses, and their chunks run on every free
/// slot.
#[utoipa::path(
    post,
    path = "/v1/audio/transcriptions",
    operation_id = "createTranscription",
    tag = "audio",
    params(Preferences),
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses(StreamableTranscriptResponse, JobAccepted, UploadErrors)
)]
pub(super) async fn transcribe(
    State(state): State<AppState>,
    upload: AnyUpload,
) -> Result<Response, ApiError> {
    receive(state, upload, Endpoint::Transcriptions).await
}

/// Translate an audio file into English
///
/// Like `/v1/audio/transcriptions`, with English text.
#[utoipa::path(
    post,
    path = "/v1/audio/translations",
    operation_id = "createTranslation",
    tag = "audio",
    params(Preferences),
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses(StreamableTranscriptResponse, JobAccepted, UploadErrors)
)]
pub(super) async fn translate(
    State(state): State<AppState>,
    upload: AnyUpload,
) -> Result<Response, ApiError> {
    receive(state, upload, Endpoint::Translations).await
}

async fn receive(
    state: AppState,
    upload: AnyUpload,
    endpoint: Endpoint,
) -> Result<Response, ApiError> {
    match upload {
        AnyUpload::Passing(Upload { file, fields, ticket }) => {
            let params = TranscriptionParams::read(endpoint, &fields)?;
            if params.webhook_url.is_some() {
                let message = "only jobs call webhooks: send the header `Prefer: respond-async` too, \
                               or leave webhook_url out";
                return Err(ApiError::bad_field("webhook_url", message));
            }
            respond(state, ticket, file, params).await
        }
        AnyUpload::Kept(upload) => {
            let params = TranscriptionParams::read(endpoint, &upload.fields)?;
            durable::respond(&state, *upload, params).await
        }
    }
}

/// Transcribes a file, and responds in the requested format, whole or as a stream.
pub(super) async fn respond(
    state: AppState,
    ticket: Ticket,
    file: File,
    params: TranscriptionParams,
) -> Result<Response, ApiError> {
    let (rendering, stream) = (params.rendering, params.stream);
    let ignored = params.ignored.clone();
    let mut response = if stream {
        let transcription = start(&state, ticket, file, params).await?;
        stream::respond(transcription.subscribe(), &rendering, transcription)
    } else {
        let (headers, output) = transcribed(&state, ticket, file, params).await?;
        response::respond(headers, &output, &rendering)
    };
    response::report_ignored(response.headers_mut(), &ignored);
    Ok(response)
}

/// Transcribes a file. The response headers say where and how.
pub(super) async fn transcribed(
    state: &AppState,
    ticket: Ticket,
    file: File,
    params: TranscriptionParams,
) -> Result<(HeaderMap, Arc<TranscriptionOutput>), ApiError> {
    let received = Instant::now();
    let output = start(state, ticket, file, params).await?.output().await?;
    let duration = output.transcript.duration;
    let elapsed = received.elapsed().as_secs_f64();
    tracing::info!(
        model = output.model,
        audio_seconds = duration,
        queue_ms = output.queue_time.as_millis() as u64,
        inference_ms = output.inference_time.as_millis() as u64,
        elapsed_ms = (elapsed * 1e3) as u64,
        "transcribed"
    );
    let mut headers = response::provenance(&output);
    response::number(&mut headers, "x-rtf", elapsed / duration.max(1e-3));
    Ok((headers, output))
}

async fn start(
    state: &AppState,
    ticket: Ticket,
    file: File,
    params: TranscriptionParams,
) -> Result<ClientTranscription, ApiError> {
    let TranscriptionParams { model, options, silence, selection, .. } = params;
    let chunks = silence.policy(state.pipeline.chunks);
    let request = TranscriptionRequest { model, options, chunks, selection };
    let transcription = state.pipeline.prepare(file, request).await?.start(ticket).await?;
    Ok(ClientTranscription::start(transcription))
}
