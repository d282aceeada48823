//! Starts worker processes, talks to them, and explains how they exited. Runs in the server
//! process.
//!
//! A worker here is one process with one model on one device. The scheduler decides when to start
//! one and how to react to its exit.

pub mod detect;
mod command;
mod exit;
mod process;

pub use exit::{ExitKind, WorkerExit};
#[cfg(test)]
pub(crate) use process::ToWorker;
pub(crate) use process::start_on_pipes;
pub use process::{StartLimits, WorkerEvent, WorkerHandle, WorkerProgram, start};
