//! What can go wrong with a job before it runs.

use super::spool::SpoolError;
use super::store::{JobId, StoreError};
use super::webhook::AddressError;
use crate::pipeline::{Fault, PipelineError};

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
    /// The disk has no room for it.
    #[error("the server's disk has no room for more jobs; try again later")]
    DiskFull,
    /// As many jobs of one caller are unfinished as may be.
    #[error("{unfinished} of your jobs are unfinished, and no more are accepted; try again later")]
    Share {
        /// How many there are.
        unfinished: usize,
    },
    /// A fault of ours.
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
    /// What is stored of a job is of another version.
    #[error("what is stored of job {job} cannot be read: {source}")]
    Unreadable {
        /// The job.
        job: JobId,
        /// Why.
        source: serde_json::Error,
    },
}

impl JobsError {
    /// Whether the same may be done later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Pipeline(error) => Fault::from(error).may_pass(),
            Self::Store(error) => error.may_pass(),
            Self::Spool(error) => error.source.kind() != std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// A job's webhook cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum WebhookRefusal {
    /// There is nothing to sign with.
    #[error(
        "this server calls no webhooks: set its AURIS_WEBHOOK_SECRET, or ask for the job instead"
    )]
    Off,
    /// The address is not one to call.
    #[error(transparent)]
    Address(#[from] AddressError),
}
