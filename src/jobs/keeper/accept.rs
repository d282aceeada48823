//! Accepting jobs.

use metrics::counter;
use tempfile::NamedTempFile;

use super::Jobs;
use super::place::Place;
use crate::jobs::error::JobsError;
use crate::jobs::request::JobRequest;
use crate::jobs::store::{Inserted, JobId, NewJob, NewWebhook, unix_ms};
use crate::metrics as names;
use crate::pipeline::PipelineError;
use crate::scheduler::Ticket;

/// A job to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its place.
    pub place: Place,
    /// Its audio.
    pub upload: NamedTempFile,
    /// What is asked for.
    pub request: JobRequest,
    /// The owner's name for the request: the same one makes no second job.
    pub idempotency_key: Option<String>,
    /// A hash over fields and file, which tells a repetition from another request.
    pub fingerprint: String,
    /// Who is told of the end.
    pub webhook: Option<NewWebhook>,
    /// The right to run at once, if somebody waits for it.
    pub ticket: Option<Ticket>,
}

impl Jobs {
    /// The job of `owner` that was made with this idempotency key, and its fingerprint.
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

    /// Accepts a job, or finds the one that it repeats. Once this returns, it outlives the
    /// process.
    ///
    /// # Errors
    /// [`JobsError`]: the request cannot be done, or not now.
    pub async fn submit(&self, submission: Submission) -> Result<JobId, JobsError> {
        let jobs = self.clone();
        // In a task of its own: a client that leaves must not leave a job half accepted.
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
