//! A complete transcript as a response: its body, and headers that say where it was made.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, HeaderBuilder, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{IntoResponses, ToSchema};

use super::schema::JsonTranscript;
use super::stream::ServerSentEvent;
use auris_format::{Format, Rendering, TranscriptionLine, TranscriptionLosses};
use auris_jobs::pipeline::TranscriptionOutput;

/// The headers of a response with a transcript.
pub(super) const HEADERS: [(&str, Type, &str); 10] = [
    ("x-device", Type::String, "The devices that ran the request, separated by commas"),
    ("x-model", Type::String, "The models that ran, separated by commas"),
    (
        "x-fallback-reason",
        Type::String,
        "Why another model than the requested one, a slower device or a second attempt was needed",
    ),
    ("x-ignored-fields", Type::String, "Unknown fields of the request"),
    ("x-queue-time", Type::Number, "The longest wait of a chunk for a slot, in seconds"),
    (
        "x-inference-time",
        Type::Number,
        "Seconds in the engine, summed over all chunks and language detection, which may overlap",
    ),
    ("x-audio-duration", Type::Number, "Seconds of audio"),
    (
        "x-audio-truncated",
        Type::Boolean,
        "`true` if the file breaks off or its end cannot be read; only then",
    ),
    (
        "x-audio-lost",
        Type::Number,
        "Seconds of audio that could not be decoded and are taken for silence; only if there are any",
    ),
    (
        "x-rtf",
        Type::Number,
        "Real-time factor: seconds from the end of the upload to the response, divided by the \
         seconds of audio; only if the client waited",
    ),
];

/// 200 with a transcript, as the document describes it.
pub(super) struct TranscriptResponse;

/// The same where it can also be streamed.
pub(super) struct StreamableTranscriptResponse;

impl IntoResponses for TranscriptResponse {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [("200".to_owned(), transcript_response().build().into())].into()
    }
}

impl IntoResponses for StreamableTranscriptResponse {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let events = Content::new(Some(Ref::from_schema_name(ServerSentEvent::name())));
        let response = transcript_response().content("text/event-stream", events).build();
        [("200".to_owned(), response.into())].into()
    }
}

fn transcript_response() -> ResponseBuilder {
    let description = "The transcript in the requested format";
    let response = Format::ALL.iter().copied().fold(
        ResponseBuilder::new().description(description),
        |response, format| {
            let schema: RefOr<Schema> = match format {
                Format::Json | Format::VerboseJson => {
                    Ref::from_schema_name(JsonTranscript::name()).into()
                }
                Format::Ndjson => Ref::from_schema_name(TranscriptionLine::name()).into(),
                _ => ObjectBuilder::new().schema_type(Type::String).into(),
            };
            let media_type = format.content_type().split(';').next().unwrap_or_default();
            response.content(media_type, Content::new(Some(schema)))
        },
    );
    HEADERS.into_iter().fold(response, |response, (name, kind, description)| {
        let schema = ObjectBuilder::new().schema_type(kind);
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description));
        response.header(name, header.build())
    })
}

/// The response for `output`, with `headers`.
pub(super) fn respond(
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
    let losses = output.transcript.losses;
    if losses.truncated {
        text(&mut headers, "x-audio-truncated", vec!["true"]);
    }
    if let Some(lost) = TranscriptionLosses::of(&losses)
        && lost.undecodable_seconds > 0.0
    {
        number(&mut headers, "x-audio-lost", lost.undecodable_seconds);
    }
    headers
}

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
