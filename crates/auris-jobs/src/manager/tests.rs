//! Jobs in temporary folders, on a scheduler without models.

use std::fs;
use std::io::{Seek, Write};

use sqlx::Connection;
use tempfile::TempDir;

use super::*;
use crate::pipeline::{ApiFailure, Decoders, LastDetected, TranscriptionRequest};
use crate::store::NewJob;
use crate::store::tests::test_store::{job, outside};
use auris_audio::{ChunkPolicy, Limits};
use auris_core::recording::Selection;
use auris_core::transcript::Options;
use auris_format::Rendering;
use auris_models::Catalog;
use auris_scheduler::{Caller, Capacity, Scheduler, Settings};

const SECOND: usize = 32_000;

struct TestJobs {
    folder: TempDir,
    jobs: Jobs,
}

impl TestJobs {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let capacity = Capacity { total_seconds: 1.0, caller_share: 1.0 };
        let settings = Settings { capacity, ..Settings::default() };
        let pipeline = Pipeline {
            scheduler: Scheduler::start(settings),
            models: Catalog::installed(Vec::new()),
            routing: Default::default(),
            aliases: Default::default(),
            limits: Limits::default().into(),
            chunks: ChunkPolicy::default(),
            decoders: Decoders::new(2),
            last_detected: LastDetected::default(),
        };
        let settings = JobSettings {
            folder: folder.path().to_owned(),
            most_unfinished: 100,
            caller_share: 1.0,
            most_bytes: Some(1 << 30),
            retention: Duration::from_secs(3600),
            webhooks: None,
        };
        let jobs = Jobs::start(pipeline, settings).await.unwrap();
        // Nothing runs on its own.
        jobs.interrupt();
        Self { folder, jobs }
    }

    /// Makes every statement fail that does `event`, as a bug would.
    async fn forbid(&self, event: &str) {
        let trigger = format!(
            "CREATE TRIGGER forbidden BEFORE {event} ON jobs BEGIN SELECT raise(ABORT, 'no'); END"
        );
        self.outside(trigger.leak()).await;
    }

    async fn allow(&self) {
        self.outside("DROP TRIGGER forbidden").await;
    }

    async fn outside(&self, sql: &'static str) {
        outside(&self.folder, sql).await.close().await.unwrap();
    }

    /// An upload of so many seconds of silence.
    async fn upload(&self, seconds: usize) -> NamedTempFile {
        let mut upload = self.jobs.upload().await.unwrap();
        let bytes = u32::try_from(seconds * SECOND).unwrap();
        let mut wav = b"RIFF".to_vec();
        wav.extend((36 + bytes).to_le_bytes());
        wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
        wav.extend(bytes.to_le_bytes());
        wav.resize(44 + seconds * SECOND, 0);
        upload.write_all(&wav).unwrap();
        upload.rewind().unwrap();
        upload
    }

    /// A job in the database with audio, which nothing runs.
    async fn stored(&self) -> JobId {
        let job = NewJob { request_json: stored::json(&request()), ..job("") };
        let id = job.id;
        let bytes = self.jobs.spooled(&Caller::from(""), 0).await.unwrap();
        self.jobs.inner.spool.keep(self.upload(1).await, &job).await.unwrap();
        self.jobs.inner.store.insert(job).await.unwrap();
        self.jobs.inner.spool.accept(id, bytes).await.unwrap();
        id
    }

    /// A job that failed by the server's fault before all that is kept.
    async fn expired(&self) -> JobId {
        let id = self.stored().await;
        let error_json = stored::json(&ApiFailure::internal(&"a bug"));
        let outcome = JobOutcome::Failed { error_json };
        assert!(self.jobs.inner.store.finish(id, outcome, 0, None).await.unwrap());
        self.outside("UPDATE jobs SET ended_uptime = -100000000 WHERE ended_at = 0").await;
        id
    }

    async fn state(&self, id: JobId) -> Option<JobState> {
        self.jobs.inner.store.get("", id).await.unwrap().map(|stored| stored.state)
    }

    async fn has_audio(&self, id: JobId) -> bool {
        self.jobs.inner.spool.open_audio(id).await.is_ok()
    }
}

fn request() -> JobRequest {
    JobRequest {
        transcription: TranscriptionRequest {
            model: None,
            options: Options::default(),
            chunks: ChunkPolicy::default(),
            selection: Selection::default(),
        },
        rendering: Rendering::default(),
    }
}

#[tokio::test]
async fn audio_stays_while_the_end_of_its_job_cannot_be_stored() {
    let test = TestJobs::new().await;
    let id = test.stored().await;
    test.forbid("UPDATE").await;
    let running = RunningJob::new(String::new(), String::new(), RunMode::Background);
    running.cancelled.cancel();
    test.jobs.clone().run(id, running, None).await;
    assert_eq!(test.state(id).await, Some(JobState::Queued));
    assert!(test.has_audio(id).await);
    test.allow().await;
    test.jobs.take_up_left_over().await.unwrap();
    assert!(test.jobs.running(id).is_some(), "it continues");
}

#[tokio::test]
async fn a_refused_job_that_cannot_be_withdrawn_keeps_its_audio_and_runs() {
    let test = TestJobs::new().await;
    let caller = Caller::from("bob");
    let scheduler = &test.jobs.inner.pipeline.scheduler;
    let [first, second] =
        [scheduler.admit(caller.clone()).await, scheduler.admit(caller.clone()).await];
    let file = test.upload(60).await.into_file();
    let prepared = test.jobs.inner.pipeline.prepare(file, request().transcription).await.unwrap();
    // There is no room for another one.
    let _held = prepared.start(first.unwrap()).await.unwrap();
    test.forbid("DELETE").await;
    let reservation = test.jobs.reserve(String::new(), &caller, RunMode::Attended).unwrap();
    let id = reservation.id;
    let submission = Submission {
        reservation,
        upload: test.upload(60).await,
        bytes: test.jobs.spooled(&caller, 0).await.unwrap(),
        request: request(),
        idempotency_key: Some("k".to_owned()),
        fingerprint: "f".to_owned(),
        webhook: None,
        ticket: Some(second.unwrap()),
    };
    let refused = test.jobs.submit(submission).await.expect_err("there is no room");
    assert!(matches!(refused, JobsError::Pipeline(_)), "{refused}");
    assert_eq!(test.state(id).await, Some(JobState::Queued), "it could not be withdrawn");
    assert!(test.jobs.running(id).is_none());
    test.jobs.take_up_left_over().await.unwrap();
    assert!(test.jobs.running(id).is_some());
    assert!(test.has_audio(id).await);
}

#[tokio::test]
async fn a_job_that_is_retried_does_not_expire() {
    let test = TestJobs::new().await;
    for _ in 0..20 {
        let id = test.expired().await;
        let retry = test.jobs.retry("", Caller::from(""), id);
        let (retried, removed) = tokio::join!(retry, test.jobs.remove_expired());
        removed.unwrap();
        let was_retried = retried.is_ok_and(|job| job.is_some());
        assert_eq!(test.state(id).await.is_some(), was_retried);
        assert_eq!(test.has_audio(id).await, was_retried);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_no_other_job() {
    let test = TestJobs::new().await;
    let ids = [test.expired().await, test.expired().await, test.expired().await];
    let path = test.folder.path().join(format!("audio/{}.audio", ids[0]));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(test.jobs.remove_expired().await.unwrap(), 2);
    assert_eq!(test.state(ids[0]).await, Some(JobState::Failed));
    fs::remove_dir(&path).unwrap();
    assert_eq!(test.jobs.remove_expired().await.unwrap(), 1, "it is tried again");
}

#[tokio::test]
async fn what_is_left_over_and_has_ended_is_not_taken_up() {
    let test = TestJobs::new().await;
    let id = test.stored().await;
    assert!(test.jobs.inner.store.finish(id, JobOutcome::Cancelled, 0, None).await.unwrap());
    test.jobs.take_up_left_over().await.unwrap();
    assert!(test.jobs.running(id).is_none());
}

#[tokio::test]
async fn a_folder_without_jobs_is_not_recovered() {
    let folder = TempDir::new().unwrap();
    let mistyped = folder.path().join("jbos");
    let refusal = Jobs::recover(&mistyped).await.expect_err("there are no jobs").to_string();
    assert!(refusal.contains("jbos/audio: No such file"), "{refusal}");
    assert!(!mistyped.exists());
}
