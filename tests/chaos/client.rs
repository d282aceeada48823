//! One attempt of a client that sends a valid request, and what it may come to.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;

use super::run::Run;

/// How long an attempt may take before the server counts as silent.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest that a client waits before it tries again, whatever it is asked to.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a valid request may be answered with.
const EXPECTED: [u16; 7] = [200, 202, 204, 408, 429, 503, 507];

/// What a stream of a valid request may end with.
const EXPECTED_ENDS: [&str; 4] =
    ["shutting_down", "overloaded", "model_unavailable", "rate_limit_exceeded"];

pub enum Answer {
    /// The status, 200 or 202, and the body.
    Success(u16, String),
    /// The request is to be sent again after this time.
    Again(Duration),
}

/// Sends a request to `path`, counts what comes of it as one of `what`, and records every answer
/// that a valid request must not have.
pub async fn attempt(
    run: &Run,
    what: &'static str,
    path: &str,
    request: impl FnOnce(String) -> RequestBuilder,
) -> Answer {
    let request = request(run.url(path).await);
    let lost = |why: &str| {
        run.record.count(what, why);
        Answer::Again(Duration::from_millis(fastrand::u64(20..200)))
    };
    let sent = tokio::time::timeout(LIMIT, async {
        let response = request.send().await?;
        let (status, pause) = (response.status().as_u16(), pause(&response));
        Ok::<_, reqwest::Error>((status, pause, response.text().await?))
    });
    let (status, pause, body) = match sent.await {
        Err(_) => {
            run.record.violation(format!("{what}: no answer within {LIMIT:?}"));
            return lost("silence");
        }
        Ok(Err(_)) => return lost("broken"),
        Ok(Ok(answer)) => answer,
    };
    run.record.count(what, status.to_string());
    let is_lost = status == 404 && path.rsplit('/').next().is_some_and(|id| run.is_lost(id));
    if !EXPECTED.contains(&status) && !is_lost {
        run.record.violation(format!("{what}: answered {status} {}", reason(&body)));
    }
    match status {
        200..300 => Answer::Success(status, body),
        _ => Answer::Again(pause),
    }
}

fn pause(response: &Response) -> Duration {
    let header = response.headers().get("retry-after").and_then(|text| text.to_str().ok());
    let seconds = header.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).min(LONGEST_PAUSE)
}

/// The code and the message of an error.
pub fn reason(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &json["error"];
    format!("{}: {}", error["code"].as_str().unwrap_or("no code"), error["message"])
}

/// A form with a file of the run.
pub fn form(run: &Run, file: usize, fields: &[(&'static str, &str)]) -> Form {
    let form = fields
        .iter()
        .fold(Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
    let bytes = run.files[file].bytes.clone();
    let length = bytes.len() as u64;
    let part = Part::stream_with_length(Body::from(bytes), length).file_name("audio");
    form.part("file", part)
}

/// The text of a stream; `None` if it broke off or ended with an error that may be.
pub fn streamed_text(run: &Run, what: &'static str, body: &str) -> Option<String> {
    let mut joined = String::new();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        joined.push_str(event["delta"].as_str().unwrap_or_default());
        if let Some(code) = event["error"]["code"].as_str() {
            if !EXPECTED_ENDS.contains(&code) {
                run.record.violation(format!("{what}: a stream ended with {}", reason(data)));
            }
            run.record.count(what, format!("stream {code}"));
            return None;
        }
        if event["type"] == "transcript.text.done" {
            if event["text"] != joined {
                run.record.violation(format!("{what}: deltas do not join to the text"));
            }
            return Some(joined);
        }
    }
    run.record.count(what, "stream broken");
    None
}
