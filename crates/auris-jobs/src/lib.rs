//! The pipeline from a file to its transcript, and jobs that outlive their client.
//!
//! A request with a waiting client is a [`ClientTranscription`], which ends with its client. A job
//! is durable: its audio is in the spool and its finished chunks are in the store, so that it
//! continues after a crash of the server. This crate knows nothing of HTTP.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "not published; comments carry what names and messages do not say")]

pub mod pipeline;

mod error;
mod request;
// running transcriptions
mod progress;
mod run;
// durable state
mod spool;
mod store;
mod view;
mod manager;
// notifications
mod webhook;

pub use error::JobsError;
pub use manager::{
    JobReservation, JobSettings, JobSubscription, Jobs, RecoveredJob, Recovery, Removed, RunMode,
    Submission,
};
pub use progress::{ProgressSubscriber, ProgressUpdate, TranscriptionEnd};
pub use request::JobRequest;
pub use run::ClientTranscription;
pub use spool::{QuotaError, SpooledBytes};
pub use store::{JobId, JobState};
pub use view::{Job, JobWebhook, percent};
pub use webhook::{Secret, WebhookRefusal, WebhookSettings};
