//! What the store knows of jobs: to take up at the start, to go on from, and to tell of.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobSettings, Jobs, Running};
use crate::jobs::error::JobsError;
use crate::jobs::live::{End, Live, Story};
use crate::jobs::request::JobRequest;
use crate::jobs::spool::Spool;
use crate::jobs::store::{JobId, JobState, Store, StoredChunk, StoredJob, unix_ms};
use crate::jobs::webhook::{Deliverer, RetryPolicy, Signer};
use crate::metrics as names;
use crate::pipeline::{self, ChunkResult, Fault, Pipeline, Progress, Recall};
use crate::recording::Channel;

/// What is stored of a chunk as JSON.
#[derive(Serialize, Deserialize)]
struct Stored<D> {
    /// Its channel, where each is heard on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    #[serde(flatten)]
    done: D,
}

/// How often jobs whose time is over are removed.
const EXPIRY: Duration = Duration::from_secs(60);

/// How many stored results are read into memory at once: those of a day's audio are 30 MB.
const READERS: usize = 2;

impl Jobs {
    /// Opens the folder and takes up what was left unfinished in it.
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
                turns: Default::default(),
                readers: Semaphore::new(READERS),
                interrupted: CancellationToken::new(),
            }),
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs go on");
            counter!(names::JOBS, "state" => "resumed").increment(unfinished.len() as u64);
        }
        for StoredJob { id, owner, .. } in unfinished {
            let running = Running {
                caller: owner.clone(),
                owner,
                attended: false,
                live: Live::new(),
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

    /// What a job can go on from.
    pub(super) async fn recall(&self, stored: &StoredJob) -> Result<Recall, JobsError> {
        // The semaphore is never closed.
        let _reader = self.inner.readers.acquire().await;
        let id = stored.id;
        let route = stored.route_json.as_deref().map(|json| read(id, json)).transpose()?;
        let chunks = self.inner.store.chunks(id).await?;
        let parse = move || chunks.into_iter().map(|chunk| result(id, chunk)).collect();
        let chunks: Result<Vec<ChunkResult>, JobsError> =
            tokio::task::spawn_blocking(parse).await?;
        Ok(Recall { route, chunks: chunks? })
    }

    /// What can be told of a job that does not run.
    pub(super) async fn story(&self, stored: &StoredJob) -> Result<Story, JobsError> {
        let Recall { route, chunks } = self.recall(stored).await?;
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
        Ok(Story::told(route, chunks, progress, end))
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

/// A finished chunk, as it is stored.
pub(super) fn chunk(result: &ChunkResult) -> StoredChunk {
    StoredChunk {
        index: u32::try_from(result.index).unwrap_or(u32::MAX),
        start_sample: result.start_sample,
        samples: result.samples,
        result_json: json(&Stored { channel: result.channel, done: &result.done }),
        done_at_ms: unix_ms(),
    }
}

fn fault(stored: &StoredJob) -> Fault {
    let told = stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    told.unwrap_or_else(|| Fault::internal(&format!("job {} failed without a reason", stored.id)))
}
