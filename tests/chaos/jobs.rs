//! Clients that send jobs and ask for them until they have ended.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::client::{Answer, attempt, form};
use super::run::{Accepted, Run};

/// How often a client asks for its job.
const POLL: Duration = Duration::from_secs(2);

/// Sends the `n`th job until it is accepted, and asks for it until it has ended.
pub async fn client(run: Arc<Run>, n: u32) {
    tokio::time::sleep_until(run.turn(n, run.settings.jobs).into()).await;
    let file = (n as usize * 7 + 3) % run.files.len();
    let key = n.is_multiple_of(2).then(|| format!("job-{n}"));
    let has_webhook = n.is_multiple_of(3);
    let id = submit(&run, file, key.as_deref(), has_webhook).await;
    let job = Accepted { file, key, has_webhook };
    if run.accepted().insert(id.clone(), job).is_some() {
        run.record.violation("two jobs have one id");
    }
    let path = format!("/v1/jobs/{id}");
    loop {
        tokio::time::sleep(POLL).await;
        if let Some(job) = ask(&run, &path).await
            && !job["ended_at"].is_null()
        {
            run.record.count("jobs ended", job["state"].as_str().unwrap_or_default());
            return check(&run, file, &job);
        }
        // Not before it was asked for: it may run again.
        if run.is_lost(&id) {
            return;
        }
    }
}

/// Sends a job until it is accepted; returns its id.
pub async fn submit(run: &Run, file: usize, key: Option<&str>, has_webhook: bool) -> String {
    let url = run.receiver.url.clone();
    let mut fields = vec![("language", "en")];
    if has_webhook {
        fields.push(("webhook_url", url.as_str()));
    }
    loop {
        let turn = run.jobs_at_once.acquire().await;
        let form = form(run, file, &fields);
        let answer = attempt(run, "jobs sent", "/v1/jobs", |url| {
            let request = run.client.post(url).multipart(form);
            match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        });
        let answer = answer.await;
        drop(turn);
        match answer {
            Answer::Success(_, body) => {
                let job: Value = serde_json::from_str(&body).unwrap_or_default();
                if let Some(id) = job["id"].as_str() {
                    return id.to_owned();
                }
                run.record.violation("an accepted job has no id");
            }
            Answer::Again(pause) => tokio::time::sleep(pause).await,
        }
    }
}

/// The job as the server says it stands; `None` if it did not answer.
pub async fn ask(run: &Run, path: &str) -> Option<Value> {
    match attempt(run, "jobs asked for", path, |url| run.client.get(url)).await {
        Answer::Success(_, body) => serde_json::from_str(&body).ok(),
        Answer::Again(_) => None,
    }
}

/// Checks a job that has ended.
pub fn check(run: &Run, file: usize, job: &Value) {
    let state = job["state"].as_str().unwrap_or_default();
    if state != "finished" {
        run.record.violation(format!("an accepted job is {state}: {}", job["error"]));
    } else if job["text"] != run.files[file].text {
        run.record.violation("a finished job has another text than its file's");
    }
}
