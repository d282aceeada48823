//! Streams `ndjson`: a line for each segment as soon as it is final.

use std::convert::Infallible;
use std::slice::from_ref;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::error::ApiError;
use auris_core::transcript::{Run, Segment};
use auris_format::{Format, Rendering, ndjson_segment_line, ndjson_transcript_line};
use auris_jobs::pipeline::{ApiFailure, SegmentMerger};
use auris_jobs::{ProgressSubscriber, ProgressUpdate, TranscriptionEnd};

/// Responds with a line for each segment that `subscriber` receives. `held` is dropped when the
/// client disconnects.
pub(super) fn respond(
    subscriber: ProgressSubscriber,
    rendering: &Rendering,
    held: impl Send + 'static,
) -> Response {
    let words = rendering.granularities.words;
    let state = (subscriber, SegmentMerger::default(), 0, held);
    let lines =
        stream::unfold(state, move |(mut subscriber, mut merger, mut count, held)| async move {
            let mut line = |(segment, run): (Segment, Run)| {
                let id = count;
                count += 1;
                ndjson_segment_line(id, &segment, from_ref(&run), words)
            };
            let lines = match subscriber.next().await? {
                ProgressUpdate::Chunk { result, .. } => merger.push(&result).map(line).collect(),
                ProgressUpdate::End(TranscriptionEnd::Finished(output)) => {
                    let left = std::mem::take(&mut merger).end();
                    left.map(&mut line)
                        .chain([ndjson_transcript_line(&output.transcript)])
                        .collect()
                }
                ProgressUpdate::End(TranscriptionEnd::Failed(failure)) => error(failure),
                ProgressUpdate::End(TranscriptionEnd::Cancelled) => error(ApiFailure::cancelled()),
                ProgressUpdate::End(TranscriptionEnd::Interrupted) => {
                    error(ApiFailure::interrupted())
                }
            };
            Some((Ok::<String, Infallible>(lines), (subscriber, merger, count, held)))
        });
    let content_type = [(header::CONTENT_TYPE, Format::Ndjson.content_type())];
    (content_type, Body::from_stream(lines)).into_response()
}

fn error(failure: ApiFailure) -> String {
    let body = serde_json::to_string(&ApiError::from(failure).into_body());
    body.expect("strings always serialise") + "\n"
}
