//! Transcriptions as others see them: followed while they run, and jobs that outlive their client.
//!
//! A request that somebody waits for is [`Attended`]: it ends with its client. A job is kept: its
//! audio is in the spool and its finished chunks in the store, so that it goes on after the death
//! of the server. Knows no HTTP, and what a job is asked for is the pipeline's business.

mod error;
mod request;
// while they run
mod live;
mod run;
// what is kept of them
pub mod spool;
pub mod store;
mod view;
mod keeper;
// who is told
pub mod webhook;

pub use error::{JobsError, WebhookRefusal};
pub use keeper::{Followed, JobSettings, Jobs, Place, Removed, Submission, WebhookSettings};
pub use live::{End, Follower, News, Story};
pub use request::JobRequest;
pub use run::Attended;
pub use store::{JobId, JobState};
pub use view::{Job, JobError, JobWebhook, percent};
