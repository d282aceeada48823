//! The task of an unfinished job: runs it to its end, with as many attempts as it takes.

use std::time::Duration;

use super::{Jobs, RunningJob, stored};
use crate::error::JobsError;
use crate::pipeline::{ApiFailure, Output, Step, Transcription};
use crate::progress::{End, ProgressPublisher};
use crate::request::JobRequest;
use crate::store::{JobId, Outcome, StoreError, unix_ms};
use auris_scheduler::Ticket;

/// The wait after an attempt that failed for a passing reason; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Jobs {
    /// Opens the audio of a job with a waiting client, if there is room.
    pub(super) async fn open(
        &self,
        id: JobId,
        request: &JobRequest,
        ticket: Ticket,
    ) -> Result<Transcription, JobsError> {
        let file = self.inner.spool.open_audio(id)?;
        Ok(self.inner.pipeline.open(request.input(file), ticket).await?)
    }

    /// Runs a job to its end. `opened` is its transcription if a client waits for it.
    pub(super) async fn run(self, id: JobId, running: RunningJob, opened: Option<Transcription>) {
        let leaving = TaskGuard { jobs: &self, id, live: &running.live };
        let interrupted = async {
            match running.attended {
                true => std::future::pending().await,
                false => self.inner.interrupted.cancelled().await,
            }
        };
        let end = tokio::select! {
            biased;
            () = running.cancelled.cancelled() => End::Cancelled,
            () = interrupted => End::Interrupted,
            end = self.attempts(id, &running, opened) => end,
        };
        let outcome = match &end {
            End::Finished(_) => Some(Outcome::Finished),
            // It may succeed when the client sends it again.
            End::Failed(fault) if running.attended && fault.may_pass() => None,
            End::Failed(fault) => Some(Outcome::Failed { error_json: stored::json(fault) }),
            End::Cancelled => Some(Outcome::Cancelled),
            End::Interrupted => None,
        };
        match outcome {
            Some(outcome) => self.settle_with_retry(&running.owner, id, outcome).await,
            None if matches!(end, End::Failed(_)) => self.discard(&running.owner, id).await,
            None => {}
        }
        running.live.end(end);
        drop(leaving);
    }

    /// Deletes a job that the client has to send again.
    async fn discard(&self, owner: &str, id: JobId) {
        let deleted = self.inner.store.delete(owner, id).await.map_err(JobsError::from);
        let removed = self.inner.spool.remove(id).map_err(JobsError::from);
        if let Err(error) = deleted.and(removed) {
            tracing::warn!(job.id = %id, "a refused job is left over: {error}");
        }
    }

    async fn attempts(
        &self,
        id: JobId,
        running: &RunningJob,
        mut opened: Option<Transcription>,
    ) -> End {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt(id, running, opened.take()).await {
                Ok(output) => return End::Finished(output.into()),
                Err(error) => error,
            };
            let refused = matches!(error, JobsError::Pipeline(_)) && running.attended;
            if !error.may_pass() || refused {
                return End::Failed(error.fault());
            }
            tracing::warn!(job.id = %id, pause_s = pause.as_secs(), "a job waits: {error}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(
        &self,
        id: JobId,
        running: &RunningJob,
        opened: Option<Transcription>,
    ) -> Result<Output, JobsError> {
        let (mut transcription, _turn) = match opened {
            Some(transcription) => (transcription, None),
            None => {
                // Enough to keep every slot busy: one for each, and one that is being opened.
                self.inner.fair_semaphore.widen(self.inner.pipeline.scheduler.slots() + 1);
                let turn = self.inner.fair_semaphore.take(&running.caller).await;
                (self.resume(id, &running.owner).await?, Some(turn))
            }
        };
        if !self.inner.store.mark_running(id, unix_ms()).await? {
            return Err(StoreError::Gone(id).into());
        }
        running.live.begin();
        while let Some(step) = transcription.next().await? {
            // Recorded before it is published: what is not stored would be redone after a restart.
            self.record(id, &step).await?;
            running.live.push(&step, transcription.progress());
        }
        let output = transcription.finish();
        // Removes chunks of an earlier version that cut the file into more of them.
        self.inner.store.trim_chunks(id, output.transcript.runs.len()).await?;
        self.inner.store.set_audio_seconds(id, output.transcript.duration).await?;
        Ok(output)
    }

    /// Opens a job after its last finished chunk.
    async fn resume(&self, id: JobId, owner: &str) -> Result<Transcription, JobsError> {
        let stored = self.inner.store.get(owner, id).await?.ok_or(StoreError::Gone(id))?;
        let recall = self.recall(&stored).await?;
        if recall.route.as_ref().is_some_and(|route| !self.inner.pipeline.can_resume(route)) {
            // Another model starts from the beginning: texts of two models must not mix.
            self.inner.store.trim_chunks(id, 0).await?;
        }
        let file = self.inner.spool.open_audio(id)?;
        let input = stored::request(&stored)?.input(file);
        Ok(self.inner.pipeline.resume(input, recall).await?)
    }

    async fn record(&self, id: JobId, step: &Step) -> Result<(), JobsError> {
        match step {
            Step::Routed(route) => self.inner.store.set_route(id, stored::json(route)).await?,
            // An earlier version may have cut the file differently and stored other chunks here.
            Step::Chunk { result, recalled: false } => {
                self.inner.store.put_chunk(id, &stored::chunk(result)).await?;
            }
            Step::Chunk { .. } => {}
        }
        Ok(())
    }
}

/// Runs when a job's task ends, even by a panic: nothing waits for it any more.
struct TaskGuard<'a> {
    jobs: &'a Jobs,
    id: JobId,
    live: &'a ProgressPublisher,
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        self.live.end(End::Interrupted);
        self.jobs.forget(self.id);
    }
}

impl JobsError {
    /// The fault to report for a job that failed with this error.
    fn fault(&self) -> ApiFailure {
        match self {
            Self::Pipeline(error) => error.into(),
            error => ApiFailure::internal(error),
        }
    }
}
