//! Accepts jobs, sees each to its end, and tells of them.
//!
//! Each unfinished job is a task, and that task alone ends it, in the store and for those who
//! follow. What it finishes is stored before anybody hears of it, so that a job that is resumed
//! goes on behind what was told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::{JobsError, WebhookRefusal};
use super::live::{End, Follower, Live, Story};
use super::request::JobRequest;
use super::spool::{Spool, SpoolError};
use super::store::{JobId, JobState, NewWebhook, Outcome, Store, StoredJob};
use super::view::Job;
use super::webhook::{self, Secret};
use crate::metrics as names;
use crate::pipeline::Pipeline;

mod turns;
// from its acceptance to its end
mod place;
mod accept;
mod task;
mod settle;
// what is stored of it
mod stored;

pub use accept::Submission;
pub use place::Place;

use turns::Turns;

/// How jobs are kept.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The folder of database and audio.
    pub folder: PathBuf,
    /// How many may be unfinished at once.
    pub most_unfinished: usize,
    /// The part of them that one caller may have, from 0 to 1.
    pub caller_share: f64,
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

/// A job that is to be heard.
#[derive(Debug)]
pub struct Followed {
    /// What it was asked for.
    pub request: JobRequest,
    /// How far it is, without its text.
    pub job: Job,
    /// Hears it from its start.
    pub follower: Follower,
}

/// What a job was that is forgotten.
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
    unfinished: Mutex<HashMap<JobId, Running>>,
    /// A job that nobody waits for needs a turn to run.
    turns: Turns,
    /// How many stored results are read into memory at once.
    readers: Semaphore,
    /// The server ends.
    interrupted: CancellationToken,
}

/// An unfinished job in this process.
#[derive(Debug, Clone)]
struct Running {
    owner: String,
    /// Whom it counts for: its key, or the address that it came from.
    caller: String,
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
        // Before the store is asked: a job that ends in between is found there.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let mut waits = !stored.state.is_ended();
        if let Some(running) = running.filter(|_| !stored.state.is_ended()) {
            waits = running.live.look(|story| story.begun.is_none());
            // What it had before a restart is in the store until it is recalled.
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
        Ok(stored.iter().map(|stored| self.brief(stored)).collect())
    }

    /// Hears a job of `owner` from its start; `None` if there is none of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn follow(&self, owner: &str, id: JobId) -> Result<Option<Followed>, JobsError> {
        // Before the store is asked, as above.
        let running = self.running(id);
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let follower = match running {
            Some(running) => running.live.follow(),
            None => Follower::of(self.story(&stored).await?),
        };
        let job = self.brief(&stored);
        Ok(Some(Followed { request: stored::request(&stored)?, job, follower }))
    }

    /// Forgets a job of `owner`, and cancels it first if it is unfinished; `None` if there is none
    /// of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn remove(&self, owner: &str, id: JobId) -> Result<Option<Removed>, JobsError> {
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(None) };
        let cancelled = match self.running(id) {
            _ if stored.state.is_ended() => false,
            // Its task ends it, unless that has just happened otherwise.
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

    /// A job without its text.
    fn brief(&self, stored: &StoredJob) -> Job {
        let running = self.running(stored.id).filter(|_| !stored.state.is_ended());
        let waits = running.as_ref().is_none_or(|own| own.live.look(|story| story.begun.is_none()));
        let eta = running.and_then(|own| own.live.look(Story::eta_seconds));
        let waits = waits && stored.state == JobState::Running;
        Job { eta_seconds: eta, ..Job::new(stored, None, waits) }
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        self.inner.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: JobId) -> Option<Running> {
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
