//! The pipeline from a file to its transcript, and jobs that outlive their client.
//!
//! A request with a waiting client is a [`ClientTranscription`], which ends with its client. A job
//! is durable: its audio is in the spool and its finished chunks are in the store, so that it
//! continues after a crash of the server. This crate knows nothing of HTTP.

#![forbid(unsafe_code)]

pub mod pipeline;

mod error;
mod request;
// running transcriptions
mod progress;
mod run;
// durable state
pub mod spool;
pub mod store;
mod view;
mod manager;
// notifications
pub mod webhook;

pub use error::{JobsError, WebhookRefusal};
pub use manager::{Followed, JobSettings, Jobs, Place, Removed, Submission, WebhookSettings};
pub use progress::{End, ProgressState, ProgressSubscriber, ProgressUpdate};
pub use request::JobRequest;
pub use run::ClientTranscription;
pub use store::{JobId, JobState};
pub use view::{Job, JobError, JobWebhook, percent};
