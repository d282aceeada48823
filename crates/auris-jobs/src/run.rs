//! Transcriptions with a waiting client.

use std::future::ready;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::progress::{ProgressPublisher, ProgressSubscriber, TranscriptionEnd};
use crate::pipeline::{ApiFailure, PipelineError, Transcription, TranscriptionOutput};

/// A transcription with a waiting client. Dropping it cancels what is unfinished.
#[derive(Debug)]
pub struct ClientTranscription {
    subscriber: ProgressSubscriber,
    _task: AbortOnDropHandle<()>,
}

impl ClientTranscription {
    /// Runs `transcription` in a task of its own.
    pub fn start(transcription: Transcription) -> Self {
        let publisher = ProgressPublisher::default();
        let subscriber = publisher.subscribe();
        let run = async move {
            let ended = transcription.run(|step, progress| {
                publisher.push(step, progress);
                ready(Ok::<_, PipelineError>(()))
            });
            publisher.end(match ended.await {
                Ok(output) => TranscriptionEnd::Finished(output.into()),
                Err(error) => TranscriptionEnd::Failed((&error).into()),
            });
        };
        Self { subscriber, _task: AbortOnDropHandle::new(tokio::spawn(run)) }
    }

    /// Subscribes to it from its start.
    pub fn subscribe(&self) -> ProgressSubscriber {
        self.subscriber.clone()
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn output(self) -> Result<Arc<TranscriptionOutput>, ApiFailure> {
        match self.subscriber.end().await {
            TranscriptionEnd::Finished(output) => Ok(output),
            TranscriptionEnd::Failed(failure) => Err(failure),
            TranscriptionEnd::Cancelled | TranscriptionEnd::Interrupted => {
                Err(ApiFailure::internal(&"a transcription ended without a result"))
            }
        }
    }
}
