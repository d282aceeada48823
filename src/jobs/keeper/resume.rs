//! What the store knows of a job: to go on from, or to tell of after its end.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::counter;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobSettings, Jobs, Running, request};
use crate::jobs::error::JobsError;
use crate::jobs::live::{End, Live, Story};
use crate::jobs::spool::Spool;
use crate::jobs::store::{JobId, JobState, Store, StoredChunk, StoredJob, unix_ms};
use crate::jobs::webhook::{Deliverer, RetryPolicy, Signer};
use crate::metrics as names;
use crate::pipeline::{self, ChunkResult, Fault, Pipeline, Recall, Route};

/// How often jobs whose time is over are removed.
const EXPIRY: std::time::Duration = std::time::Duration::from_secs(60);

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
                turns: Semaphore::new(0),
                turns_made: Default::default(),
                interrupted: CancellationToken::new(),
            }),
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs go on");
            counter!(names::JOBS, "state" => "resumed").increment(unfinished.len() as u64);
        }
        for stored in unfinished {
            let running = Running {
                owner: stored.owner,
                attended: false,
                live: Live::new(),
                cancelled: CancellationToken::new(),
            };
            jobs.begin(stored.id, running.clone());
            tokio::spawn(jobs.clone().run(stored.id, running, None));
        }
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
}

/// What a job can go on from.
pub(super) async fn recall(store: &Store, stored: &StoredJob) -> Result<Recall, JobsError> {
    let route = route(stored)?;
    let chunks = store.chunks(stored.id).await?;
    let chunks = chunks.into_iter().map(|chunk| result(stored.id, chunk));
    Ok(Recall { route, chunks: chunks.collect::<Result<_, _>>()? })
}

/// What can be told of a job that does not run.
pub(super) async fn story(store: &Store, stored: &StoredJob) -> Result<Story, JobsError> {
    let Recall { route, chunks } = recall(store, stored).await?;
    let chunks: Vec<Arc<ChunkResult>> = chunks.into_iter().map(Arc::new).collect();
    let end = match (stored.state, route) {
        (JobState::Finished, Some(route)) => {
            let task = request(stored)?.options.task;
            let seconds = stored.audio_seconds;
            let output = pipeline::output(task, &route, &chunks, seconds, false);
            return Ok(Story::finished(route, chunks, output));
        }
        (JobState::Failed, _) => End::Failed(fault(stored)),
        (JobState::Cancelled, _) => End::Cancelled,
        _ => End::Interrupted,
    };
    Ok(Story::ended(end))
}

fn result(job: JobId, chunk: StoredChunk) -> Result<ChunkResult, JobsError> {
    let done = serde_json::from_str(&chunk.result_json)
        .map_err(|source| JobsError::Unreadable { job, source })?;
    let StoredChunk { index, start_sample, samples, .. } = chunk;
    Ok(ChunkResult { index: index as usize, start_sample, samples, done })
}

fn route(stored: &StoredJob) -> Result<Option<Route>, JobsError> {
    let route = stored.route_json.as_deref().map(serde_json::from_str).transpose();
    route.map_err(|source| JobsError::Unreadable { job: stored.id, source })
}

fn fault(stored: &StoredJob) -> Fault {
    let told = stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    told.unwrap_or_else(|| Fault::internal(&format!("job {} failed without a reason", stored.id)))
}
