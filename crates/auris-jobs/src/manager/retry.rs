//! Runs a failed job again.

use metrics::counter;

use super::{Jobs, RunMode, stored};
use crate::error::JobsError;
use crate::pipeline::PipelineError;
use crate::store::{JobId, JobState, StoredJob};
use crate::view::Job;
use auris_core::metrics as names;
use auris_scheduler::Caller;

/// Why a job is not run again that is not, or no longer, a failed one.
const NOT_FAILED: &str = "it has not ended; wait for it with GET /v1/jobs/{id}/events";

impl Jobs {
    /// Queues a job of `owner` again that failed by the server's fault; `None` if there is none with
    /// this id. It continues after its finished chunks, counts as a new job of `caller` does, and
    /// calls its webhook again when it ends.
    ///
    /// # Errors
    /// [`JobsError::NotRetryable`], and those of [`Jobs::reserve`].
    pub async fn retry(
        &self,
        owner: &str,
        caller: Caller,
        id: JobId,
    ) -> Result<Option<Job>, JobsError> {
        // A server that ends takes up no work.
        let scheduler = &self.inner.pipeline.scheduler;
        drop(scheduler.admit_background().await.map_err(PipelineError::from)?);
        let (jobs, named) = (self.clone(), owner.to_owned());
        // In a task of its own: a disconnecting client must not leave a queued job without a task.
        let queued = tokio::spawn(async move { jobs.queue_again(&named, caller, id).await });
        queued.await??;
        self.job(owner, id).await
    }

    async fn queue_again(&self, owner: &str, caller: Caller, id: JobId) -> Result<(), JobsError> {
        let _no_expiry = self.inner.requeueing.lock().await;
        let Some(stored) = self.inner.store.get(owner, id).await? else { return Ok(()) };
        if let Some(reason) = self.retry_objection(&stored) {
            return Err(JobsError::NotRetryable(reason));
        }
        // Holds the room for the job while it is put back.
        let reservation = self.reserve(stored.owner.clone(), &caller, RunMode::Background)?;
        if !self.inner.store.requeue(&stored.owner, stored.id).await? {
            return Err(JobsError::NotRetryable(NOT_FAILED));
        }
        let running = reservation.running.clone();
        self.unfinished().insert(stored.id, running.clone());
        drop(reservation);
        counter!(names::JOBS, "state" => "retried").increment(1);
        tracing::info!(job.id = %stored.id, "a failed job is run again");
        tokio::spawn(self.clone().run(stored.id, running, None));
        Ok(())
    }

    fn retry_objection(&self, stored: &StoredJob) -> Option<&'static str> {
        match stored.state {
            JobState::Queued | JobState::Running => Some(NOT_FAILED),
            JobState::Finished => Some("it has finished; GET /v1/jobs/{id}/transcript returns it"),
            JobState::Cancelled => Some("it was cancelled; send its file as a new job"),
            JobState::Failed if !stored::failure(stored).code.may_be_servers_fault() => Some(
                "it failed because of its file or its fields; send a file that can be transcribed \
                 as a new job",
            ),
            JobState::Failed if !self.inner.spool.has_audio(stored.id) => {
                Some("its audio is no longer there; send its file as a new job")
            }
            JobState::Failed => None,
        }
    }
}
