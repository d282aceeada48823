//! What can go wrong with a job before it runs.

use super::spool::SpoolError;
use super::store::{JobId, StoreError};
use crate::pipeline::{ApiFailure, PipelineError};

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
    #[error("{unfinished} of your jobs are unfinished, and no more are accepted; try again later")]
    Share { unfinished: usize },
    /// An internal error: a task panicked.
    #[error("work on a job broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
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
            Self::Pipeline(error) => ApiFailure::from(error).may_pass(),
            Self::Store(error) => error.may_pass(),
            Self::Spool(error) => error.source.kind() != std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
