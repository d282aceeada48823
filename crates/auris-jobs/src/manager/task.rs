//! The task of an unfinished job: runs it to its end, with as many attempts as it takes.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use futures_util::FutureExt;

use super::{Jobs, RunMode, RunningJob, StartedJob, stored};
use crate::error::JobsError;
use crate::pipeline::{ApiFailure, PipelineError, Step, Transcription, TranscriptionOutput};
use crate::progress::{ProgressPublisher, TranscriptionEnd};
use crate::store::{JobId, JobOutcome, StoreError, unix_ms};
use auris_core::recording::DecodedAudio;
use auris_core::transcript::Transcript;

/// The wait after an attempt that failed for a passing reason; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a job is tried that fails in a way that may be the file's doing or the machine's.
const MOST_DOUBTFUL: u32 = 2;

impl Jobs {
    /// Runs a job to its end.
    pub(super) async fn run(self, id: JobId, running: RunningJob, started: Option<StartedJob>) {
        let guard = TaskGuard { jobs: &self, id, publisher: &running.publisher };
        let interrupted = async {
            match running.mode {
                RunMode::Attended => std::future::pending().await,
                RunMode::Background => self.inner.interrupted.cancelled().await,
            }
        };
        let end = tokio::select! {
            biased;
            () = running.cancelled.cancelled() => TranscriptionEnd::Cancelled,
            () = interrupted => TranscriptionEnd::Interrupted,
            end = self.attempts(id, &running, started) => end,
        };
        let outcome = match &end {
            TranscriptionEnd::Finished(_) => Some(JobOutcome::Finished),
            TranscriptionEnd::Failed(failure) => {
                Some(JobOutcome::Failed { error_json: stored::json(failure) })
            }
            TranscriptionEnd::Cancelled => Some(JobOutcome::Cancelled),
            TranscriptionEnd::Interrupted => None,
        };
        let may_pass = matches!(&end, TranscriptionEnd::Failed(failure) if failure.may_pass());
        let has_ended = match outcome {
            // It may succeed when the client sends it again.
            Some(_) if may_pass && running.mode == RunMode::Attended => {
                self.withdraw(&running.owner, id).await;
                false
            }
            Some(outcome) => self.settle_with_retry(&running.owner, id, outcome).await,
            None => false,
        };
        let may_be_retried = matches!(
            &end, TranscriptionEnd::Failed(failure) if failure.code.may_be_servers_fault()
        );
        if has_ended && matches!(end, TranscriptionEnd::Cancelled) {
            self.remove_audio(id).await;
        }
        running.publisher.end(end);
        drop(guard);
        if has_ended && !may_be_retried {
            self.release_audio(id).await;
        }
    }

    async fn attempts(
        &self,
        id: JobId,
        running: &RunningJob,
        mut started: Option<StartedJob>,
    ) -> TranscriptionEnd {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        let mut stall = Stall::default();
        let mut doubtful = 0;
        let refused = |error: &JobsError| {
            matches!(error, JobsError::Pipeline(_)) && running.mode == RunMode::Attended
        };
        let output = (|| {
            let started = started.take();
            async move {
                // What panics is at worst this job, and never leaves it without an end.
                let attempt = AssertUnwindSafe(self.attempt(id, running, started));
                attempt.catch_unwind().await.unwrap_or(Err(JobsError::Panicked))
            }
        })
        .retry(pauses)
        .when(|error: &JobsError| {
            let stalled = stall.failed(Instant::now(), running.publisher.done_samples());
            if stalled > self.inner.settings.retention || refused(error) {
                return false;
            }
            doubtful += u32::from(error.is_doubtful());
            error.may_pass() || error.is_doubtful() && doubtful < MOST_DOUBTFUL
        })
        .notify(|error, pause| {
            tracing::warn!(job.id = %id, pause_s = pause.as_secs(), "a job waits: {error}");
        });
        match output.await {
            Ok(output) => TranscriptionEnd::Finished(output.into()),
            Err(error) => TranscriptionEnd::Failed(error.failure()),
        }
    }

    async fn attempt(
        &self,
        id: JobId,
        running: &RunningJob,
        started: Option<StartedJob>,
    ) -> Result<TranscriptionOutput, JobsError> {
        let StartedJob { transcription, _turn } = match started {
            Some(started) => started,
            None => {
                let turn = self.turns().take(&running.caller).await;
                let transcription = self.resume(id, &running.owner).await?;
                StartedJob { transcription, _turn: Some(turn) }
            }
        };
        if !self.inner.store.mark_running(id, unix_ms()).await? {
            return Err(StoreError::Gone(id).into());
        }
        running.publisher.begin();
        let output = transcription.run(|step, progress| async move {
            // Recorded before it is published: what is not stored would be redone after a restart.
            self.record(id, &step).await?;
            running.publisher.push(step, progress);
            Ok::<_, JobsError>(())
        });
        let output = output.await?;
        // Removes chunks of an earlier version that cut the file into more of them.
        self.inner.store.trim_chunks(id, output.transcript.runs.len()).await?;
        let Transcript { duration, start_offset, losses, .. } = output.transcript;
        let decoded = stored::json(&DecodedAudio { duration, start_offset, losses });
        self.inner.store.set_decoded(id, duration, decoded).await?;
        Ok(output)
    }

    /// Opens a job after its last finished chunk.
    async fn resume(&self, id: JobId, owner: &str) -> Result<Transcription, JobsError> {
        let pipeline = &self.inner.pipeline;
        let stored = self.inner.store.get(owner, id).await?.ok_or(StoreError::Gone(id))?;
        let checkpoint = self.checkpoint(&stored).await?;
        if checkpoint.route.as_ref().is_some_and(|route| !pipeline.can_resume(route)) {
            // Another model starts from the beginning: texts of two models must not mix.
            self.inner.store.trim_chunks(id, 0).await?;
        }
        let audio = self.inner.spool.open_audio(id).await?;
        let request = stored::request(&stored)?.transcription;
        let prepared = pipeline.prepare(audio, request).await?;
        let ticket = pipeline.scheduler.admit_background().await.map_err(PipelineError::from)?;
        Ok(prepared.resume(ticket, checkpoint))
    }

    async fn record(&self, id: JobId, step: &Step) -> Result<(), JobsError> {
        match step {
            Step::Routed(route) => {
                self.inner.store.set_route(id, stored::json(route.as_ref())).await?;
            }
            // An earlier version may have cut the file differently and stored other chunks here.
            Step::Chunk { result, from_checkpoint: false } => {
                self.inner.store.put_chunk(id, &stored::chunk(result)).await?;
            }
            Step::Chunk { .. } => {}
        }
        Ok(())
    }
}

/// Failures without progress in between.
#[derive(Debug, Default)]
struct Stall {
    since: Option<Instant>,
    done_samples: u64,
}

impl Stall {
    /// Notes a failure, and returns the time since the first one that had so many samples done.
    fn failed(&mut self, now: Instant, done_samples: u64) -> Duration {
        if done_samples > self.done_samples {
            *self = Self { since: None, done_samples };
        }
        now.duration_since(*self.since.get_or_insert(now))
    }
}

/// Runs when a job's task ends, even by a panic: nothing waits for it any more.
struct TaskGuard<'a> {
    jobs: &'a Jobs,
    id: JobId,
    publisher: &'a ProgressPublisher,
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        self.publisher.end(TranscriptionEnd::Interrupted);
        self.jobs.forget(self.id, self.publisher);
    }
}

impl JobsError {
    /// The failure to report for a job that failed with this error.
    fn failure(&self) -> ApiFailure {
        match self {
            Self::Pipeline(error) => error.into(),
            error => match error.shortage() {
                Some(shortage) => (&shortage).into(),
                None => ApiFailure::internal(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_without_progress_use_up_a_jobs_time() {
        let mut stall = Stall::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut failed = |seconds, done| stall.failed(after(seconds), done).as_secs();
        assert_eq!(failed(1_000, 0), 0, "it waited until then");
        assert_eq!(failed(1_060, 0), 60);
        assert_eq!(failed(2_000, 16_000), 0, "a chunk was stored");
        assert_eq!(failed(2_060, 16_000), 60);
    }
}
