//! Reads jobs back from the store: to resume them at the start, and to report them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobSettings, Jobs, RunningJob};
use crate::error::JobsError;
use crate::pipeline::{self, ApiFailure, Checkpoint, ChunkResult, Pipeline, Progress};
use crate::progress::{End, ProgressPublisher, ProgressState};
use crate::request::JobRequest;
use crate::spool::Spool;
use crate::store::{JobId, JobState, Store, StoredChunk, StoredJob, unix_ms};
use crate::webhook::{Deliverer, RetryPolicy, Signer};
use auris_core::metrics as names;
use auris_core::recording::Channel;

/// A chunk as it is stored, as JSON.
#[derive(Serialize, Deserialize)]
struct Stored<D> {
    /// Its channel, if each is transcribed on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    #[serde(flatten)]
    done: D,
}

/// How often expired jobs are removed.
const EXPIRY: Duration = Duration::from_secs(60);

/// How many stored results are read into memory at once: those of a day's audio are 30 MB.
const READERS: usize = 2;

impl Jobs {
    /// Opens the folder and resumes the unfinished jobs in it.
    ///
    /// # Errors
    /// The folder or its database cannot be used.
    pub async fn start(pipeline: Pipeline, settings: JobSettings) -> Result<Self, JobsError> {
        let store = Store::open(&settings.folder).await?;
        let spool = Spool::open(&settings.folder)?;
        let unfinished = store.unfinished().await?;
        let known: HashSet<JobId> = unfinished.iter().map(|job| job.id).collect();
        spool.sweep(&known)?;
        let jobs = Self {
            inner: Arc::new(Inner {
                pipeline,
                store,
                spool,
                settings,
                unfinished: Default::default(),
                fair_semaphore: Default::default(),
                readers: Semaphore::new(READERS),
                interrupted: CancellationToken::new(),
            }),
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs go on");
            counter!(names::JOBS, "state" => "resumed").increment(unfinished.len() as u64);
        }
        for StoredJob { id, owner, .. } in unfinished {
            let running = RunningJob {
                caller: owner.clone(),
                owner,
                attended: false,
                live: ProgressPublisher::new(),
                cancelled: CancellationToken::new(),
            };
            jobs.unfinished().insert(id, running.clone());
            tokio::spawn(jobs.clone().run(id, running, None));
        }
        jobs.count_unfinished();
        tokio::spawn(jobs.clone().expire());
        if let Some(webhooks) = &jobs.inner.settings.webhooks {
            let signer = Signer::new(webhooks.secrets.clone());
            let (store, retries) = (jobs.inner.store.clone(), RetryPolicy::default());
            let deliverer = Deliverer::new(store, signer, webhooks.allow_private, retries)?;
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
                Ok(gone) => tracing::info!(jobs = gone.len(), "ended jobs are forgotten"),
                Err(error) => tracing::error!("ended jobs cannot be removed: {error}"),
            }
            tokio::select! {
                () = tokio::time::sleep(EXPIRY) => {}
                () = self.inner.interrupted.cancelled() => return,
            }
        }
    }

    /// The checkpoint from which a job can continue.
    pub(super) async fn recall(&self, stored: &StoredJob) -> Result<Checkpoint, JobsError> {
        // The semaphore is never closed.
        let _reader = self.inner.readers.acquire().await;
        let id = stored.id;
        let route = stored.route_json.as_deref().map(|json| read(id, json)).transpose()?;
        let chunks = self.inner.store.chunks(id).await?;
        let parse = move || chunks.into_iter().map(|chunk| result(id, chunk)).collect();
        let chunks: Result<Vec<ChunkResult>, JobsError> =
            tokio::task::spawn_blocking(parse).await?;
        Ok(Checkpoint { route, chunks: chunks? })
    }

    /// The progress of a job that is not running.
    pub(super) async fn story(&self, stored: &StoredJob) -> Result<ProgressState, JobsError> {
        let Checkpoint { route, chunks } = self.recall(stored).await?;
        let chunks: Vec<Arc<ChunkResult>> = chunks.into_iter().map(Arc::new).collect();
        let end = match (stored.state, &route) {
            (JobState::Finished, Some(route)) => {
                let task = request(stored)?.options.task;
                let output = pipeline::output(task, route, &chunks, stored.audio_seconds, false);
                End::Finished(output.into())
            }
            (JobState::Failed, _) => End::Failed(fault(stored)),
            (JobState::Cancelled, _) => End::Cancelled,
            _ => End::Interrupted,
        };
        let progress = Progress {
            done_seconds: stored.done_seconds(route.as_ref().map_or(1, |own| own.heard.signals())),
            total_seconds: stored.audio_seconds,
        };
        Ok(ProgressState::told(route, chunks, progress, end))
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

fn result(job: JobId, chunk: StoredChunk) -> Result<ChunkResult, JobsError> {
    let StoredChunk { index, start_sample, samples, result_json, .. } = chunk;
    let Stored { channel, done } = read(job, &result_json)?;
    Ok(ChunkResult { index: index as usize, start_sample, samples, channel, done })
}

/// A finished chunk in its stored form.
pub(super) fn chunk(result: &ChunkResult) -> StoredChunk {
    StoredChunk {
        index: u32::try_from(result.index).unwrap_or(u32::MAX),
        start_sample: result.start_sample,
        samples: result.samples,
        result_json: json(&Stored { channel: result.channel, done: &result.done }),
        done_at_ms: unix_ms(),
    }
}

fn fault(stored: &StoredJob) -> ApiFailure {
    let told = stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    told.unwrap_or_else(|| {
        ApiFailure::internal(&format!("job {} failed without a reason", stored.id))
    })
}
