//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::AppState;
use super::durable;
use super::error::{ApiError, ErrorBody};
use super::fields::{Endpoint, TranscriptionForm, TranscriptionParams, TranslationForm};
use super::response;
use super::schema::JsonAnswer;
use super::stream::{self, ServerSentEvent};
use super::upload::{AnyUpload, Upload};
use auris_format::TranscriptionLine;
use auris_jobs::pipeline::{TranscriptionOutput, TranscriptionRequest};
use auris_jobs::{ClientTranscription, Job};
use auris_scheduler::Ticket;

/// Write down what is said in an audio file
///
/// Takes a file of any common format and answers with its text in the format that is asked for.
/// The headers tell where it was made. Long files are cut in pauses and run on every free slot.
#[utoipa::path(
    post,
    path = "/v1/audio/transcriptions",
    operation_id = "createTranscription",
    tag = "audio",
    params(
        ("Prefer" = Option<String>, Header, description = "`respond-async` for a job instead of an answer, `respond-async, wait=10` if that takes longer than 10 seconds", example = "wait=10"),
        ("Idempotency-Key" = Option<String>, Header, description = "Your name for the request, such as a UUID: it goes on without you, and sending it again gives the same answer without new work", min_length = 1, max_length = 255, pattern = "^[!#-~]+$"),
    ),
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The transcript, in the `response_format` asked for",
            content(
                (JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (TranscriptionLine = "application/x-ndjson"),
                (ServerSentEvent = "text/event-stream"),
            ),
            headers(
                ("x-device" = String, description = "The device that made the text; several are separated by commas"),
                ("x-model" = String, description = "The model that really ran; several are separated by commas"),
                ("x-fallback-reason" = String, description = "Why it was not the model that was asked for, or else not the best device or the first attempt; only then"),
                ("x-ignored-fields" = String, description = "The fields that are not known here; only then"),
                ("x-queue-time" = f64, description = "The longest that a piece of the audio waited for a slot, in seconds"),
                ("x-inference-time" = f64, description = "Seconds in the engine: the sum over all chunks and the detection of the language, which may run at the same time"),
                ("x-audio-duration" = f64, description = "Seconds of audio"),
                ("x-rtf" = f64, description = "Real-time factor: seconds from the end of the upload to the answer, divided by the seconds of audio; only where a client waited, not for a job"),
            )),
        (status = 202, description = "The request is accepted as a job, since `Prefer: respond-async` asked for that", body = Job,
            headers(
                ("location" = String, description = "Where to ask for it"),
                ("preference-applied" = String, description = "`respond-async`"),
                ("x-job-id" = String, description = "Its id; also in answers to requests with an idempotency key"),
            )),
        (status = 400, description = "The form or one of its fields cannot be used", body = ErrorBody),
        (status = 408, description = "The client stopped sending", body = ErrorBody),
        (status = 413, description = "The file or its audio is longer than the server accepts", body = ErrorBody),
        (status = 415, description = "The file is not audio that can be decoded", body = ErrorBody),
        (status = 422, description = "There is no audio in the file, it crashes the engine, or the idempotency key belongs to another request", body = ErrorBody),
        (status = 429, description = "This client has too much waiting; see Retry-After", body = ErrorBody),
        (status = 500, description = "The server failed; its log says why", body = ErrorBody),
        (status = 503, description = "The service is full, starting or ending; see Retry-After", body = ErrorBody),
        (status = 507, description = "The server has no disk space left for the upload", body = ErrorBody),
    )
)]
pub(super) async fn transcribe(
    State(state): State<AppState>,
    upload: AnyUpload,
) -> Result<Response, ApiError> {
    any(state, upload, Endpoint::Transcriptions).await
}

/// Write down in English what is said in an audio file
///
/// As `/v1/audio/transcriptions`; the spoken language is detected.
#[utoipa::path(
    post,
    path = "/v1/audio/translations",
    operation_id = "createTranslation",
    tag = "audio",
    params(
        ("Prefer" = Option<String>, Header, description = "As for transcriptions", example = "wait=10"),
        ("Idempotency-Key" = Option<String>, Header, description = "As for transcriptions", min_length = 1, max_length = 255, pattern = "^[!#-~]+$"),
    ),
    request_body(content = TranslationForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "As for transcriptions", body = Job),
        (status = 200, description = "The English text, in the `response_format` asked for; headers as for transcriptions",
            content(
                (JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
                (String = "text/tab-separated-values"),
                (TranscriptionLine = "application/x-ndjson"),
                (ServerSentEvent = "text/event-stream"),
            )),
        (status = "4XX", description = "As for transcriptions", body = ErrorBody),
        (status = "5XX", description = "As for transcriptions", body = ErrorBody),
    )
)]
pub(super) async fn translate(
    State(state): State<AppState>,
    upload: AnyUpload,
) -> Result<Response, ApiError> {
    any(state, upload, Endpoint::Translations).await
}

async fn any(state: AppState, upload: AnyUpload, endpoint: Endpoint) -> Result<Response, ApiError> {
    match upload {
        AnyUpload::Passing(Upload { file, fields, ticket }) => {
            let params = TranscriptionParams::read(endpoint, &fields)?;
            if params.webhook_url.is_some() {
                let message = "only the end of a job is told to a webhook: send the header `Prefer: \
                               respond-async` too, or leave webhook_url out";
                return Err(ApiError::bad_field("webhook_url", message));
            }
            answer(state, ticket, file, params).await
        }
        AnyUpload::Kept(upload) => {
            let params = TranscriptionParams::read(endpoint, &upload.fields)?;
            durable::answer(&state, *upload, params).await
        }
    }
}

/// Transcribes a file, and responds in the requested format, whole or as a stream.
pub(super) async fn answer(
    state: AppState,
    ticket: Ticket,
    file: File,
    params: TranscriptionParams,
) -> Result<Response, ApiError> {
    let (rendering, stream) = (params.rendering, params.stream);
    let ignored = params.ignored.clone();
    let mut response = if stream {
        let transcription = start(&state, ticket, file, params).await?;
        stream::answer(transcription.subscribe(), &rendering, transcription)
    } else {
        let (headers, output) = transcribed(&state, ticket, file, params).await?;
        response::answer(headers, &output, &rendering)
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
