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
    Deltas, Format, Granularities, Rendering, TranscriptionLogprob, TranscriptionRun,
    TranscriptionSegment, TranscriptionUsage, TranscriptionVerbose, TurnLines, with_turns,
};
use auris_jobs::pipeline::{ApiFailure, SegmentMerger, TranscriptionOutput};
use auris_jobs::{ProgressSubscriber, ProgressUpdate, TranscriptionEnd, percent};

/// How often a comment is sent while there is nothing else to send, so that no proxy takes the
/// connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What ends a stream, as in OpenAI's.
const DONE: &str = "[DONE]";

/// What an event of a stream tells, as JSON in its field `data`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum StreamEvent {
    /// More text. All deltas joined are the text of `transcript.text.done`.
    #[serde(rename = "transcript.text.delta")]
    Delta {
        /// The text that is added.
        #[schema(examples(" fox jumps"))]
        delta: String,
        /// How sure the model was of each token, if `include[]=logprobs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<TranscriptionLogprob>>,
    },
    /// A segment with its times, if the format is `verbose_json`.
    #[serde(rename = "transcript.text.segment")]
    Segment(Box<TranscriptionSegment>),
    /// How far a job has come.
    #[serde(rename = "job.progress")]
    Progress {
        /// The part of the audio that is transcribed.
        #[schema(examples(42.5), minimum = 0, maximum = 100)]
        percent: f64,
        /// Seconds until it is done, once that can be estimated.
        #[schema(required, examples(12.5))]
        eta_seconds: Option<f64>,
    },
    /// The whole text; the last event but for `[DONE]`.
    #[serde(rename = "transcript.text.done")]
    Done {
        /// The whole text.
        #[schema(examples("The quick brown fox jumps over the lazy dog."))]
        text: String,
        /// How sure the model was of each token, if `include[]=logprobs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        logprobs: Option<Vec<TranscriptionLogprob>>,
        /// How much audio was transcribed.
        usage: TranscriptionUsage,
        /// The language of the text: its English name in lower case.
        #[schema(examples("english"))]
        language: String,
        /// Where each stretch of the audio was transcribed.
        runs: Vec<TranscriptionRun>,
    },
}

/// Responds with events for what `subscriber` receives, for a client that asked for `rendering`.
/// `held` is dropped when the client leaves.
pub(super) fn answer(
    subscriber: ProgressSubscriber,
    rendering: &Rendering,
    held: impl Send + 'static,
) -> Response {
    match rendering.format {
        Format::Ndjson => ndjson::answer(subscriber, rendering, held),
        _ => respond_with(subscriber, StreamOptions::of(rendering), held),
    }
}

/// The same, of what `telling` says.
pub(super) fn respond_with(
    subscriber: ProgressSubscriber,
    telling: StreamOptions,
    held: impl Send + 'static,
) -> Response {
    let events = events(subscriber, Teller::new(telling), held);
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("working");
    let mut response = Sse::new(events).keep_alive(heartbeat).into_response();
    // Proxies that buffer responses would hold the events back.
    let no = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", no);
    response
}

fn events(
    subscriber: ProgressSubscriber,
    teller: Teller,
    held: impl Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let state = (subscriber, teller, VecDeque::new(), held);
    stream::unfold(state, |(mut subscriber, mut teller, mut waiting, held)| async move {
        while waiting.is_empty() {
            waiting.extend(teller.tell(&subscriber.next().await?));
        }
        let event: Event = waiting.pop_front()?;
        Some((Ok(event), (subscriber, teller, waiting, held)))
    })
}

/// What a stream is about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamOptions {
    /// How sure the model was of each token.
    pub(super) logprobs: bool,
    /// Segments with their times.
    pub(super) segments: bool,
    /// A line of the text for each turn, with its channel.
    pub(super) turn_lines: bool,
    /// How far it has come; events then have ids.
    pub(super) progress: bool,
    /// The last event that the client has received; it gets those after it.
    pub(super) heard: EventId,
}

impl StreamOptions {
    /// A stream for a client that asked for `rendering`.
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
struct Teller {
    telling: StreamOptions,
    merger: SegmentMerger,
    lines: TurnLines,
    deltas: Deltas,
    segments_told: usize,
    chunks_told: usize,
}

impl Teller {
    fn new(telling: StreamOptions) -> Self {
        Self {
            telling,
            merger: SegmentMerger::default(),
            lines: TurnLines::default(),
            deltas: Deltas::default(),
            segments_told: 0,
            chunks_told: 0,
        }
    }

    fn tell(&mut self, news: &ProgressUpdate) -> Vec<Event> {
        match news {
            ProgressUpdate::Chunk { result, progress, eta_seconds } => {
                let settled: Vec<(Segment, Run)> = self.merger.push(result).collect();
                let mut events = self.segments(settled);
                if let (true, Some(progress)) = (self.telling.progress, progress) {
                    let percent = percent(progress.done_seconds, progress.total_seconds);
                    let eta_seconds = *eta_seconds;
                    events.push(StreamEvent::Progress { percent, eta_seconds });
                }
                self.chunks_told += 1;
                self.new_of(&events)
            }
            ProgressUpdate::End(TranscriptionEnd::Finished(output)) => {
                let left: Vec<(Segment, Run)> = std::mem::take(&mut self.merger).end().collect();
                let left = self.segments(left);
                self.chunks_told += 1;
                let id = EventId { chunk: self.chunks_told, event: left.len() + 1 };
                let last =
                    (id != self.telling.heard).then(|| self.numbered(&self.done(output), id));
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
            let id = EventId { chunk: self.chunks_told, event: number };
            (id > self.telling.heard).then(|| self.numbered(event, id))
        });
        new.collect()
    }

    fn segments(&mut self, segments: Vec<(Segment, Run)>) -> Vec<StreamEvent> {
        segments.iter().flat_map(|(segment, run)| self.segment(segment, run)).collect()
    }

    fn segment(&mut self, segment: &Segment, run: &Run) -> Vec<StreamEvent> {
        let id = self.segments_told;
        self.segments_told += 1;
        let logprobs = self.telling.logprobs.then(|| logprobs([segment]));
        let delta = match self.telling.turn_lines {
            true => self.deltas.push(&self.lines.piece(segment)),
            false => self.deltas.push(&segment.text),
        };
        let delta = delta.map(|delta| StreamEvent::Delta { delta, logprobs });
        let timed = self.telling.segments.then(|| {
            StreamEvent::Segment(Box::new(TranscriptionSegment::new(id, segment, from_ref(run))))
        });
        delta.into_iter().chain(timed).collect()
    }

    fn numbered(&self, event: &StreamEvent, id: EventId) -> Event {
        let event = data(event);
        if self.telling.progress { event.id(id.to_string()) } else { event }
    }

    fn done(&self, output: &TranscriptionOutput) -> StreamEvent {
        let transcript = &output.transcript;
        let whole = TranscriptionVerbose::new(transcript, Granularities::default());
        StreamEvent::Done {
            text: if self.telling.turn_lines { with_turns(transcript) } else { whole.text },
            logprobs: self.telling.logprobs.then(|| logprobs(&transcript.segments)),
            usage: whole.usage,
            language: whole.language,
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

/// An event as it is sent, for the document only.
pub(super) struct ServerSentEvent;

impl PartialSchema for ServerSentEvent {
    fn schema() -> RefOr<Schema> {
        let told = AnyOfBuilder::new()
            .item(Ref::from_schema_name(StreamEvent::name()))
            .item(Ref::from_schema_name(ErrorBody::name()));
        let json = ObjectBuilder::new()
            .schema_type(Type::String)
            .content_media_type("application/json")
            .content_schema(Some(told))
            .description(Some("What has come, or why nothing more will."));
        let done = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some([DONE]))
            .description(Some("Ends the stream."));
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Where a job's stream goes on: the next request's `Last-Event-ID`."))
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
