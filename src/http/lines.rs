//! `ndjson` while it is made: a line for each segment, as soon as there is one.

use std::convert::Infallible;
use std::slice::from_ref;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::error::ApiError;
use crate::format::{Format, Rendering, ndjson_segment_line, ndjson_transcript_line};
use crate::jobs::{End, Follower, News};
use crate::pipeline::{Fault, Turns};
use crate::transcript::{Run, Segment};

/// Answers with the lines of what `follower` hears. `held` is dropped when the client leaves.
pub(super) fn answer(
    follower: Follower,
    rendering: &Rendering,
    held: impl Send + 'static,
) -> Response {
    let words = rendering.granularities.words;
    let state = (follower, Turns::default(), 0, held);
    let lines =
        stream::unfold(state, move |(mut follower, mut turns, mut told, held)| async move {
            let mut line = |(segment, run): (Segment, Run)| {
                let id = told;
                told += 1;
                ndjson_segment_line(id, &segment, from_ref(&run), words)
            };
            let lines = match follower.next().await? {
                News::Chunk { result, .. } => turns.hear(&result).map(line).collect(),
                News::End(End::Finished(output)) => {
                    let left = std::mem::take(&mut turns).end();
                    left.map(&mut line)
                        .chain([ndjson_transcript_line(&output.transcript)])
                        .collect()
                }
                News::End(End::Failed(fault)) => error(fault),
                News::End(End::Cancelled) => error(Fault::cancelled()),
                News::End(End::Interrupted) => error(Fault::interrupted()),
            };
            Some((Ok::<String, Infallible>(lines), (follower, turns, told, held)))
        });
    let content_type = [(header::CONTENT_TYPE, Format::Ndjson.content_type())];
    (content_type, Body::from_stream(lines)).into_response()
}

fn error(fault: Fault) -> String {
    let body = serde_json::to_string(&ApiError::from(fault).into_body());
    body.expect("strings always serialise") + "\n"
}
