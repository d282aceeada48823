//! Server-sent events: a transcript while it is made.
//!
//! The events are OpenAI's, as data only; `auris-format` makes the deltas that join to the text.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::slice::from_ref;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::{ApiError, ErrorBody};
use super::ndjson;
use auris_core::transcript::{Run, Segment};
use auris_format::{
    Deltas, Format, Granularities, Rendering, TranscriptionLanguage, TranscriptionLogprob,
    TranscriptionLosses, TranscriptionRun, TranscriptionSegment, TranscriptionUsage,
    TranscriptionVerbose, TurnLines, with_turns,
};
use auris_jobs::pipeline::{ApiFailure, SegmentMerger, TranscriptionOutput};
use auris_jobs::{ProgressSubscriber, ProgressUpdate, TranscriptionEnd, percent};

/// How often a comment is sent while there is nothing else to send, so that no proxy takes the
/// connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What ends a stream, as in OpenAI's.
const DONE: &str = "[DONE]";

/// An event of a stream, as JSON in its field `data`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum StreamEvent {
    /// More text. All deltas joined are the text of `transcript.text.done`.
    #[serde(rename = "transcript.text.delta")]
    Delta {
        /// The added text.
        #[schema(examples(" fox jumps"))]
        delta: String,
        /// The log probability of each token, with `include[]=logprobs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<TranscriptionLogprob>>,
    },
    /// A segment with its times, with `verbose_json` only.
    #[serde(rename = "transcript.text.segment")]
    Segment(Box<TranscriptionSegment>),
    /// The progress of a job.
    #[serde(rename = "job.progress")]
    Progress {
        /// The share of the audio that is transcribed, in percent.
        #[schema(examples(42.5), minimum = 0, maximum = 100)]
        percent: f64,
        /// Estimated seconds until the job ends, once known.
        #[schema(required, examples(12.5))]
        eta_seconds: Option<f64>,
    },
    /// The whole text; the last event but for `[DONE]`.
    #[serde(rename = "transcript.text.done")]
    Done {
        /// The whole text.
        #[schema(examples("The quick brown fox jumps over the lazy dog."))]
        text: String,
        /// The log probability of each token, with `include[]=logprobs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<TranscriptionLogprob>>,
        /// The amount of transcribed audio.
        usage: TranscriptionUsage,
        /// The language of the text: its English name in lower case.
        #[schema(examples("english"))]
        language: String,
        /// The languages of the speech; empty if there is none.
        languages: Vec<TranscriptionLanguage>,
        /// Whether the file breaks off or its end cannot be read.
        truncated: bool,
        /// What is missing of the recording, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        lost: Option<TranscriptionLosses>,
        /// Which device and model transcribed each part of the audio.
        runs: Vec<TranscriptionRun>,
    },
}

/// Responds with events for what `subscriber` receives, for a client that asked for `rendering`.
/// `held` is dropped when the client disconnects.
pub(super) fn respond(
    subscriber: ProgressSubscriber,
    rendering: &Rendering,
    held: impl Send + 'static,
) -> Response {
    match rendering.format {
        Format::Ndjson => ndjson::respond(subscriber, rendering, held),
        _ => respond_with(subscriber, StreamOptions::of(rendering), held),
    }
}

/// The same with `options`.
pub(super) fn respond_with(
    subscriber: ProgressSubscriber,
    options: StreamOptions,
    held: impl Send + 'static,
) -> Response {
    let events = events(subscriber, EventEncoder::new(options), held);
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("working");
    let mut response = Sse::new(events).keep_alive(heartbeat).into_response();
    // Proxies that buffer responses would hold the events back.
    let no = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", no);
    response
}

fn events(
    subscriber: ProgressSubscriber,
    writer: EventEncoder,
    held: impl Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let state = (subscriber, writer, VecDeque::new(), held);
    stream::unfold(state, |(mut subscriber, mut writer, mut waiting, held)| async move {
        while waiting.is_empty() {
            waiting.extend(writer.events(&subscriber.next().await?));
        }
        let event: Event = waiting.pop_front()?;
        Some((Ok(event), (subscriber, writer, waiting, held)))
    })
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamOptions {
    pub(super) logprobs: bool,
    pub(super) segments: bool,
    /// A line of the text for each turn, with its channel.
    pub(super) turn_lines: bool,
    /// Progress events; events then have ids.
    pub(super) progress: bool,
    /// The last event that the client has received; it gets those after it.
    pub(super) received: EventId,
}

impl StreamOptions {
    pub(super) fn of(rendering: &Rendering) -> Self {
        Self {
            logprobs: rendering.logprobs,
            segments: rendering.format == Format::VerboseJson,
            turn_lines: rendering.format == Format::Text,
            ..Self::default()
        }
    }
}

/// The position of an event in a job's stream, written `CHUNK.EVENT`, both from 1: a client that
/// lost the connection continues from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct EventId {
    chunk: usize,
    event: usize,
}

impl EventId {
    /// Reads an id, or `CHUNK` alone for the chunk's last event.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (chunk, event) = match text.trim().split_once('.') {
            Some((chunk, event)) => (chunk, event.parse().ok()?),
            None => (text.trim(), usize::MAX),
        };
        Some(Self { chunk: chunk.parse().ok()?, event })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.chunk, self.event)
    }
}

/// Turns progress updates into events.
struct EventEncoder {
    options: StreamOptions,
    merger: SegmentMerger,
    lines: TurnLines,
    deltas: Deltas,
    segment_count: usize,
    chunks: usize,
}

impl EventEncoder {
    fn new(options: StreamOptions) -> Self {
        Self {
            options,
            merger: SegmentMerger::default(),
            lines: TurnLines::default(),
            deltas: Deltas::default(),
            segment_count: 0,
            chunks: 0,
        }
    }

    fn events(&mut self, update: &ProgressUpdate) -> Vec<Event> {
        match update {
            ProgressUpdate::Chunk { result, progress, eta_seconds } => {
                let settled: Vec<(Segment, Run)> = self.merger.push(result).collect();
                let mut events = self.segments(settled);
                if let (true, Some(progress)) = (self.options.progress, progress) {
                    let percent = percent(progress.done_seconds, progress.total_seconds);
                    let eta_seconds = *eta_seconds;
                    events.push(StreamEvent::Progress { percent, eta_seconds });
                }
                self.chunks += 1;
                self.new_of(&events)
            }
            ProgressUpdate::End(TranscriptionEnd::Finished(output)) => {
                let left: Vec<(Segment, Run)> = std::mem::take(&mut self.merger).end().collect();
                let left = self.segments(left);
                self.chunks += 1;
                let id = EventId { chunk: self.chunks, event: left.len() + 1 };
                let last =
                    (id != self.options.received).then(|| self.numbered(&self.done(output), id));
                self.new_of(&left).into_iter().chain(last).chain([done()]).collect()
            }
            // Without an id: after a restart of the server, other events may be in their place.
            ProgressUpdate::End(TranscriptionEnd::Failed(failure)) => {
                vec![error(failure.clone()), done()]
            }
            ProgressUpdate::End(TranscriptionEnd::Cancelled) => {
                vec![error(ApiFailure::cancelled()), done()]
            }
            ProgressUpdate::End(TranscriptionEnd::Interrupted) => {
                vec![error(ApiFailure::interrupted()), done()]
            }
        }
    }

    /// The events of the newest chunk that the client has not received yet.
    fn new_of(&self, events: &[StreamEvent]) -> Vec<Event> {
        let new = events.iter().zip(1..).filter_map(|(event, number)| {
            let id = EventId { chunk: self.chunks, event: number };
            (id > self.options.received).then(|| self.numbered(event, id))
        });
        new.collect()
    }

    fn segments(&mut self, segments: Vec<(Segment, Run)>) -> Vec<StreamEvent> {
        segments.iter().flat_map(|(segment, run)| self.segment(segment, run)).collect()
    }

    fn segment(&mut self, segment: &Segment, run: &Run) -> Vec<StreamEvent> {
        let id = self.segment_count;
        self.segment_count += 1;
        let logprobs = self.options.logprobs.then(|| logprobs([segment]));
        let delta = if self.options.turn_lines {
            self.deltas.push(&self.lines.piece(segment))
        } else {
            self.deltas.push(&segment.text)
        };
        let delta = delta.map(|delta| StreamEvent::Delta { delta, logprobs });
        let timed = self.options.segments.then(|| {
            StreamEvent::Segment(Box::new(TranscriptionSegment::new(id, segment, from_ref(run))))
        });
        delta.into_iter().chain(timed).collect()
    }

    fn numbered(&self, event: &StreamEvent, id: EventId) -> Event {
        let event = data(event);
        if self.options.progress { event.id(id.to_string()) } else { event }
    }

    fn done(&self, output: &TranscriptionOutput) -> StreamEvent {
        let transcript = &output.transcript;
        let whole = TranscriptionVerbose::new(transcript, Granularities::default());
        StreamEvent::Done {
            text: if self.options.turn_lines { with_turns(transcript) } else { whole.text },
            logprobs: self.options.logprobs.then(|| logprobs(&transcript.segments)),
            usage: whole.usage,
            language: whole.language,
            languages: whole.languages,
            truncated: whole.truncated,
            lost: whole.lost,
            runs: whole.runs,
        }
    }
}

fn logprobs<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Vec<TranscriptionLogprob> {
    let tokens = segments.into_iter().flat_map(|segment| &segment.logprobs);
    tokens.map(TranscriptionLogprob::from).collect()
}

fn data(event: &impl Serialize) -> Event {
    let json = serde_json::to_string(event).expect("strings and finite numbers always serialise");
    Event::default().data(json)
}

fn error(failure: ApiFailure) -> Event {
    data(&ApiError::from(failure).into_body())
}

fn done() -> Event {
    Event::default().data(DONE)
}

/// The schema of a server-sent event.
pub(super) struct ServerSentEvent;

impl PartialSchema for ServerSentEvent {
    fn schema() -> RefOr<Schema> {
        let event = AnyOfBuilder::new()
            .item(Ref::from_schema_name(StreamEvent::name()))
            .item(Ref::from_schema_name(ErrorBody::name()));
        let json = ObjectBuilder::new()
            .schema_type(Type::String)
            .content_media_type("application/json")
            .content_schema(Some(event))
            .description(Some("An event, or the error that ended the stream."));
        let done = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some([DONE]))
            .description(Some("Ends the stream."));
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "In a job's stream only. Send it as `Last-Event-ID` to continue after this event.",
            ))
            .examples(["3.2"]);
        ObjectBuilder::new()
            .description(Some("A server-sent event."))
            .property("data", AnyOfBuilder::new().item(done).item(json))
            .required("data")
            .property("id", id)
            .into()
    }
}

impl ToSchema for ServerSentEvent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((StreamEvent::name().into(), StreamEvent::schema()));
        schemas.push((ErrorBody::name().into(), ErrorBody::schema()));
        StreamEvent::schemas(schemas);
        ErrorBody::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::EventId;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is() {
        let check = |text: &str, expected: Option<(usize, usize)>| {
            let id = EventId::parse(text);
            assert_eq!(id, expected.map(|(chunk, event)| EventId { chunk, event }), "{text:?}");
        };
        check("3.2", Some((3, 2)));
        check(" 3.2 ", Some((3, 2)));
        check("3", Some((3, usize::MAX)));
        for garbage in ["", ".", "3.", ".2", "3.x", "3.2.1", "-1", "3,2", "99999999999999999999.1"]
        {
            check(garbage, None);
        }
        let id = EventId { chunk: 10, event: 2 };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert!(id > EventId { chunk: 9, event: 11 });
    }
}
