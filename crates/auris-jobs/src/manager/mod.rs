//! Accepts jobs, runs each to its end, and reports their progress.
//!
//! Each unfinished job is a task, and only that task ends it, both in the store and for its
//! subscribers. A finished chunk is stored before it is published, so that a resumed job continues
//! after everything that was published.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::JobsError;
use super::progress::{ProgressPublisher, ProgressState, ProgressSubscriber, TranscriptionEnd};
use super::request::JobRequest;
use super::spool::{Spool, SpoolError};
use super::store::{JobId, JobOutcome, JobState, JobStore, NewWebhook, StoredJob};
use super::view::Job;
use super::webhook::{self, WebhookRefusal, WebhookSettings};
use crate::pipeline::{Pipeline, Transcription};
use auris_core::metrics as names;

mod fair_semaphore;
// a job from its acceptance to its end
mod reservation;
mod accept;
mod task;
mod settle;
mod retry;
// what is stored of a job
mod stored;
mod start;
mod recover;

pub use accept::Submission;
pub use recover::{RecoveredJob, Recovery};
pub use reservation::JobReservation;

use fair_semaphore::{FairSemaphore, Turn};

/// The settings of jobs.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The folder of the database and the audio.
    pub folder: PathBuf,
    /// How many may be unfinished at once.
    pub most_unfinished: usize,
    /// The part of them that one caller may have, from 0 to 1.
    pub caller_share: f64,
    /// How many bytes the audio of jobs may take; `None` for half of the room that there is.
    pub most_bytes: Option<u64>,
    /// How long a job is kept after its end, and how long one is tried again that lacks something.
    pub retention: Duration,
    /// How webhooks are called; `None` if they are not.
    pub webhooks: Option<WebhookSettings>,
}

/// A job with a subscription to its progress.
#[derive(Debug)]
pub struct JobSubscription {
    pub request: JobRequest,
    /// Without its text.
    pub job: Job,
    /// Receives its progress from its start.
    pub subscriber: ProgressSubscriber,
}

/// When a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// At once, since its client waits for it.
    Attended,
    /// Behind requests with a waiting client.
    Background,
}

/// What state a removed job was in.
#[derive(Debug)]
pub enum Removed {
    /// It was unfinished, and was cancelled.
    Cancelled(Box<Job>),
    /// It had ended.
    Ended,
}

/// The jobs of this server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pipeline: Pipeline,
    store: JobStore,
    spool: Spool,
    settings: JobSettings,
    unfinished: Mutex<HashMap<JobId, RunningJob>>,
    /// Held while a failed job is queued again, and by whoever acts on the state of jobs without a
    /// task.
    requeueing: tokio::sync::Mutex<()>,
    /// A background job needs a turn to run.
    turns: FairSemaphore,
    /// How many stored results are read into memory at once.
    readers: Semaphore,
    /// The server is shutting down.
    interrupted: CancellationToken,
}

/// An unfinished job in this process.
#[derive(Debug, Clone)]
struct RunningJob {
    owner: String,
    /// The caller that it counts against: a key, or the address that it came from.
    caller: String,
    mode: RunMode,
    publisher: ProgressPublisher,
    cancelled: CancellationToken,
}

/// A job that runs already. It has a turn if it runs in the background.
struct StartedJob {
    transcription: Transcription,
    _turn: Option<Turn>,
}

impl RunningJob {
    fn new(owner: String, caller: String, mode: RunMode) -> Self {
        let (publisher, cancelled) = Default::default();
        Self { owner, caller, mode, publisher, cancelled }
    }
}

impl Jobs {
    /// An empty file for the audio of a future job. It is deleted when dropped.
    pub async fn upload(&self) -> Result<NamedTempFile, SpoolError> {
        self.inner.spool.create().await
    }

    /// A job of `owner`; `None` if there is none with this id.
    pub async fn job(&self, owner: &str, id: JobId) -> Result<Option<Job>, JobsError> {
        // Before the store is read: a job that ends in between is found there.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let state = running.filter(|_| !stored.state.is_ended()).map(|own| own.publisher.state());
        let waits = state.as_ref().is_none_or(|state| state.begun.is_none());
        // What it finished before a restart is only in the store until its task loads it.
        let state = match state.filter(|state| state.done_samples() >= stored.done_samples) {
            Some(state) => state,
            None => self.stored_state(&stored).await?,
        };
        Ok(Some(self.view(&stored, Some(&state), waits)))
    }

    /// At most `limit` jobs of `owner`, newest first, older than `after` if that is given.
    pub async fn list(
        &self,
        owner: &str,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, JobsError> {
        let stored = self.inner.store.list(owner, after, limit).await?;
        Ok(stored.iter().map(|stored| self.brief(stored)).collect())
    }

    /// Subscribes to a job of `owner` from its start; `None` if there is none with this id.
    pub async fn subscribe(
        &self,
        owner: &str,
        id: JobId,
    ) -> Result<Option<JobSubscription>, JobsError> {
        // Before the store is read, as above.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let subscriber = match running {
            Some(running) => running.publisher.subscribe(),
            None => ProgressSubscriber::of(self.stored_state(&stored).await?),
        };
        let job = self.brief(&stored);
        Ok(Some(JobSubscription { request: stored::request(&stored)?, job, subscriber }))
    }

    /// Deletes a job of `owner`, and cancels it first if it is unfinished; `None` if there is none
    /// with this id.
    pub async fn remove(&self, owner: &str, id: JobId) -> Result<Option<Removed>, JobsError> {
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let cancelled = match self.running(id) {
            _ if stored.state.is_ended() => false,
            // Its task ends it, unless it has just ended otherwise.
            Some(running) => {
                running.cancelled.cancel();
                let end = running.publisher.subscribe().end().await;
                matches!(end, TranscriptionEnd::Cancelled)
            }
            None => self.settle(&stored, JobOutcome::Cancelled).await?,
        };
        let job = if cancelled { self.job(owner, id).await? } else { None };
        // First: audio without a row would be set aside at the next start.
        self.inner.spool.remove(id).await?;
        let deleted = self.inner.store.delete(owner, id).await?;
        Ok(deleted.then(|| match job {
            Some(job) => Removed::Cancelled(Box::new(job)),
            None => Removed::Ended,
        }))
    }

    /// Stops the background jobs. They continue when the server starts again.
    pub fn interrupt(&self) {
        self.inner.interrupted.cancel();
    }

    /// The webhook at `url`, if it may be called.
    ///
    /// # Errors
    /// [`WebhookRefusal`].
    pub fn webhook(&self, url: &str) -> Result<NewWebhook, WebhookRefusal> {
        let settings = self.inner.settings.webhooks.as_ref().ok_or(WebhookRefusal::Off)?;
        webhook::check_address(url, settings.allow_private)
    }

    /// A job without its text.
    fn brief(&self, stored: &StoredJob) -> Job {
        let running = self.running(stored.id).filter(|_| !stored.state.is_ended());
        let state = running.map(|own| own.publisher.state());
        let waits = state.as_ref().is_none_or(|state| state.begun.is_none());
        let waits = waits && stored.state == JobState::Running;
        let eta_seconds = state.and_then(|state| state.eta_seconds());
        Job { eta_seconds, ..self.view(stored, None, waits) }
    }

    fn view(&self, stored: &StoredJob, state: Option<&ProgressState>, waits: bool) -> Job {
        let job = Job::new(stored, state, waits);
        Job { retryable: job.retryable && self.inner.spool.has_audio(stored.id), ..job }
    }

    /// Enough turns to keep every slot busy: one for each, and one for a job that is being opened.
    fn turns(&self) -> &FairSemaphore {
        self.inner.turns.widen(self.inner.pipeline.scheduler.slots() + 1);
        &self.inner.turns
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<JobId, RunningJob>> {
        self.inner.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: JobId) -> Option<RunningJob> {
        self.unfinished().get(&id).cloned()
    }

    /// Forgets a task of the job; another one of a retry stays.
    fn forget(&self, id: JobId, publisher: &ProgressPublisher) {
        let mut unfinished = self.unfinished();
        if unfinished.get(&id).is_some_and(|own| own.publisher.same_as(publisher)) {
            unfinished.remove(&id);
        }
        drop(unfinished);
        self.count_unfinished();
    }

    fn count_unfinished(&self) {
        gauge!(names::UNFINISHED_JOBS).set(self.unfinished().len() as f64);
    }
}

#[cfg(test)]
mod tests;
