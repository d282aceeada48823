//! Opens the folder of jobs, takes up the unfinished ones, and removes the expired ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Inner, JobReservation, JobSettings, Jobs, stored};
use crate::error::JobsError;
use crate::pipeline::Pipeline;
use crate::spool::{Known, Orphans, Spool};
use crate::store::{JobState, JobStore, StoredJob};
use crate::webhook::{Deliverer, RetryPolicy};
use auris_core::metrics as names;

/// How often expired jobs are removed, jobs without a task are taken up, and the log is emptied.
const MAINTENANCE: Duration = Duration::from_secs(60);

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
        // Ends that are in the log alone may still be lost.
        let is_durable = match store.empty_log().await {
            Err(error) if error.shortage().is_some() => {
                tracing::warn!("the log of the jobs database cannot be emptied: {error}");
                false
            }
            emptied => emptied?,
        };
        let spool = Spool::open(folder, most_bytes).await?;
        let mut jobs = store.unfinished_and(&spool.ids().await?).await?;
        let known: HashMap<_, _> =
            jobs.iter().map(|job| (job.id, known(job, is_durable))).collect();
        let orphans = spool.tidy(known).await?;
        jobs.retain(|job| !job.state.is_ended());
        Ok(Self { store, spool, unfinished: jobs, orphans })
    }
}

fn known(job: &StoredJob, is_durable: bool) -> Known {
    let is_retryable =
        job.state == JobState::Failed && stored::failure(job).code.may_be_servers_fault();
    match job.state.is_ended() && is_durable && !is_retryable {
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
                requeueing: Default::default(),
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
            if let Some(reservation) = jobs.adopt(owner, id) {
                jobs.resume_as(reservation);
            }
        }
        tokio::spawn(jobs.clone().maintain());
        if let Some(webhooks) = &jobs.inner.settings.webhooks {
            let deliverer =
                Deliverer::new(jobs.inner.store.clone(), webhooks, RetryPolicy::default())?;
            tokio::spawn(deliverer.run(jobs.inner.interrupted.clone()));
        }
        Ok(jobs)
    }

    /// Moves what is in the database's log into its file, at the end of the server.
    pub async fn close(&self) {
        if let Ok(Err(error)) = timeout(CLOSE_PATIENCE, self.inner.store.empty_log()).await {
            tracing::warn!("the log of the jobs database is left to the next start: {error}");
        }
    }

    async fn maintain(self) {
        loop {
            if let Err(error) = self.inner.store.count_uptime().await {
                tracing::error!("the server's uptime cannot be stored: {error}");
            }
            if self.inner.interrupted.is_cancelled() {
                return;
            }
            match self.remove_expired().await {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "old jobs are deleted"),
                Err(error) => tracing::error!("old jobs cannot be deleted: {error}"),
            }
            if let Err(error) = self.take_up_left_over().await {
                tracing::error!("jobs that have no task cannot be taken up: {error}");
            }
            // Bounds the log. Only a backup may hold it for long.
            if let Err(error) = self.inner.store.empty_log().await {
                tracing::error!("the log of the jobs database cannot be emptied: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(MAINTENANCE) => {}
                () = self.inner.interrupted.cancelled() => {}
            }
        }
    }

    pub(super) async fn remove_expired(&self) -> Result<usize, JobsError> {
        let _no_retry = self.inner.requeueing.lock().await;
        let mut expired = self.inner.store.expired(self.inner.settings.retention).await?;
        // First: audio without a row would be set aside at the next start.
        for id in self.inner.spool.with_audio(&expired) {
            if let Err(error) = self.inner.spool.remove(id).await {
                tracing::error!(job.id = %id, "an old job cannot be deleted: {error}");
                expired.retain(|other| *other != id);
            }
        }
        if !expired.is_empty() {
            self.inner.store.delete_ended(&expired).await?;
        }
        Ok(expired.len())
    }

    /// Starts unfinished jobs that have no task, since their end could not be stored.
    pub(super) async fn take_up_left_over(&self) -> Result<(), JobsError> {
        let _no_retry = self.inner.requeueing.lock().await;
        for StoredJob { id, owner, .. } in self.inner.store.unfinished_and(&[]).await? {
            let Some(reservation) = self.adopt(owner.clone(), id) else { continue };
            // It may have ended before it was adopted.
            let stored = self.inner.store.get(&owner, id).await?;
            if stored.is_none_or(|stored| stored.state.is_ended()) {
                continue;
            }
            match self.inner.spool.find_audio(id, &owner).await {
                Ok(()) => {
                    tracing::warn!(job.id = %id, "a job that was left over is taken up");
                    self.resume_as(reservation);
                }
                Err(error) => tracing::error!(job.id = %id, "a job cannot be taken up: {error}"),
            }
        }
        Ok(())
    }

    fn resume_as(&self, reservation: JobReservation) {
        tokio::spawn(self.clone().run(reservation.id, reservation.keep(), None));
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
