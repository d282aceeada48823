//! Accepting jobs.

use metrics::counter;
use tempfile::NamedTempFile;

use super::Jobs;
use super::place::Place;
use crate::error::JobsError;
use crate::pipeline::PipelineError;
use crate::request::JobRequest;
use crate::store::{Inserted, JobId, NewJob, NewWebhook, unix_ms};
use auris_core::metrics as names;
use auris_scheduler::Ticket;

/// A job to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its reserved room.
    pub place: Place,
    /// Its audio.
    pub upload: NamedTempFile,
    /// The request.
    pub request: JobRequest,
    /// The owner's name for the request: repeating it creates no second job.
    pub idempotency_key: Option<String>,
    /// A hash over fields and file, which distinguishes a repetition from another request.
    pub fingerprint: String,
    /// The webhook to call when the job ends.
    pub webhook: Option<NewWebhook>,
    /// The right to run at once, if a client waits for it.
    pub ticket: Option<Ticket>,
}

impl Jobs {
    /// The job of `owner` that was created with this idempotency key, and its fingerprint.
    ///
    /// # Errors
    /// The database fails.
    pub async fn find(
        &self,
        owner: &str,
        idempotency_key: &str,
    ) -> Result<Option<(JobId, String)>, JobsError> {
        let found = self.inner.store.find(owner, idempotency_key).await?;
        Ok(found.map(|(stored, fingerprint)| (stored.id, fingerprint)))
    }

    /// Accepts a job, or finds the one that it repeats. Once this returns, the job survives the
    /// process.
    ///
    /// # Errors
    /// [`JobsError`]: the request cannot be accepted, or not now.
    pub async fn submit(&self, submission: Submission) -> Result<JobId, JobsError> {
        let jobs = self.clone();
        // In a task of its own: a disconnecting client must not leave a job half accepted.
        tokio::spawn(async move { jobs.accept(submission).await }).await?
    }

    async fn accept(self, submission: Submission) -> Result<JobId, JobsError> {
        let Submission { place, upload, request, ticket, .. } = submission;
        let file = upload.reopen().map_err(|error| PipelineError::Audio(error.into()))?;
        let audio_seconds = self.inner.pipeline.inspect(request.input(file)).await?;
        let id = place.id();
        let owner = place.running().owner.clone();
        self.inner.spool.keep(upload, id).await?;
        let inserted = self.inner.store.insert(NewJob {
            id,
            owner: owner.clone(),
            request_json: serde_json::to_string(&request)
                .expect("strings, numbers and lists of them always serialise"),
            created_at_ms: unix_ms(),
            audio_seconds,
            idempotency_key: submission.idempotency_key,
            fingerprint: submission.fingerprint,
            webhook: submission.webhook,
        });
        match inserted.await? {
            Inserted::New => {}
            Inserted::Same(stored) => return Ok(stored.id),
            Inserted::Reused => return Err(JobsError::KeyReused),
        }
        let opened = match ticket {
            None => None,
            Some(ticket) => match self.open(id, &request, ticket).await {
                Ok(transcription) => Some(transcription),
                Err(error) => {
                    self.inner.store.delete(&owner, id).await?;
                    return Err(error);
                }
            },
        };
        counter!(names::JOBS, "state" => "accepted").increment(1);
        tokio::spawn(self.clone().run(id, place.keep(), opened));
        Ok(id)
    }
}
