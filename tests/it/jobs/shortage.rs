//! What the server is short of for a while costs no accepted job.

use std::collections::HashSet;
use std::fs;

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::{Answer, PATIENCE, Server, form, wav};

use super::id;

impl Server {
    /// Lets the server open nothing more than it has open.
    fn exhaust_descriptors(&self) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let open: HashSet<u64> = open
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        self.limit_descriptors((0..).find(|fd| !open.contains(fd)));
    }

    fn free_descriptors(&self) {
        self.limit_descriptors(getrlimit(Resource::Nofile).maximum);
    }

    fn limit_descriptors(&self, current: Option<u64>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current, maximum };
        prlimit(Pid::from_raw(self.pid()), Resource::Nofile, limit).unwrap();
    }

    /// How often a job has had to wait.
    fn waits(&self) -> usize {
        self.log().matches("a job waits").count()
    }
}

#[tokio::test]
async fn no_accepted_job_fails_while_there_are_no_descriptors() {
    const JOBS: u32 = 8;
    let server = Server::fake("none,speed=20", &["--slots", "1"]).await;
    let ids = join_all(
        (0..JOBS)
            .map(async |seed| id(&server.submit(wav(40.0, seed), &[("language", "en")]).await)),
    )
    .await;
    // What running jobs close when they end is then enough to open the next one, but not to read it.
    server.exhaust_descriptors();
    server.until("no job waits", async || server.waits() >= 2).await;
    server.free_descriptors();
    for (id, seed) in ids.iter().zip(0..JOBS) {
        let job = server.ended(id).await;
        assert_eq!(job["state"], "finished", "{job}");
        let text = server.transcribe(wav(40.0, seed), &[("language", "en")]).await.text();
        assert_eq!(job["text"], text);
    }
    server.nothing_kept().await;
}

#[tokio::test]
async fn those_who_wait_are_asked_to_come_again() {
    let server = Server::fake("none", &["--slots", "1"]).await;
    let send = async |headers: &[(&str, &str)]| {
        // Its connection is open before the server can accept no other.
        let client = auris_models::http_client(PATIENCE).unwrap();
        client.get(server.url("/healthz")).send().await.unwrap();
        server.exhaust_descriptors();
        let mut request = client.post(server.url("/v1/audio/transcriptions"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.multipart(form(wav(1.0, 1), &[])).send().await.unwrap();
        server.free_descriptors();
        Answer::read(answer).await
    };
    for headers in [&[][..], &[("idempotency-key", "a")]] {
        let answer = send(headers).await;
        let message = answer.error(503, "resources_exhausted");
        assert_eq!(message, "the server has too many open files and connections; try again later");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("x-should-retry"), None);
    }
    let again = server.post_with(
        "/v1/audio/transcriptions",
        form(wav(1.0, 1), &[]),
        &[("idempotency-key", "a")],
    );
    assert_eq!(again.await.status, 200);
    server.nothing_kept().await;
}
