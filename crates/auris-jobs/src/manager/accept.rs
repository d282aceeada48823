//! Accepting jobs.

use metrics::counter;
use tempfile::NamedTempFile;

use super::reservation::JobReservation;
use super::{Jobs, RunningJob, StartedJob, stored};
use crate::error::JobsError;
use crate::pipeline::{Checkpoint, PipelineError, Prepared};
use crate::request::JobRequest;
use crate::spool::SpooledBytes;
use crate::store::{Inserted, JobId, NewJob, NewWebhook, unix_ms};
use auris_core::metrics as names;
use auris_scheduler::Ticket;

/// A job to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// Its reserved room.
    pub reservation: JobReservation,
    /// Its audio, at its start.
    pub upload: NamedTempFile,
    /// Its share of the quota.
    pub bytes: SpooledBytes,
    /// What is asked for.
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
        let Submission { mut reservation, upload, bytes, mut request, ticket, .. } = submission;
        let audio = upload.as_file().try_clone();
        let audio = audio.map_err(|error| PipelineError::Audio(error.into()))?;
        let prepared = self.inner.pipeline.prepare(audio, request.transcription.clone()).await?;
        // An alias may mean something else after a restart.
        request.transcription.model = prepared.model_name().map(str::to_owned);
        let (id, owner) = (reservation.id, reservation.running.owner.clone());
        let job = NewJob {
            id,
            owner: owner.clone(),
            request_json: stored::json(&request),
            created_at_ms: unix_ms(),
            audio_seconds: prepared.estimated_seconds(),
            idempotency_key: submission.idempotency_key,
            fingerprint: submission.fingerprint,
            webhook: submission.webhook,
        };
        self.inner.spool.keep(upload, &job).await?;
        match self.inner.store.insert(job).await? {
            Inserted::New => {}
            Inserted::Same(stored) => return Ok(stored.id),
            Inserted::Reused => return Err(JobsError::KeyReused),
        }
        reservation.has_row = true;
        let started = match self.inner.spool.accept(id, bytes).await {
            Ok(()) => self.start_now(&reservation.running, prepared, ticket).await,
            Err(error) => Err(error.into()),
        };
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                self.withdraw(&owner, id).await;
                return Err(error);
            }
        };
        counter!(names::JOBS, "state" => "accepted").increment(1);
        tokio::spawn(self.clone().run(id, reservation.keep(), started));
        Ok(id)
    }

    /// Starts a job whose client waits, or that need not wait for its turn. The file of any other
    /// job is closed until then.
    async fn start_now(
        &self,
        running: &RunningJob,
        prepared: Prepared,
        ticket: Option<Ticket>,
    ) -> Result<Option<StartedJob>, JobsError> {
        if let Some(ticket) = ticket {
            let transcription = prepared.start(ticket).await?;
            return Ok(Some(StartedJob { transcription, _turn: None }));
        }
        let Some(turn) = self.turns().try_take(&running.caller) else { return Ok(None) };
        // A server that shuts down continues it at its next start.
        let Ok(ticket) = self.inner.pipeline.scheduler.admit_background().await else {
            return Ok(None);
        };
        let transcription = prepared.resume(ticket, Checkpoint::default());
        Ok(Some(StartedJob { transcription, _turn: Some(turn) }))
    }
}
