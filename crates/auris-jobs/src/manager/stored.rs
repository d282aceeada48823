//! Reads jobs back from the store: to resume them at the start, and to report them.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobSettings, Jobs, RunMode, RunningJob};
use crate::error::JobsError;
use crate::pipeline::{self, ApiFailure, Checkpoint, ChunkResult, Pipeline, TranscriptionProgress};
use crate::progress::{ProgressState, TranscriptionEnd};
use crate::request::JobRequest;
use crate::spool::Spool;
use crate::store::{JobId, JobState, JobStore, StoredChunk, StoredJob, unix_ms};
use crate::webhook::{Deliverer, RetryPolicy};
use auris_core::metrics as names;

/// How often expired jobs are removed.
const EXPIRY: Duration = Duration::from_secs(60);

/// How many stored results are read into memory at once: those of a day's audio are 30 MB.
const READERS: usize = 2;

impl Jobs {
    /// Opens the folder and resumes the unfinished jobs in it.
    pub async fn start(pipeline: Pipeline, settings: JobSettings) -> Result<Self, JobsError> {
        let store = JobStore::open(&settings.folder).await?;
        let unfinished = store.unfinished().await?;
        let known = unfinished.iter().map(|job| job.id).collect();
        let spool = Spool::open(&settings.folder, known).await?;
        let jobs = Self {
            inner: Arc::new(Inner {
                pipeline,
                store,
                spool,
                settings,
                unfinished: Default::default(),
                turns: Default::default(),
                readers: Semaphore::new(READERS),
                interrupted: CancellationToken::new(),
            }),
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs continue");
            counter!(names::JOBS, "state" => "resumed").increment(unfinished.len() as u64);
        }
        for StoredJob { id, owner, .. } in unfinished {
            let running = RunningJob::new(owner.clone(), owner, RunMode::Background);
            jobs.unfinished().insert(id, running.clone());
            tokio::spawn(jobs.clone().run(id, running, None));
        }
        jobs.count_unfinished();
        tokio::spawn(jobs.clone().expire());
        if let Some(webhooks) = &jobs.inner.settings.webhooks {
            let deliverer =
                Deliverer::new(jobs.inner.store.clone(), webhooks, RetryPolicy::default())?;
            tokio::spawn(deliverer.run(jobs.inner.interrupted.clone()));
        }
        Ok(jobs)
    }

    async fn expire(self) {
        loop {
            let kept_ms = i64::try_from(self.inner.settings.retention.as_millis());
            let before_ms = unix_ms().saturating_sub(kept_ms.unwrap_or(i64::MAX));
            match self.inner.store.expire(before_ms).await {
                Ok(gone) if gone.is_empty() => {}
                Ok(gone) => tracing::info!(jobs = gone.len(), "old jobs are deleted"),
                Err(error) => tracing::error!("old jobs cannot be deleted: {error}"),
            }
            tokio::select! {
                () = tokio::time::sleep(EXPIRY) => {}
                () = self.inner.interrupted.cancelled() => return,
            }
        }
    }

    /// The checkpoint from which a job can continue.
    pub(super) async fn checkpoint(&self, stored: &StoredJob) -> Result<Checkpoint, JobsError> {
        // The semaphore is never closed.
        let _reader = self.inner.readers.acquire().await;
        let id = stored.id;
        let route = stored.route_json.as_deref().map(|json| read(id, json)).transpose()?;
        let chunks = self.inner.store.chunks(id).await?;
        let parse = move || chunks.iter().map(|chunk| read(id, &chunk.result_json)).collect();
        let chunks: Result<Vec<ChunkResult>, JobsError> =
            tokio::task::spawn_blocking(parse).await?;
        Ok(Checkpoint { route, chunks: chunks? })
    }

    /// The progress of a job that is not running.
    pub(super) async fn stored_state(
        &self,
        stored: &StoredJob,
    ) -> Result<ProgressState, JobsError> {
        let Checkpoint { route, chunks } = self.checkpoint(stored).await?;
        let chunks: Vec<Arc<ChunkResult>> = chunks.into_iter().map(Arc::new).collect();
        let end = match (stored.state, &route) {
            (JobState::Finished, Some(route)) => {
                let task = request(stored)?.transcription.options.task;
                let output = pipeline::output(task, route, &chunks, stored.decoded());
                TranscriptionEnd::Finished(output.into())
            }
            (JobState::Failed, _) => TranscriptionEnd::Failed(failure(stored)),
            (JobState::Cancelled, _) => TranscriptionEnd::Cancelled,
            _ => TranscriptionEnd::Interrupted,
        };
        let progress = TranscriptionProgress {
            done_seconds: stored.done_seconds(route.as_ref().map_or(1, |own| own.parts.signals())),
            total_seconds: stored.audio_seconds,
        };
        Ok(ProgressState::from_stored(route.map(Arc::new), chunks, progress, end))
    }
}

pub(super) fn request(stored: &StoredJob) -> Result<JobRequest, JobsError> {
    read(stored.id, &stored.request_json)
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and finite numbers always serialise")
}

fn read<T: DeserializeOwned>(job: JobId, json: &str) -> Result<T, JobsError> {
    serde_json::from_str(json).map_err(|source| JobsError::Unreadable { job, source })
}

/// A finished chunk in its stored form.
pub(super) fn chunk(result: &ChunkResult) -> StoredChunk {
    StoredChunk {
        index: u32::try_from(result.index).unwrap_or(u32::MAX),
        start_sample: result.start_sample,
        samples: result.samples,
        result_json: json(result),
        done_at_ms: unix_ms(),
    }
}

fn failure(stored: &StoredJob) -> ApiFailure {
    let read = stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    read.unwrap_or_else(|| {
        ApiFailure::internal(&format!("job {} failed without a reason", stored.id))
    })
}
