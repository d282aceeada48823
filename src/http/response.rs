//! A complete transcript as a response: its body, and headers that say where it was made.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use auris_format::Rendering;
use auris_jobs::pipeline::TranscriptionOutput;

/// The answer for `output`, with `headers`.
pub(super) fn answer(
    mut headers: HeaderMap,
    output: &TranscriptionOutput,
    rendering: &Rendering,
) -> Response {
    let content_type = HeaderValue::from_static(rendering.format.content_type());
    headers.insert(header::CONTENT_TYPE, content_type);
    (headers, auris_format::render(&output.transcript, rendering)).into_response()
}

/// The headers that say where and how the text was made.
pub(super) fn provenance(output: &TranscriptionOutput) -> HeaderMap {
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

/// Reports the unknown fields of a request.
pub(super) fn report_ignored(headers: &mut HeaderMap, fields: &[String]) {
    text(headers, "x-ignored-fields", fields.iter().map(String::as_str).collect());
}

/// Sets a header to the different `values`, or leaves it out if there are none.
pub(super) fn text(headers: &mut HeaderMap, name: &'static str, mut values: Vec<&str>) {
    values.sort_unstable();
    values.dedup();
    // A model's file name may hold what a header cannot.
    if let Ok(value) = HeaderValue::from_str(&values.join(", "))
        && !values.is_empty()
    {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Sets a header to a number, to the thousandth.
pub(super) fn number(headers: &mut HeaderMap, name: &'static str, value: f64) {
    text(headers, name, vec![&format!("{value:.3}")]);
}
