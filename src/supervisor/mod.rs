//! Starts worker processes, talks to them, and explains how they ended. Parent side.
//!
//! A worker here is one process with one model on one device. When to start one and what to do
//! about its end is the scheduler's business.

mod backoff;
pub mod detect;
mod ending;
mod process;

pub use backoff::restart_delay;
pub use ending::{EndKind, Ending};
#[cfg(test)]
pub(crate) use process::ToWorker;
pub use process::{StartLimits, WorkerEvent, WorkerHandle, WorkerProgram, start};
