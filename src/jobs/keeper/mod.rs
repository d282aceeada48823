//! Accepts jobs, sees each to its end, and tells of them.
//!
//! Each unfinished job is a task. What it finishes is stored before anybody hears of it, so that
//! a job that is resumed goes on behind what was told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::JobsError;
use super::live::{End, Follower, Live, Story};
use super::request::JobRequest;
use super::spool::{Spool, SpoolError};
use super::store::{JobId, JobState, NewDelivery, NewWebhook, Outcome, Store, StoredJob, unix_ms};
use super::view::Job;
use super::webhook::{self, AddressError, Secret};
use crate::metrics as names;
use crate::pipeline::Pipeline;
use crate::scheduler::Ticket;

mod accept;
mod resume;
mod task;

/// How jobs are kept.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The folder of database and audio.
    pub folder: PathBuf,
    /// How many may be unfinished at once.
    pub most_unfinished: usize,
    /// The part of them that one owner may have, from 0 to 1.
    pub owner_share: f64,
    /// How long a job is told of after its end.
    pub retention: Duration,
    /// How webhooks are called, if they are.
    pub webhooks: Option<WebhookSettings>,
}

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// What events are signed with; the first is the newest.
    pub secrets: Vec<Secret>,
    /// Whether addresses of the server's own network are called.
    pub allow_private: bool,
}

/// A job's webhook cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum WebhookRefusal {
    /// There is nothing to sign with.
    #[error(
        "this server calls no webhooks: set its AURIS_WEBHOOK_SECRET, or ask for the job instead"
    )]
    Off,
    /// The address is not one to call.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// A job to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its audio.
    pub upload: NamedTempFile,
    /// What is asked for.
    pub request: JobRequest,
    /// Who alone may see it; empty without keys.
    pub owner: String,
    /// The owner's name for the request: the same one makes no second job.
    pub idempotency_key: Option<String>,
    /// A hash over fields and file, which tells a repetition from another request.
    pub fingerprint: String,
    /// Who is told of the end.
    pub webhook: Option<NewWebhook>,
    /// The right to run at once, if somebody waits for it.
    pub ticket: Option<Ticket>,
}

/// What came of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is accepted.
    New(JobId),
    /// It was accepted before.
    Same(JobId),
}

/// What came of a removal.
#[derive(Debug)]
pub enum Removed {
    /// The job was unfinished and is cancelled.
    Cancelled(Box<Job>),
    /// The job had ended and is forgotten.
    Forgotten,
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
    unfinished: Mutex<HashMap<JobId, Running>>,
    /// A job that nobody waits for needs one of these to run.
    turns: Semaphore,
    /// How many of them there are.
    turns_made: AtomicUsize,
    /// The server ends.
    interrupted: CancellationToken,
}

/// An unfinished job in this process.
#[derive(Debug, Clone)]
struct Running {
    owner: String,
    attended: bool,
    live: Live,
    cancelled: CancellationToken,
}

impl Jobs {
    /// An empty file for the audio of a job to come. It vanishes when dropped.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn upload(&self) -> Result<NamedTempFile, SpoolError> {
        self.inner.spool.create()
    }

    /// A job of `owner`; `None` if there is none of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn job(&self, owner: &str, id: JobId) -> Result<Option<Job>, JobsError> {
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let running = self.running(id);
        let job = match running.filter(|_| !stored.state.is_ended()) {
            Some(running) => running.live.look(|story| Job::new(&stored, Some(story))),
            None => Job::new(&stored, Some(&self.story(&stored).await?)),
        };
        Ok(Some(job))
    }

    /// At most `limit` jobs of `owner`, the newest first, those that are older than `after`.
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
        Ok(stored.iter().map(|stored| Job::new(stored, None)).collect())
    }

    /// Hears a job of `owner` from its start, with what it was asked for; `None` if there is none
    /// of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn follow(
        &self,
        owner: &str,
        id: JobId,
    ) -> Result<Option<(JobRequest, Follower)>, JobsError> {
        // Before the store is asked: a job that ends in between is found there.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let request = request(&stored)?;
        let follower = match running {
            Some(running) => running.live.follow(),
            None => Follower::of(self.story(&stored).await?),
        };
        Ok(Some((request, follower)))
    }

    /// Cancels an unfinished job of `owner`, or forgets one that has ended; `None` if there is
    /// none of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove(&self, owner: &str, id: JobId) -> Result<Option<Removed>, JobsError> {
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        if stored.state.is_ended() {
            let removed = self.inner.store.delete(owner, id).await?;
            return Ok(removed.then_some(Removed::Forgotten));
        }
        self.settle(owner, id, Outcome::Cancelled).await?;
        if let Some(running) = self.running(id) {
            running.live.end(End::Cancelled);
            running.cancelled.cancel();
        }
        Ok(self.job(owner, id).await?.map(|job| Removed::Cancelled(Box::new(job))))
    }

    /// Lets go of the jobs that nobody waits for. They go on when the server starts again.
    pub fn interrupt(&self) {
        self.inner.interrupted.cancel();
    }

    /// The webhook at `url`, if that can be called.
    ///
    /// # Errors
    /// [`WebhookRefusal`].
    pub fn webhook(&self, url: &str) -> Result<NewWebhook, WebhookRefusal> {
        let settings = self.inner.settings.webhooks.as_ref().ok_or(WebhookRefusal::Off)?;
        Ok(webhook::check_address(url, settings.allow_private)?)
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        self.inner.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, id: JobId, running: Running) {
        let mut unfinished = self.unfinished();
        unfinished.insert(id, running);
        gauge!(names::UNFINISHED_JOBS).set(unfinished.len() as f64);
    }

    fn forget(&self, id: JobId) {
        let mut unfinished = self.unfinished();
        unfinished.remove(&id);
        gauge!(names::UNFINISHED_JOBS).set(unfinished.len() as f64);
    }

    fn running(&self, id: JobId) -> Option<Running> {
        self.unfinished().get(&id).cloned()
    }

    /// Ends an unfinished job in the store, with the event that tells of it. One that has ended
    /// already stays as it is.
    async fn settle(&self, owner: &str, id: JobId, outcome: Outcome) -> Result<(), JobsError> {
        let now_ms = unix_ms();
        let state = JobState::from(&outcome);
        let event = self.event(owner, id, &outcome, now_ms).await?;
        if !self.inner.store.finish(id, outcome, now_ms, event).await? {
            return Ok(());
        }
        counter!(names::JOBS, "state" => state.as_str()).increment(1);
        tracing::info!(job.id = %id, state = state.as_str(), "a job has ended");
        if let Err(error) = self.inner.spool.remove(id) {
            tracing::warn!(job.id = %id, "the audio of an ended job stays until the next start: {error}");
        }
        Ok(())
    }

    /// What the webhook of a job is told that ends now, if it has one.
    async fn event(
        &self,
        owner: &str,
        id: JobId,
        outcome: &Outcome,
        now_ms: i64,
    ) -> Result<Option<NewDelivery>, JobsError> {
        let stored = self.inner.store.get(owner, id).await?;
        let Some(stored) = stored.filter(|stored| stored.webhook_url.is_some()) else {
            return Ok(None);
        };
        let ended = stored.ended(outcome, now_ms);
        let job = match self.running(id) {
            Some(running) => running.live.look(|story| Job::new(&ended, Some(story))),
            None => Job::new(&ended, None),
        };
        let job = serde_json::to_value(job).expect("strings and numbers always serialise");
        Ok(Some(webhook::event(outcome, now_ms, &job)))
    }

    /// Makes as many turns as keep every slot busy: one for each, and one that is being opened.
    fn widen_turns(&self) {
        let wanted = self.inner.pipeline.scheduler.slots() + 1;
        let made = self.inner.turns_made.fetch_max(wanted, Ordering::Relaxed);
        self.inner.turns.add_permits(wanted.saturating_sub(made));
    }

    /// What is stored of a job that does not run here.
    async fn story(&self, stored: &StoredJob) -> Result<Story, JobsError> {
        resume::story(&self.inner.store, stored).await
    }
}

fn request(stored: &StoredJob) -> Result<JobRequest, JobsError> {
    serde_json::from_str(&stored.request_json)
        .map_err(|source| JobsError::Unreadable { job: stored.id, source })
}
