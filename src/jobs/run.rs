//! Runs transcriptions to their end, telling a [`Live`] story of each step.

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::live::{End, Follower, Live};
use crate::pipeline::{Fault, Output, PipelineError, Step, Transcription};

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
            let end = match drive(transcription, &story, async |_| Ok::<_, Infallible>(())).await {
                Ok(output) => End::Finished(output.into()),
                Err(RunError::Pipeline(error)) => End::Failed((&error).into()),
                Err(RunError::Record(never)) => match never {},
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

/// A run has no result.
#[derive(Debug)]
pub(super) enum RunError<E> {
    /// The transcription failed.
    Pipeline(PipelineError),
    /// A step could not be recorded.
    Record(E),
}

impl<E> From<PipelineError> for RunError<E> {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(error)
    }
}

/// Takes a transcription to its end. Each step is recorded before it is told.
pub(super) async fn drive<E>(
    mut transcription: Transcription,
    live: &Live,
    mut record: impl AsyncFnMut(&Step) -> Result<(), E>,
) -> Result<Output, RunError<E>> {
    while let Some(step) = transcription.next().await? {
        record(&step).await.map_err(RunError::Record)?;
        live.hear(&step, transcription.progress());
    }
    Ok(transcription.finish())
}
