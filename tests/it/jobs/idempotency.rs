//! The same request twice is one job.

use crate::harness::{Answer, Server, form, wav};

const PATH: &str = "/v1/audio/transcriptions";

async fn send(server: &Server, path: &str, seed: u32, key: &str) -> Answer {
    server.post_with(path, form(wav(40.0, seed), &[]), &[("idempotency-key", key)]).await
}

/// How many chunks have been run.
async fn chunks(server: &Server) -> serde_json::Value {
    server.device("cpu").await["models"][0]["chunks"].clone()
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_without_work() {
    let server = Server::fake("none", &["--slots", "1"]).await;
    let first = send(&server, PATH, 1, "a").await;
    let done = chunks(&server).await;
    let second = send(&server, PATH, 1, "a").await;
    assert_eq!(
        (first.text(), first.header("x-job-id")),
        (second.text(), second.header("x-job-id"))
    );
    assert_eq!(chunks(&server).await, done);
    send(&server, PATH, 2, "a").await.error(422, "idempotency_key_reused");
    let other = send(&server, PATH, 1, "b").await;
    assert_ne!(other.header("x-job-id"), first.header("x-job-id"));
    send(&server, PATH, 1, &"k".repeat(300)).await.error(400, "invalid_value");
    server.nothing_kept().await;
}

#[tokio::test]
async fn a_client_that_lost_its_connection_finds_its_transcript_when_it_comes_again() {
    let server = Server::fake("none,speed=40", &["--slots", "1"]).await;
    let url = server.url(PATH);
    let request = server.client.post(url).multipart(form(wav(40.0, 1), &[]));
    let lost = tokio::spawn(request.header("idempotency-key", "a").send());
    let busy = async || server.devices().await["devices"][0]["busy_slots"] == 1;
    server.until("nothing runs", busy).await;
    lost.abort();
    let again = send(&server, PATH, 1, "a").await;
    assert!(!again.text().is_empty());
    let listed = Answer::read(server.get("/v1/jobs").await).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_moment_are_one_job() {
    let server = Server::fake("none,speed=100", &["--slots", "1"]).await;
    let answers =
        futures_util::future::join_all((0..8).map(|_| send(&server, "/v1/jobs", 1, "a"))).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer.json()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    server.ended(ids[0].as_str().unwrap()).await;
    server.nothing_kept().await;
}
