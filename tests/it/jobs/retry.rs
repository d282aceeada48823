//! Jobs that failed by the server's fault are run again.

use std::fs;

use crate::harness::{Answer, Server, form, wav};

use super::crashes::stored;
use super::id;

impl Server {
    pub(super) async fn retry(&self, id: &str) -> Answer {
        let url = self.url(&format!("/v1/jobs/{id}/retry"));
        Answer::read(self.client.post(url).send().await.unwrap()).await
    }
}

#[tokio::test]
async fn a_job_that_failed_by_the_servers_fault_continues_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    let script = format!("error,chunk=0,speed=10,times=9999,marker={}", broken.display());
    let extra = ["--slots", "1", "--max-jobs", "1", "--chunk-seconds", "5"];
    let mut server = Server::fake(&script, &extra).await;
    let fields = [("language", "en")];
    let job = id(&server.submit(wav(60.0, 1), &fields).await);
    server.begun(&job).await;
    fs::create_dir(&broken).unwrap();
    let failed = server.ended(&job).await;
    assert_eq!((&failed["state"], &failed["retryable"]), (&"failed".into(), &true.into()));
    assert_eq!(failed["error"]["code"], "engine_failed");
    let done = stored(&server).await;
    assert!(!done.is_empty(), "nothing was done before it failed");
    server.kill();
    server.restart();
    server.ready().await;
    assert_eq!(server.kept_files(), 2, "the audio and its record");
    assert_eq!(server.job(&job).await["retryable"], true, "also after a restart");

    // The server is mended.
    fs::remove_dir_all(&broken).unwrap();
    let answer = server.retry(&job).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("location"), Some(&*format!("/v1/jobs/{job}")));
    let queued = answer.json();
    assert_eq!((&queued["retryable"], &queued["error"]), (&false.into(), &().into()), "{queued}");
    assert!(queued["ended_at"].is_null(), "{queued}");
    let ended = server.ended(&job).await;
    assert_eq!((&ended["state"], &ended["retryable"]), (&"finished".into(), &false.into()));
    assert_eq!(ended["text"], server.transcribe(wav(60.0, 1), &fields).await.text());
    let now = stored(&server).await;
    for (chunk, done_at) in &done {
        assert_eq!(now.get(chunk), Some(done_at), "{chunk:?} was done again");
    }
    server.nothing_kept().await;
    let again = server.retry(&job).await;
    let message = again.error(409, "job_not_retryable");
    assert!(message.contains("it has finished"), "{message}");
    assert_eq!(again.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_retry_counts_as_a_new_job_does() {
    let extra = ["--slots", "1", "--max-jobs", "1"];
    let server = Server::fake("error,chunk=0,prompt=bad,speed=5", &extra).await;
    let failed = id(&server.submit(wav(1.0, 1), &[("prompt", "bad")]).await);
    server.ended(&failed).await;
    let running = async || Answer::read(server.get("/metrics").await).await;
    let none = async || running().await.body.contains("auris_unfinished_jobs 0");
    server.until("the failed job still counts", none).await;
    let other = id(&server.submit(wav(60.0, 2), &[]).await);
    server.retry(&failed).await.error(503, "overloaded");
    let early = server.retry(&other).await.error(409, "job_not_retryable");
    assert!(early.contains("it has not ended"), "{early}");
    assert_eq!(server.delete(&format!("/v1/jobs/{other}")).await.status, 200);
    assert_eq!(server.retry(&failed).await.status, 202);
    assert_eq!(server.ended(&failed).await["state"], "failed", "it is as broken as before");
    assert_eq!(server.delete(&format!("/v1/jobs/{failed}")).await.status, 204);
    server.nothing_kept().await;
    server.retry(&failed).await.error(404, "job_not_found");
    server.retry("1").await.error(404, "job_not_found");
}

#[tokio::test]
async fn what_the_file_has_caused_is_not_run_again() {
    let server = Server::fake("abort,chunk=0,prompt=bad", &["--slots", "1"]).await;
    let job = server.post_to("/v1/jobs", form(wav(1.0, 1), &[("prompt", "bad")])).await;
    let failed = server.ended(&id(&job.json())).await;
    assert_eq!(failed["error"]["code"], "audio_quarantined", "{failed}");
    assert_eq!(failed["retryable"], false);
    server.nothing_kept().await;
    server.retry(&id(&failed)).await.error(409, "job_not_retryable");
}
