//! Transcriptions that somebody waits for.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::live::{End, Follower, Live};
use crate::pipeline::{Fault, Output, PipelineError, Transcription};

/// A transcription that somebody waits for. Dropping it takes back what is unfinished.
#[derive(Debug)]
pub struct Attended {
    live: Live,
    _task: AbortOnDropHandle<()>,
}

impl Attended {
    /// Runs `transcription` in a task of its own.
    pub fn start(transcription: Transcription) -> Self {
        let live = Live::new();
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

    /// Hears it from its start.
    pub fn follow(&self) -> Follower {
        self.live.follow()
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn output(self) -> Result<Arc<Output>, Fault> {
        match self.follow().end().await {
            End::Finished(output) => Ok(output),
            End::Failed(fault) => Err(fault),
            End::Cancelled | End::Interrupted => Err(Fault::internal(&"a transcription broke off")),
        }
    }
}

async fn drive(mut transcription: Transcription, live: &Live) -> Result<Output, PipelineError> {
    while let Some(step) = transcription.next().await? {
        live.hear(&step, transcription.progress());
    }
    Ok(transcription.finish())
}
