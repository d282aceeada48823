//! Clients that wait for their transcript.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::client::{Answer, attempt, form, streamed_text};
use super::run::Run;

const WHAT: &str = "requests";

/// The pause after an answer that was cut short.
const PAUSE: Duration = Duration::from_millis(300);

/// Sends the `n`th request until it has its transcript.
pub async fn client(run: Arc<Run>, n: u32) {
    tokio::time::sleep_until(run.turn(n, run.settings.requests).into()).await;
    let Ok(_turn) = run.requests_at_once.acquire().await else { return };
    let file = n as usize % run.files.len();
    let is_stream = n.is_multiple_of(3);
    // A request with a key is a job that its client waits for.
    let key = n.is_multiple_of(5).then(|| format!("request-{n}"));
    let text = loop {
        let mut fields = vec![("language", "en")];
        if is_stream {
            fields.push(("stream", "true"));
        }
        let form = form(&run, file, &fields);
        let answer = attempt(&run, WHAT, "/v1/audio/transcriptions", |url| {
            let request = run.client.post(url).multipart(form);
            match &key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        });
        match answer.await {
            Answer::Success(_, body) if is_stream => {
                if let Some(text) = streamed_text(&run, WHAT, &body) {
                    break text;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Answer::Success(200, body) => {
                let json: Value = serde_json::from_str(&body).unwrap_or_default();
                break json["text"].as_str().unwrap_or_default().to_owned();
            }
            // A job whose server stopped: the same key finds it again.
            Answer::Success(..) => tokio::time::sleep(PAUSE).await,
            Answer::Again(pause) => tokio::time::sleep(pause).await,
        }
    };
    if text != run.files[file].text {
        run.record.violation(format!("{WHAT}: another text than the file's"));
    }
    run.record.count("transcripts", if is_stream { "streamed" } else { "whole" });
}
