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

use super::error::{JobsError, WebhookRefusal};
use super::progress::{End, ProgressPublisher, ProgressState, ProgressSubscriber};
use super::request::JobRequest;
use super::spool::{Spool, SpoolError};
use super::store::{JobId, JobState, NewWebhook, Outcome, Store, StoredJob};
use super::view::Job;
use super::webhook::{self, Secret};
use crate::pipeline::Pipeline;
use auris_core::metrics as names;

mod fair_semaphore;
// a job from its acceptance to its end
mod place;
mod accept;
mod task;
mod settle;
// what is stored of a job
mod stored;

pub use accept::Submission;
pub use place::Place;

use fair_semaphore::FairSemaphore;

/// The settings of jobs.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The folder of the database and the audio.
    pub folder: PathBuf,
    /// How many may be unfinished at once.
    pub most_unfinished: usize,
    /// The part of them that one caller may have, from 0 to 1.
    pub caller_share: f64,
    /// How long a job is kept after its end.
    pub retention: Duration,
    /// How webhooks are called; `None` if they are not.
    pub webhooks: Option<WebhookSettings>,
}

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The secrets that sign events; the first is the newest.
    pub secrets: Vec<Secret>,
    /// Whether addresses in the server's own network may be called.
    pub allow_private: bool,
}

/// A job with a subscription to its progress.
#[derive(Debug)]
pub struct Followed {
    /// Its request.
    pub request: JobRequest,
    /// Its state, without its text.
    pub job: Job,
    /// Receives its progress from its start.
    pub follower: ProgressSubscriber,
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
    store: Store,
    spool: Spool,
    settings: JobSettings,
    unfinished: Mutex<HashMap<JobId, RunningJob>>,
    /// A background job needs a turn to run.
    fair_semaphore: FairSemaphore,
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
    attended: bool,
    live: ProgressPublisher,
    cancelled: CancellationToken,
}

impl Jobs {
    /// An empty file for the audio of a future job. It is deleted when dropped.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn upload(&self) -> Result<NamedTempFile, SpoolError> {
        self.inner.spool.create()
    }

    /// A job of `owner`; `None` if there is none with this id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job(&self, owner: &str, id: JobId) -> Result<Option<Job>, JobsError> {
        // Before the store is read: a job that ends in between is found there.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let mut waits = !stored.state.is_ended();
        if let Some(running) = running.filter(|_| !stored.state.is_ended()) {
            waits = running.live.look(|story| story.begun.is_none());
            // What it finished before a restart is only in the store until its task loads it.
            let told = running.live.look(|story| {
                let is_up_to_date = story.done_samples() >= stored.done_samples;
                is_up_to_date.then(|| Job::new(&stored, Some(story), waits))
            });
            if let Some(job) = told {
                return Ok(Some(job));
            }
        }
        Ok(Some(Job::new(&stored, Some(&self.story(&stored).await?), waits)))
    }

    /// At most `limit` jobs of `owner`, newest first, older than `after` if that is given.
    ///
    /// # Errors
    /// The database fails.
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
    ///
    /// # Errors
    /// The database fails.
    pub async fn follow(&self, owner: &str, id: JobId) -> Result<Option<Followed>, JobsError> {
        // Before the store is read, as above.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let follower = match running {
            Some(running) => running.live.follow(),
            None => ProgressSubscriber::of(self.story(&stored).await?),
        };
        let job = self.brief(&stored);
        Ok(Some(Followed { request: stored::request(&stored)?, job, follower }))
    }

    /// Deletes a job of `owner`, and cancels it first if it is unfinished; `None` if there is none
    /// with this id.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove(&self, owner: &str, id: JobId) -> Result<Option<Removed>, JobsError> {
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let cancelled = match self.running(id) {
            _ if stored.state.is_ended() => false,
            // Its task ends it, unless it has just ended otherwise.
            Some(running) => {
                running.cancelled.cancel();
                matches!(running.live.follow().end().await, End::Cancelled)
            }
            None => self.settle(owner, id, Outcome::Cancelled, &stored).await?,
        };
        let job = match cancelled {
            true => self.job(owner, id).await?,
            false => None,
        };
        let forgotten = self.inner.store.delete(owner, id).await?;
        Ok(forgotten.then(|| match job {
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
        Ok(webhook::check_address(url, settings.allow_private)?)
    }

    /// A job without its text.
    fn brief(&self, stored: &StoredJob) -> Job {
        let running = self.running(stored.id).filter(|_| !stored.state.is_ended());
        let waits = running.as_ref().is_none_or(|own| own.live.look(|story| story.begun.is_none()));
        let eta = running.and_then(|own| own.live.look(ProgressState::eta_seconds));
        let waits = waits && stored.state == JobState::Running;
        Job { eta_seconds: eta, ..Job::new(stored, None, waits) }
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<JobId, RunningJob>> {
        self.inner.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: JobId) -> Option<RunningJob> {
        self.unfinished().get(&id).cloned()
    }

    fn forget(&self, id: JobId) {
        self.unfinished().remove(&id);
        self.count_unfinished();
    }

    fn count_unfinished(&self) {
        gauge!(names::UNFINISHED_JOBS).set(self.unfinished().len() as f64);
    }
}
