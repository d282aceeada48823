//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`.

use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::answer::JsonAnswer;
use super::error::{ApiError, ErrorBody};
use super::fields::{TranscriptionForm, TranslationForm, Wishes};
use super::upload::Upload;
use crate::format::{self, Rendering};
use crate::pipeline::{Input, Output};
use crate::transcript::Task;

/// Write down what is said in an audio file
///
/// Takes a file of any common format and answers with its text in the format that is asked for.
/// The headers tell where it was made. Long files are cut in pauses and run on every free slot.
#[utoipa::path(
    post,
    path = "/v1/audio/transcriptions",
    operation_id = "createTranscription",
    tag = "audio",
    request_body(content = TranscriptionForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The transcript, in the `response_format` asked for",
            content(
                (JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
            ),
            headers(
                ("x-device" = String, description = "The device that made the text; several are separated by commas"),
                ("x-model" = String, description = "The model that really ran; several are separated by commas"),
                ("x-fallback-reason" = String, description = "Why it did not run on the best device or at the first attempt; only then"),
                ("x-queue-time" = f64, description = "Seconds that the request waited for a slot"),
                ("x-inference-time" = f64, description = "Seconds in the engine, over all chunks"),
                ("x-audio-duration" = f64, description = "Seconds of audio"),
                ("x-rtf" = f64, description = "Seconds from the upload's end to the answer, for each second of audio"),
            )),
        (status = 400, description = "The form or one of its fields cannot be used", body = ErrorBody),
        (status = 408, description = "The client stopped sending", body = ErrorBody),
        (status = 413, description = "The file or its audio is longer than the server accepts", body = ErrorBody),
        (status = 415, description = "The file is not audio that can be decoded", body = ErrorBody),
        (status = 422, description = "There is no audio in the file, or it crashes the engine", body = ErrorBody),
        (status = 429, description = "This client has too much waiting; see Retry-After", body = ErrorBody),
        (status = 500, description = "The server failed; its log says why", body = ErrorBody),
        (status = 503, description = "The service is full, starting or ending; see Retry-After", body = ErrorBody),
        (status = 507, description = "The server has no disk space left for the upload", body = ErrorBody),
    )
)]
pub(super) async fn transcribe(
    State(state): State<AppState>,
    upload: Upload,
) -> Result<Response, ApiError> {
    answer(state, upload, Task::Transcribe).await
}

/// Write down in English what is said in an audio file
///
/// As `/v1/audio/transcriptions`; the spoken language is detected.
#[utoipa::path(
    post,
    path = "/v1/audio/translations",
    operation_id = "createTranslation",
    tag = "audio",
    request_body(content = TranslationForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The English text, in the `response_format` asked for; headers as for transcriptions",
            content(
                (JsonAnswer = "application/json"),
                (String = "text/plain"),
                (String = "text/vtt"),
            )),
        (status = "4XX", description = "As for transcriptions", body = ErrorBody),
        (status = "5XX", description = "As for transcriptions", body = ErrorBody),
    )
)]
pub(super) async fn translate(
    State(state): State<AppState>,
    upload: Upload,
) -> Result<Response, ApiError> {
    answer(state, upload, Task::Translate).await
}

async fn answer(state: AppState, upload: Upload, task: Task) -> Result<Response, ApiError> {
    let received = Instant::now();
    let Upload { file, fields, client, ticket } = upload;
    let Wishes { model, options, format, granularities } = Wishes::read(task, &fields)?;
    let input = Input { file, model, options, chunks: None, ticket };
    let output = state.pipeline.transcribe(input, |_| ()).await?;
    let mut headers = provenance(&output);
    let duration = output.transcript.duration;
    let elapsed = received.elapsed().as_secs_f64();
    number(&mut headers, "x-rtf", elapsed / duration.max(1e-3));
    tracing::info!(
        key = (!client.owner.is_empty()).then_some(client.owner.as_str()),
        model = output.model,
        audio_seconds = duration,
        queue_ms = output.queue_time.as_millis() as u64,
        inference_ms = output.inference_time.as_millis() as u64,
        elapsed_ms = (elapsed * 1e3) as u64,
        "transcribed"
    );
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    let body = format::render(
        &output.transcript,
        &Rendering { format, granularities, ..Rendering::default() },
    );
    Ok((headers, body).into_response())
}

/// The headers that tell where and how the text was made.
fn provenance(output: &Output) -> HeaderMap {
    let mut devices: Vec<&str> = Vec::new();
    let mut models: Vec<&str> = Vec::new();
    let mut reasons: Vec<&str> = Vec::new();
    for run in &output.transcript.runs {
        devices.push(run.device.as_str());
        models.push(&run.model);
        reasons.extend(run.fallback_reason.as_deref());
    }
    let mut headers = HeaderMap::new();
    for (name, values) in
        [("x-device", devices), ("x-model", models), ("x-fallback-reason", reasons)]
    {
        text(&mut headers, name, values);
    }
    number(&mut headers, "x-queue-time", output.queue_time.as_secs_f64());
    number(&mut headers, "x-inference-time", output.inference_time.as_secs_f64());
    number(&mut headers, "x-audio-duration", output.transcript.duration);
    headers
}

/// Sets a header to the different `values`, or leaves it out if there are none.
fn text(headers: &mut HeaderMap, name: &'static str, mut values: Vec<&str>) {
    values.sort_unstable();
    values.dedup();
    // A model's file name may hold what a header cannot.
    if let Ok(value) = HeaderValue::from_str(&values.join(", "))
        && !values.is_empty()
    {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn number(headers: &mut HeaderMap, name: &'static str, value: f64) {
    text(headers, name, vec![&format!("{value:.3}")]);
}
