//! Jobs: transcriptions that nobody needs to wait for.

mod crashes;
mod fairness;
mod idempotency;
mod quota;
mod recover;
mod requests;
mod retry;
mod shortage;
mod webhooks;

use std::fs;
use std::process::Output;

use reqwest::multipart::Form;
use serde_json::Value;

use super::harness::{Answer, Server, auris, form};

impl Server {
    /// Sends a job and returns it as it was accepted.
    pub async fn submit(&self, audio: Vec<u8>, fields: &[(&str, &str)]) -> Value {
        let answer = self.post_to("/v1/jobs", form(audio, fields)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()
    }

    /// A job as it stands.
    pub async fn job(&self, id: &str) -> Value {
        let answer = Answer::read(self.get(&format!("/v1/jobs/{id}")).await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Waits until a job has ended, and returns it.
    pub async fn ended(&self, id: &str) -> Value {
        self.until("the job does not end", async || !self.job(id).await["ended_at"].is_null())
            .await;
        self.job(id).await
    }

    /// Waits until a job has some text.
    pub async fn begun(&self, id: &str) {
        let begun = async || self.job(id).await["percent"].as_f64() > Some(0.0);
        self.until("the job has no text", begun).await;
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::read(self.client.delete(self.url(path)).send().await.unwrap()).await
    }

    /// Posts a form with headers.
    pub async fn post_with(&self, path: &str, form: Form, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.post(self.url(path)).multipart(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().await.unwrap()).await
    }

    /// Waits until no file of a job is kept: it goes once the job's end is durable.
    pub async fn nothing_kept(&self) {
        self.until("audio is left over", async || self.kept_files() == 0).await;
    }

    /// Runs `auris jobs recover` on the server's folder.
    pub fn recover(&self) -> Output {
        let mut command = auris();
        command.args(["jobs", "recover", "--jobs-dir"]).arg(self.jobs()).output().unwrap()
    }

    /// How many files of jobs are kept.
    pub fn kept_files(&self) -> usize {
        fs::read_dir(self.jobs().join("audio")).unwrap().count()
    }
}

/// The id of a job.
pub fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}
