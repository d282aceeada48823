//! Transcriptions with a waiting client.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::progress::{End, ProgressPublisher, ProgressSubscriber};
use crate::pipeline::{ApiFailure, Output, PipelineError, Transcription};

/// A transcription with a waiting client. Dropping it cancels what is unfinished.
#[derive(Debug)]
pub struct ClientTranscription {
    live: ProgressPublisher,
    _task: AbortOnDropHandle<()>,
}

impl ClientTranscription {
    /// Runs `transcription` in a task of its own.
    pub fn start(transcription: Transcription) -> Self {
        let live = ProgressPublisher::new();
        let story = live.clone();
        let run = async move {
            let end = match drive(transcription, &story).await {
                Ok(output) => End::Finished(output.into()),
                Err(error) => End::Failed((&error).into()),
            };
            story.end(end);
        };
        Self { live, _task: AbortOnDropHandle::new(tokio::spawn(run)) }
    }

    /// Subscribes to it from its start.
    pub fn follow(&self) -> ProgressSubscriber {
        self.live.follow()
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn output(self) -> Result<Arc<Output>, ApiFailure> {
        match self.follow().end().await {
            End::Finished(output) => Ok(output),
            End::Failed(fault) => Err(fault),
            End::Cancelled | End::Interrupted => {
                Err(ApiFailure::internal(&"a transcription broke off"))
            }
        }
    }
}

async fn drive(
    mut transcription: Transcription,
    live: &ProgressPublisher,
) -> Result<Output, PipelineError> {
    while let Some(step) = transcription.next().await? {
        live.push(&step, transcription.progress());
    }
    Ok(transcription.finish())
}
