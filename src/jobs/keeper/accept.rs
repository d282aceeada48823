//! Accepting jobs.

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::{Jobs, Running, Submission, Submitted};
use crate::jobs::error::JobsError;
use crate::jobs::live::Live;
use crate::jobs::request::JobRequest;
use crate::jobs::store::{Inserted, JobId, NewJob, unix_ms};
use crate::metrics as names;
use crate::pipeline::{PipelineError, Transcription};
use crate::scheduler::Ticket;

impl Jobs {
    /// Accepts a job. Once this returns, it outlives the process.
    ///
    /// # Errors
    /// [`JobsError`]: the request cannot be done, or not now.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, JobsError> {
        let jobs = self.clone();
        // In a task of its own: a client that leaves must not leave a job half accepted.
        tokio::spawn(async move { jobs.accept(submission).await }).await?
    }

    async fn accept(self, submission: Submission) -> Result<Submitted, JobsError> {
        let Submission { upload, request, owner, ticket, .. } = submission;
        let file = upload.reopen().map_err(|error| PipelineError::Audio(error.into()))?;
        let input = request.input(file);
        let audio_seconds = self.inner.pipeline.inspect(input).await?;
        let request_json = serde_json::to_string(&request)
            .expect("strings, numbers and lists of them always serialise");

        let id = JobId::new();
        let running = Running {
            owner: owner.clone(),
            attended: ticket.is_some(),
            live: Live::new(),
            cancelled: CancellationToken::new(),
        };
        self.register(id, running.clone())?;
        let registered = Registered { jobs: &self, id, kept: false };
        self.inner.spool.keep(upload, id).await?;
        let inserted = self.inner.store.insert(NewJob {
            id,
            owner: owner.clone(),
            request_json,
            created_at_ms: unix_ms(),
            audio_seconds,
            idempotency_key: submission.idempotency_key,
            fingerprint: submission.fingerprint,
            webhook: submission.webhook,
        });
        match inserted.await? {
            Inserted::New => {}
            Inserted::Same(stored) => return Ok(Submitted::Same(stored.id)),
            Inserted::Reused => return Err(JobsError::KeyReused),
        }
        let opened = match ticket {
            Some(ticket) => match self.open(id, &request, ticket).await {
                Ok(transcription) => Some(transcription),
                Err(error) => {
                    self.inner.store.delete(&owner, id).await?;
                    return Err(error);
                }
            },
            None => None,
        };
        registered.keep();
        counter!(names::JOBS, "state" => "accepted").increment(1);
        tokio::spawn(self.clone().run(id, running, opened));
        Ok(Submitted::New(id))
    }

    async fn open(
        &self,
        id: JobId,
        request: &JobRequest,
        ticket: Ticket,
    ) -> Result<Transcription, JobsError> {
        let file = self.inner.spool.open_audio(id)?;
        Ok(self.inner.pipeline.open(request.input(file), ticket).await?)
    }

    fn register(&self, id: JobId, running: Running) -> Result<(), JobsError> {
        let unfinished = self.unfinished();
        let most = self.inner.settings.most_unfinished;
        if unfinished.len() >= most {
            return Err(JobsError::Full { unfinished: unfinished.len() });
        }
        let own = unfinished.values().filter(|other| other.owner == running.owner).count();
        // Without keys everybody is the same owner.
        let share = (most as f64 * self.inner.settings.owner_share).ceil() as usize;
        if !running.owner.is_empty() && own >= share {
            return Err(JobsError::Share { unfinished: own });
        }
        drop(unfinished);
        self.begin(id, running);
        Ok(())
    }
}

/// A job that is forgotten again unless it is kept, with its audio.
struct Registered<'a> {
    jobs: &'a Jobs,
    id: JobId,
    kept: bool,
}

impl Registered<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.jobs.forget(self.id);
        if let Err(error) = self.jobs.inner.spool.remove(self.id) {
            tracing::warn!(job.id = %self.id, "audio of a refused job is left over: {error}");
        }
    }
}
