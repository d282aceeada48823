//! What can go wrong with a job before it runs.

use super::spool::SpoolError;
use super::store::{JobId, StoreError};
use super::webhook::AddressError;
use crate::pipeline::{ApiFailure, PipelineError};

/// Why a job cannot be accepted or reported.
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
    /// The limit on unfinished jobs is reached.
    #[error("{unfinished} jobs are unfinished, and no more are accepted; try again later")]
    Full {
        /// How many there are.
        unfinished: usize,
    },
    /// The disk has no room for it.
    #[error("the server's disk has no room for more jobs; try again later")]
    DiskFull,
    /// The caller's share of unfinished jobs is used up.
    #[error("{unfinished} of your jobs are unfinished, and no more are accepted; try again later")]
    Share {
        /// How many there are.
        unfinished: usize,
    },
    /// An internal error: a task panicked.
    #[error("work on a job broke off: {0}")]
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
    /// The stored job was written by another version.
    #[error("what is stored of job {job} cannot be read: {source}")]
    Unreadable {
        /// The job.
        job: JobId,
        /// Why.
        source: serde_json::Error,
    },
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

/// A job's webhook cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum WebhookRefusal {
    /// No signing secret is configured.
    #[error(
        "this server calls no webhooks: set its AURIS_WEBHOOK_SECRET, or ask for the job instead"
    )]
    Off,
    /// The address must not be called.
    #[error(transparent)]
    Address(#[from] AddressError),
}
