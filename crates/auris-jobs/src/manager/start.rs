//! Opens the folder of jobs, takes up the unfinished ones, and removes the expired ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobSettings, Jobs, RunMode, RunningJob, stored};
use crate::error::JobsError;
use crate::pipeline::Pipeline;
use crate::spool::{Known, Orphans, Spool};
use crate::store::{JobState, JobStore, StoredJob};
use crate::webhook::{Deliverer, RetryPolicy};
use auris_core::metrics as names;

/// How often expired jobs are removed.
const EXPIRY: Duration = Duration::from_secs(60);

/// How many stored results are read into memory at once: those of a day's audio are 30 MB.
const READERS: usize = 2;

/// How long the last checkpoint may take: a backup may hold the log.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// An open folder of jobs whose files and database agree.
pub(super) struct JobsFolder {
    pub(super) store: JobStore,
    pub(super) spool: Spool,
    pub(super) unfinished: Vec<StoredJob>,
    pub(super) orphans: Orphans,
}

impl JobsFolder {
    /// `most_bytes` is that of [`JobSettings`].
    pub(super) async fn open(folder: &Path, most_bytes: Option<u64>) -> Result<Self, JobsError> {
        let store = JobStore::open(folder).await?;
        let spool = Spool::open(folder, most_bytes).await?;
        let mut jobs = store.unfinished_and(&spool.ids().await?).await?;
        let known: HashMap<_, _> = jobs.iter().map(|job| (job.id, known(job))).collect();
        let orphans = spool.tidy(known).await?;
        jobs.retain(|job| !job.state.is_ended());
        Ok(Self { store, spool, unfinished: jobs, orphans })
    }
}

fn known(job: &StoredJob) -> Known {
    let is_retryable =
        job.state == JobState::Failed && stored::failure(job).code.may_be_servers_fault();
    match job.state.is_ended() && !is_retryable {
        true => Known::Ended,
        false => Known::NeedsAudio(job.owner.clone()),
    }
}

impl Jobs {
    /// Opens the folder and resumes the unfinished jobs in it.
    pub async fn start(pipeline: Pipeline, settings: JobSettings) -> Result<Self, JobsError> {
        let JobsFolder { store, spool, unfinished, orphans } =
            JobsFolder::open(&settings.folder, settings.most_bytes).await?;
        warn_of(&orphans);
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

    /// Moves what is in the database's log into its file, at the end of the server.
    pub async fn close(&self) {
        if let Ok(Err(error)) = timeout(CLOSE_PATIENCE, self.inner.store.truncate_wal()).await {
            tracing::warn!("the log of the jobs database is left to the next start: {error}");
        }
    }

    async fn expire(self) {
        let mut counted = Instant::now();
        loop {
            match self.remove_expired().await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "old jobs are deleted"),
                Err(error) => tracing::error!("old jobs cannot be deleted: {error}"),
            }
            let is_ending = tokio::select! {
                () = tokio::time::sleep(EXPIRY) => false,
                () = self.inner.interrupted.cancelled() => true,
            };
            let passed = counted.elapsed();
            match self.inner.store.add_uptime(passed).await {
                Ok(()) => counted += passed,
                Err(error) => tracing::error!("the server's uptime cannot be stored: {error}"),
            }
            if is_ending {
                return;
            }
        }
    }

    async fn remove_expired(&self) -> Result<usize, JobsError> {
        let expired = self.inner.store.expired(self.inner.settings.retention).await?;
        // First: audio without a row would be set aside at the next start.
        for id in self.inner.spool.with_audio(&expired) {
            self.inner.spool.remove(id).await?;
        }
        if !expired.is_empty() {
            self.inner.store.delete_ended(&expired).await?;
        }
        Ok(expired.len())
    }
}

fn warn_of(orphans: &Orphans) {
    if !orphans.jobs.is_empty() {
        let bytes: u64 = orphans.jobs.iter().map(|(_, bytes)| bytes).sum();
        tracing::warn!(
            jobs = orphans.jobs.len(), bytes, folder = %orphans.folder.display(),
            "the database does not know the audio of accepted jobs, which is set aside: stop the \
             server and run `auris jobs recover` to queue these jobs again, or delete the folder"
        );
    }
}
