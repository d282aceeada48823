//! Stores the end of a job together with its webhook event, exactly once.

use std::time::Duration;

use metrics::counter;

use super::Jobs;
use crate::error::JobsError;
use crate::store::{JobId, JobState, NewDelivery, Outcome, StoredJob, unix_ms};
use crate::view::Job;
use crate::webhook;
use auris_core::metrics as names;

/// How long to wait before trying a failing database again.
const PAUSE: Duration = Duration::from_secs(2);

impl Jobs {
    /// Like [`Self::settle`], but retries until the database works again.
    pub(super) async fn settle_with_retry(&self, owner: &str, id: JobId, outcome: Outcome) {
        loop {
            let settled = async {
                let stored = self.inner.store.get(owner, id).await?;
                let Some(stored) = stored else { return Ok(false) };
                self.settle(owner, id, outcome.clone(), &stored).await
            };
            match settled.await {
                Ok(_) => return,
                Err(error) if error.may_pass() => {
                    tracing::warn!(job.id = %id, "the end of a job waits to be stored: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(
                        job.id = %id,
                        "the end of a job cannot be stored; it goes on at the next start: {error}"
                    );
                    return;
                }
            }
        }
    }

    /// Ends an unfinished job; one that has already ended stays as it is. Returns whether this
    /// call ended it.
    pub(super) async fn settle(
        &self,
        owner: &str,
        id: JobId,
        outcome: Outcome,
        stored: &StoredJob,
    ) -> Result<bool, JobsError> {
        let now_ms = unix_ms();
        let state = JobState::from(&outcome);
        let event = self.event(stored, &outcome, now_ms).await?;
        if !self.inner.store.finish(id, outcome, now_ms, event).await? {
            return Ok(false);
        }
        counter!(names::JOBS, "state" => state.as_str()).increment(1);
        let owner = (!owner.is_empty()).then_some(owner);
        tracing::info!(job.id = %id, owner, state = state.as_str(), "a job has ended");
        if let Err(error) = self.inner.spool.remove(id) {
            tracing::warn!(
                job.id = %id,
                "the audio of an ended job stays until the next start: {error}"
            );
        }
        Ok(true)
    }

    /// The event for the webhook of a job that ends now, if it has one.
    async fn event(
        &self,
        stored: &StoredJob,
        outcome: &Outcome,
        now_ms: i64,
    ) -> Result<Option<NewDelivery>, JobsError> {
        if stored.webhook_url.is_none() {
            return Ok(None);
        }
        let ended = stored.clone().ended(outcome, now_ms);
        let story = self.story(&ended).await?;
        let job = serde_json::to_value(Job::new(&ended, Some(&story), false))
            .expect("strings and numbers always serialise");
        Ok(Some(webhook::event(outcome, now_ms, &job)))
    }
}
