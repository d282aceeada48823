//! Stores the end of a job together with its webhook event, exactly once.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use metrics::counter;

use super::Jobs;
use crate::error::JobsError;
use crate::store::{JobId, JobOutcome, JobState, NewDelivery, StoredJob, unix_ms};
use crate::view::Job;
use crate::webhook;
use auris_core::metrics as names;

/// How long to wait before trying a failing database again.
const PAUSE: Duration = Duration::from_secs(2);

impl Jobs {
    /// Like [`Self::settle`], but retries until the database works again. Returns whether the job
    /// has ended or is gone, so that it needs its audio no longer.
    pub(super) async fn settle_with_retry(
        &self,
        owner: &str,
        id: JobId,
        outcome: JobOutcome,
    ) -> bool {
        let settle = || async {
            match self.inner.store.get(owner, id).await? {
                Some(stored) => self.settle(&stored, outcome.clone()).await,
                None => Ok(false),
            }
        };
        let settled = settle
            .retry(ConstantBuilder::new().with_delay(PAUSE).without_max_times())
            .when(JobsError::may_pass)
            .notify(|error, _| {
                tracing::warn!(job.id = %id, "the end of a job waits to be stored: {error}");
            });
        if let Err(error) = settled.await {
            tracing::error!(
                job.id = %id,
                "the end of a job cannot be stored; it continues soon: {error}"
            );
            return false;
        }
        true
    }

    /// Deletes a job that the client has to send again, and waits until no shortage prevents it. If
    /// it fails otherwise, the job runs after all.
    pub(super) async fn withdraw(&self, owner: &str, id: JobId) {
        let withdraw = || async {
            // In this order, a kill in between leaves either the job or nothing.
            self.inner.spool.withdraw(id).await?;
            self.inner.store.delete(owner, id).await?;
            Ok::<(), JobsError>(())
        };
        let withdrawn = withdraw
            .retry(ConstantBuilder::new().with_delay(PAUSE).without_max_times())
            .when(|error: &JobsError| error.shortage().is_some())
            .await;
        match withdrawn {
            Ok(()) => self.remove_audio(id).await,
            Err(error) => {
                tracing::error!(job.id = %id, "a refused job is left over, and runs: {error}");
            }
        }
    }

    /// Ends an unfinished job; one that has already ended stays as it is. Returns whether this
    /// call ended it.
    pub(super) async fn settle(
        &self,
        stored: &StoredJob,
        outcome: JobOutcome,
    ) -> Result<bool, JobsError> {
        let (id, now_ms) = (stored.id, unix_ms());
        let state = JobState::from(&outcome);
        let event = self.event(stored, &outcome, now_ms).await?;
        if !self.inner.store.finish(id, outcome, now_ms, event).await? {
            return Ok(false);
        }
        counter!(names::JOBS, "state" => state.as_str()).increment(1);
        let owner = (!stored.owner.is_empty()).then_some(&stored.owner);
        tracing::info!(job.id = %id, owner, state = state.as_str(), "a job has ended");
        Ok(true)
    }

    /// Removes the audio of an ended job, once its end is in the database file: damage to the
    /// database's log must not lose both.
    pub(super) async fn release_audio(&self, id: JobId) {
        let durable = || self.inner.store.make_durable();
        let durable = durable
            .retry(ConstantBuilder::new().with_delay(PAUSE).without_max_times())
            .when(|error| error.shortage().is_some())
            .await;
        match durable {
            Ok(()) => self.remove_audio(id).await,
            Err(error) => left_over(id, &error),
        }
    }

    pub(super) async fn remove_audio(&self, id: JobId) {
        if let Err(error) = self.inner.spool.remove(id).await {
            left_over(id, &error);
        }
    }

    /// The event for the webhook of a job that ends now, if it has one.
    async fn event(
        &self,
        stored: &StoredJob,
        outcome: &JobOutcome,
        now_ms: i64,
    ) -> Result<Option<NewDelivery>, JobsError> {
        if stored.webhook_url.is_none() {
            return Ok(None);
        }
        let ended = stored.clone().ended(outcome, now_ms);
        let job = Job::new(&ended, Some(&self.stored_state(&ended).await?), false);
        Ok(Some(webhook::event(outcome, now_ms, &job)))
    }
}

fn left_over(job: JobId, error: &dyn std::fmt::Display) {
    tracing::warn!(
        job.id = %job,
        "the audio of an ended job stays until the job expires or the next start: {error}"
    );
}
