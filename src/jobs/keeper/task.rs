//! An unfinished job's task: from its turn to its end, as often as it takes.

use std::time::Duration;

use super::{Jobs, Running, stored};
use crate::jobs::error::JobsError;
use crate::jobs::live::{End, Live};
use crate::jobs::request::JobRequest;
use crate::jobs::store::{JobId, Outcome, StoreError, unix_ms};
use crate::pipeline::{Fault, Output, Step, Transcription};
use crate::scheduler::Ticket;

/// The wait after an attempt that failed for what may pass, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Jobs {
    /// Opens the audio of a job that somebody waits for, if there is room.
    pub(super) async fn open(
        &self,
        id: JobId,
        request: &JobRequest,
        ticket: Ticket,
    ) -> Result<Transcription, JobsError> {
        let file = self.inner.spool.open_audio(id)?;
        Ok(self.inner.pipeline.open(request.input(file), ticket).await?)
    }

    /// Sees a job to its end. `opened` is its transcription if somebody waits for it.
    pub(super) async fn run(self, id: JobId, running: Running, opened: Option<Transcription>) {
        let leaving = Leaving { jobs: &self, id, live: &running.live };
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
            // What cannot be had now may be had when its sender comes again.
            End::Failed(fault) if running.attended && fault.may_pass() => None,
            End::Failed(fault) => Some(Outcome::Failed { error_json: stored::json(fault) }),
            End::Cancelled => Some(Outcome::Cancelled),
            End::Interrupted => None,
        };
        match outcome {
            Some(outcome) => self.settle_at_last(&running.owner, id, outcome).await,
            None if matches!(end, End::Failed(_)) => self.disown(&running.owner, id).await,
            None => {}
        }
        running.live.end(end);
        drop(leaving);
    }

    /// Forgets a job that its sender is told to send again.
    async fn disown(&self, owner: &str, id: JobId) {
        let deleted = self.inner.store.delete(owner, id).await.map_err(JobsError::from);
        let removed = self.inner.spool.remove(id).map_err(JobsError::from);
        if let Err(error) = deleted.and(removed) {
            tracing::warn!(job.id = %id, "a refused job is left over: {error}");
        }
    }

    async fn attempts(
        &self,
        id: JobId,
        running: &Running,
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
        running: &Running,
        opened: Option<Transcription>,
    ) -> Result<Output, JobsError> {
        let (mut transcription, _turn) = match opened {
            Some(transcription) => (transcription, None),
            None => {
                // As many as keep every slot busy: one for each, and one that is being opened.
                self.inner.turns.widen(self.inner.pipeline.scheduler.slots() + 1);
                let turn = self.inner.turns.take(&running.caller).await;
                (self.resume(id, &running.owner).await?, Some(turn))
            }
        };
        if !self.inner.store.mark_running(id, unix_ms()).await? {
            return Err(StoreError::Gone(id).into());
        }
        running.live.begin();
        while let Some(step) = transcription.next().await? {
            // Nobody hears of what would be done again after a restart.
            self.record(id, &step).await?;
            running.live.hear(&step, transcription.progress());
        }
        let output = transcription.finish();
        // Chunks of an earlier version that cut the file into more of them.
        self.inner.store.trim_chunks(id, output.transcript.runs.len()).await?;
        self.inner.store.set_audio_seconds(id, output.transcript.duration).await?;
        Ok(output)
    }

    /// Opens a job at its last finished chunk.
    async fn resume(&self, id: JobId, owner: &str) -> Result<Transcription, JobsError> {
        let stored = self.inner.store.get(owner, id).await?.ok_or(StoreError::Gone(id))?;
        let recall = self.recall(&stored).await?;
        if recall.route.as_ref().is_some_and(|route| !self.inner.pipeline.can_resume(route)) {
            // Another model begins anew: texts of both must not mix.
            self.inner.store.trim_chunks(id, 0).await?;
        }
        let file = self.inner.spool.open_audio(id)?;
        let input = stored::request(&stored)?.input(file);
        Ok(self.inner.pipeline.resume(input, recall).await?)
    }

    async fn record(&self, id: JobId, step: &Step) -> Result<(), JobsError> {
        match step {
            Step::Routed(route) => self.inner.store.set_route(id, stored::json(route)).await?,
            // A file that an earlier version cut otherwise has other chunks in these places.
            Step::Chunk { result, recalled: false } => {
                self.inner.store.put_chunk(id, &stored::chunk(result)).await?;
            }
            Step::Chunk { .. } => {}
        }
        Ok(())
    }
}

/// A job's task that goes, were it by a panic: nobody waits for it any more.
struct Leaving<'a> {
    jobs: &'a Jobs,
    id: JobId,
    live: &'a Live,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.live.end(End::Interrupted);
        self.jobs.forget(self.id);
    }
}

impl JobsError {
    /// What is told of a job that failed so.
    fn fault(&self) -> Fault {
        match self {
            Self::Pipeline(error) => error.into(),
            error => Fault::internal(error),
        }
    }
}
