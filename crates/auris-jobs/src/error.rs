//! What can go wrong with a job before it runs.

use super::spool::{QuotaError, SpoolError};
use super::store::{JobId, StoreError};
use crate::pipeline::{ApiFailure, PipelineError};
use auris_audio::AudioError;
use auris_core::shortage::Shortage;

/// Why a job cannot be accepted or reported.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(
        "this idempotency key belongs to a request with another file or other fields: send each \
         request with a key of its own"
    )]
    KeyReused,
    #[error("{unfinished} jobs are unfinished, and no more are accepted; try again later")]
    Full { unfinished: usize },
    #[error("the server's disk has no room for more jobs; try again later")]
    DiskFull,
    #[error(transparent)]
    Quota(#[from] QuotaError),
    #[error("the job cannot be run again: {0}")]
    NotRetryable(&'static str),
    #[error("{unfinished} of your jobs are unfinished, and no more are accepted; try again later")]
    Share { unfinished: usize },
    /// An internal error: a task panicked.
    #[error("work on a job broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
    #[error("a job panicked; the line before this one says why")]
    Panicked,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("webhooks cannot be called: {0}")]
    Webhooks(#[from] reqwest::Error),
    #[error("what is stored of job {job} cannot be read: {source}")]
    Unreadable { job: JobId, source: serde_json::Error },
}

impl JobsError {
    /// Whether the same call may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            _ if self.is_doubtful() => false,
            Self::Pipeline(error) => ApiFailure::from(error).may_pass(),
            Self::Store(error) => error.shortage().is_some(),
            Self::Spool(error) => error.source.kind() != std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether it may be the machine's doing, or the file's: the runtime panics where no thread can
    /// be started, a process that stands still for a while decodes too slowly, and a decoder is
    /// killed where memory is short.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Broken(_)
            | Self::Panicked
            | Self::Pipeline(PipelineError::Audio(AudioError::TooSlow)) => true,
            Self::Pipeline(PipelineError::Audio(AudioError::Io(error))) => {
                Shortage::of(error) == Some(Shortage::Decoder)
            }
            _ => false,
        }
    }

    /// What the server is short of; the same call may succeed later.
    pub fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::DiskFull => Some(Shortage::DiskSpace),
            Self::Store(error) => error.shortage(),
            Self::Spool(error) => error.shortage(),
            _ => None,
        }
    }
}
