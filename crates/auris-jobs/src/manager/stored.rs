//! Reads jobs back from the store: to resume them, and to report them.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Jobs;
use crate::error::JobsError;
use crate::pipeline::{self, ApiFailure, Checkpoint, ChunkResult, TranscriptionProgress};
use crate::progress::{ProgressState, TranscriptionEnd};
use crate::request::JobRequest;
use crate::store::{JobId, JobState, StoredChunk, StoredJob, unix_ms};

impl Jobs {
    /// The checkpoint from which a job can continue.
    pub(super) async fn checkpoint(&self, stored: &StoredJob) -> Result<Checkpoint, JobsError> {
        // The semaphore is never closed.
        let _reader = self.inner.readers.acquire().await;
        let id = stored.id;
        let route = stored.route_json.as_deref().map(|json| read(id, json)).transpose()?;
        let chunks = self.inner.store.chunks(id).await?;
        let parse = move || chunks.iter().map(|chunk| read(id, &chunk.result_json)).collect();
        let chunks: Result<Vec<ChunkResult>, JobsError> =
            tokio::task::spawn_blocking(parse).await?;
        Ok(Checkpoint { route, chunks: chunks? })
    }

    /// The progress of a job that is not running.
    pub(super) async fn stored_state(
        &self,
        stored: &StoredJob,
    ) -> Result<ProgressState, JobsError> {
        let Checkpoint { route, chunks } = self.checkpoint(stored).await?;
        let chunks: Vec<Arc<ChunkResult>> = chunks.into_iter().map(Arc::new).collect();
        let end = match (stored.state, &route) {
            (JobState::Finished, Some(route)) => {
                let task = request(stored)?.transcription.options.task;
                let output = pipeline::output(task, route, &chunks, stored.decoded());
                TranscriptionEnd::Finished(output.into())
            }
            (JobState::Failed, _) => TranscriptionEnd::Failed(failure(stored)),
            (JobState::Cancelled, _) => TranscriptionEnd::Cancelled,
            _ => TranscriptionEnd::Interrupted,
        };
        let progress = TranscriptionProgress {
            done_seconds: stored.done_seconds(route.as_ref().map_or(1, |own| own.parts.signals())),
            total_seconds: stored.audio_seconds,
        };
        Ok(ProgressState::from_stored(route.map(Arc::new), chunks, progress, end))
    }
}

pub(super) fn request(stored: &StoredJob) -> Result<JobRequest, JobsError> {
    read(stored.id, &stored.request_json)
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and finite numbers always serialise")
}

fn read<T: DeserializeOwned>(job: JobId, json: &str) -> Result<T, JobsError> {
    serde_json::from_str(json).map_err(|source| JobsError::Unreadable { job, source })
}

/// A finished chunk in its stored form.
pub(super) fn chunk(result: &ChunkResult) -> StoredChunk {
    StoredChunk {
        index: u32::try_from(result.index).unwrap_or(u32::MAX),
        start_sample: result.start_sample,
        samples: result.samples,
        result_json: json(result),
        done_at_ms: unix_ms(),
    }
}

pub(super) fn failure(stored: &StoredJob) -> ApiFailure {
    let read = stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
    read.unwrap_or_else(|| {
        ApiFailure::internal(&format!("job {} failed without a reason", stored.id))
    })
}
