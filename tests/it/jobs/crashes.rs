//! The server is killed while jobs run.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::harness::{Server, form, wav};
use crate::streaming::read_stream;

use super::id;

/// Chunks by job and place, and when each was done.
type Done = BTreeMap<(String, i64), i64>;

/// What is stored while no server runs.
pub(super) async fn stored(server: &Server) -> Done {
    let options = SqliteConnectOptions::new().filename(server.jobs().join("jobs.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let rows = sqlx::query("SELECT job, position, done_at FROM chunks").fetch_all(&pool).await;
    let rows = rows.unwrap();
    pool.close().await;
    rows.iter().map(|row| ((row.get("job"), row.get("position")), row.get("done_at"))).collect()
}

/// Small numbers that look random, the same in each run.
fn scattered(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
}

#[tokio::test]
async fn twenty_jobs_survive_fifty_kills_and_no_finished_chunk_is_done_again() {
    const JOBS: u32 = 20;
    let extra = ["--slots", "2", "--threads", "1", "--chunk-seconds", "5"];
    let mut server = Server::fake("none,speed=40", &extra).await;
    let mut ids = Vec::new();
    for seed in 0..JOBS {
        ids.push(id(&server.submit(wav(60.0, seed), &[("language", "en")]).await));
    }
    let mut done = Done::new();
    for kill in 0..50 {
        // The moment is what this test is about.
        tokio::time::sleep(Duration::from_millis(scattered(kill) % 400)).await;
        server.kill();
        let now = stored(&server).await;
        for (chunk, done_at) in &done {
            assert_eq!(now.get(chunk), Some(done_at), "{chunk:?} was done again or lost");
        }
        done = now;
        server.restart();
    }
    server.ready().await;
    for (id, seed) in ids.iter().zip(0..JOBS) {
        let job = server.ended(id).await;
        assert_eq!(job["state"], "finished", "{job}");
        let fields = [("language", "en")];
        let text = server.transcribe(wav(60.0, seed), &fields).await.text();
        assert_eq!(job["text"], text, "job {seed} has another text than its file");
    }
    server.nothing_kept().await;
    let listed: serde_json::Value = server.get("/v1/jobs?limit=100").await.json().await.unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), JOBS as usize);
    server.kill();
    let finished = stored(&server).await;
    for (chunk, done_at) in &done {
        assert_eq!(finished.get(chunk), Some(done_at), "{chunk:?} was done again or lost");
    }
    server.restart();
}

#[tokio::test]
async fn half_an_upload_is_gone_after_a_kill() {
    let mut server = Server::fake("none", &[]).await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Result<Vec<u8>, String>>();
    let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    sender.send(Ok(head.as_bytes().to_vec())).unwrap();
    sender.send(Ok(wav(60.0, 1))).unwrap();
    let body = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let request = server.client.post(server.url("/v1/jobs"));
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    let upload = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    server.until("nothing is uploaded", async || server.kept_files() == 1).await;
    server.kill();
    assert_eq!(server.kept_files(), 1);
    server.restart();
    server.ready().await;
    server.nothing_kept().await;
    assert!(upload.await.unwrap().is_err());
}

#[tokio::test]
async fn a_job_goes_on_after_an_orderly_stop_that_did_not_wait_for_it() {
    let mut server = Server::fake("none,speed=20", &["--slots", "1"]).await;
    let id = id(&server.submit(wav(120.0, 1), &[]).await);
    server.begun(&id).await;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(stored(&server).await.len(), 1, "the server waited for the job");
    server.restart();
    assert_eq!(server.ended(&id).await["state"], "finished");
    server.nothing_kept().await;
}

#[tokio::test]
async fn a_client_that_waits_for_a_job_when_the_server_stops_is_reported_its_id() {
    let mut server = Server::fake("none,speed=4", &["--slots", "1"]).await;
    let url = server.url("/v1/audio/transcriptions");
    let request = server.client.post(url).multipart(form(wav(60.0, 1), &[]));
    let waiting = tokio::spawn(request.header("prefer", "respond-async, wait=60").send());
    let busy = async || server.devices().await["devices"][0]["busy_slots"] == 1;
    server.until("nothing runs", busy).await;
    server.signal(rustix::process::Signal::TERM);
    let told = waiting.await.unwrap().unwrap();
    assert_eq!(told.status(), 202);
    let job: serde_json::Value = told.json().await.unwrap();
    assert!(server.wait().success());
    server.restart();
    assert_eq!(server.job(&id(&job)).await["id"], job["id"]);
}

#[tokio::test]
async fn stored_chunks_are_published_after_a_restart() {
    let mut server = Server::fake("none,speed=40", &["--slots", "1"]).await;
    let first = id(&server.submit(wav(240.0, 1), &[("language", "en")]).await);
    server.begun(&first).await;
    let before = server.job(&first).await;
    server.kill();
    server.restart();
    let after = server.job(&first).await;
    let text = before["text"].as_str().unwrap();
    assert!(after["text"].as_str().unwrap().starts_with(text), "{before} {after}");
    let (joined, last) = read_stream(server.get(&format!("/v1/jobs/{first}/events")).await).await;
    assert_eq!(last["text"], joined);
}

#[tokio::test]
async fn a_database_that_is_held_by_others_costs_a_job_nothing_but_time() {
    let server = Server::fake("none,speed=40", &["--slots", "1"]).await;
    let job = id(&server.submit(wav(240.0, 1), &[("language", "en")]).await);
    server.begun(&job).await;
    let options = SqliteConnectOptions::new().filename(server.jobs().join("jobs.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let mut other = pool.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *other).await.unwrap();
    assert_eq!(server.job(&job).await["id"], job.as_str(), "reading goes on");
    let chunks = async || server.device("cpu").await["models"][0]["chunks"].as_u64();
    let before = chunks().await;
    server.until("no chunk is done", async || chunks().await > before).await;
    sqlx::query("ROLLBACK").execute(&mut *other).await.unwrap();
    drop(other);
    pool.close().await;
    assert_eq!(server.ended(&job).await["state"], "finished");
    server.nothing_kept().await;
}

#[tokio::test]
async fn a_worker_that_dies_costs_a_job_nothing_but_time() {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("abort,chunk=2,times=3,marker={}", marker.path().display());
    let server = Server::fake(&script, &["--slots", "1"]).await;
    let job = server.submit(wav(120.0, 1), &[]).await;
    let ended = server.ended(&id(&job)).await;
    assert_eq!(ended["state"], "finished", "{ended}");
    let again = server.post(form(wav(120.0, 1), &[])).await;
    assert_eq!(ended["text"], again.text());
}
