//! What can go wrong with a job before it runs.

use super::spool::SpoolError;
use super::store::{JobId, StoreError};
use crate::pipeline::PipelineError;

/// A job cannot be accepted or told of.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The request itself cannot be done.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The idempotency key was used for another request.
    #[error(
        "this idempotency key belongs to a request with another file or other fields: send each \
         request with a key of its own"
    )]
    KeyReused,
    /// As many jobs are unfinished as may be.
    #[error("{unfinished} jobs are unfinished, and no more are accepted; try again later")]
    Full {
        /// How many there are.
        unfinished: usize,
    },
    /// As many jobs of one owner are unfinished as may be.
    #[error("{unfinished} of your jobs are unfinished, and no more are accepted; try again later")]
    Share {
        /// How many there are.
        unfinished: usize,
    },
    /// A fault of ours.
    #[error("accepting a job broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Webhooks cannot be called from this machine.
    #[error("webhooks cannot be called: {0}")]
    Webhooks(#[from] reqwest::Error),
    /// What is stored of a job is of another version.
    #[error("what is stored of job {job} cannot be read: {source}")]
    Unreadable {
        /// The job.
        job: JobId,
        /// Why.
        source: serde_json::Error,
    },
}
