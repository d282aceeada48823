//! An unfinished job's task: from its turn to its end, as often as it takes.

use std::time::Duration;

use super::{Jobs, Running, request, resume};
use crate::jobs::error::JobsError;
use crate::jobs::live::End;
use crate::jobs::store::{JobId, Outcome, StoreError, StoredChunk, unix_ms};
use crate::pipeline::{ChunkResult, Fault, Output, Step, Transcription};

/// The wait after an attempt that failed because nothing could run it, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Jobs {
    /// Sees a job to its end. `opened` is its transcription if somebody waits for it.
    pub(super) async fn run(self, id: JobId, running: Running, opened: Option<Transcription>) {
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
            End::Failed(fault) => Some(Outcome::Failed { error_json: json(fault) }),
            // Stored by who cancelled it, or left as it is for the next start.
            End::Cancelled | End::Interrupted => None,
        };
        if let Some(outcome) = outcome {
            // Audio that cannot be had now may be had when its sender comes again.
            let settled = match (&end, running.attended) {
                (End::Failed(fault), true) if fault.may_pass() => {
                    self.inner.store.delete(&running.owner, id).await.map(drop).map_err(Into::into)
                }
                _ => self.settle(&running.owner, id, outcome).await,
            };
            if let Err(error) = settled {
                tracing::error!(job.id = %id, "the end of a job cannot be stored, and it will be resumed at the next start: {error}");
            }
        }
        running.live.end(end);
        self.forget(id);
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
            match error {
                JobsError::Pipeline(error)
                    if Fault::from(&error).may_pass() && !running.attended =>
                {
                    tracing::warn!(job.id = %id, pause_s = pause.as_secs(), "a job waits: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                JobsError::Pipeline(error) => return End::Failed((&error).into()),
                error => return End::Failed(Fault::internal(&error)),
            }
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
                self.widen_turns();
                let turn = self.inner.turns.acquire().await.ok();
                (self.resume(id, &running.owner).await?, turn)
            }
        };
        self.inner.store.mark_running(id, unix_ms()).await?;
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
        let stored = self.inner.store.get(owner, id).await?;
        let stored = stored.ok_or(StoreError::Gone(id))?;
        let recall = resume::recall(&self.inner.store, &stored).await?;
        let file = self.inner.spool.open_audio(id)?;
        let input = request(&stored)?.input(file);
        Ok(self.inner.pipeline.resume(input, recall).await?)
    }

    async fn record(&self, id: JobId, step: &Step) -> Result<(), JobsError> {
        match step {
            Step::Routed(route) => self.inner.store.set_route(id, json(route)).await?,
            // A file that is cut otherwise than by an earlier version has chunks in others' places.
            Step::Chunk { result, recalled: false } => {
                self.inner.store.put_chunk(id, &stored(result)).await?;
            }
            Step::Chunk { .. } => {}
        }
        Ok(())
    }
}

fn stored(result: &ChunkResult) -> StoredChunk {
    StoredChunk {
        index: u32::try_from(result.index).unwrap_or(u32::MAX),
        start_sample: result.start_sample,
        samples: result.samples,
        result_json: json(&result.done),
        done_at_ms: unix_ms(),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers always serialise")
}
