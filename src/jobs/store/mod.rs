//! The database of jobs: what was accepted, how far it is, and what came of it.
//!
//! One SQLite file in a folder that belongs to one process at a time. What requests, results and
//! errors mean is the caller's business: they are kept as text. The audio is in the
//! [spool](super::spool). All SQL is in this folder. Parent side.

mod error;
mod job;
// how it is kept
mod open;
mod row;
// what is asked of it
mod chunks;
mod deliveries;
mod jobs;

#[cfg(test)]
pub(super) mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::Notify;

pub use deliveries::{Delivery, Excluded};
pub use error::StoreError;
pub use job::{
    DeliveryReport, DeliveryState, Inserted, JobId, JobState, NewDelivery, NewJob, NewWebhook,
    Outcome, StoredChunk, StoredJob, unix_ms,
};

/// A handle on the database. Clones share it; the last one to go gives the folder free.
#[derive(Debug, Clone)]
pub struct Store {
    /// Of one connection: SQLite writes one thing at a time.
    writer: SqlitePool,
    /// Of several that cannot write: whoever asks keeps no writer waiting.
    readers: SqlitePool,
    path: PathBuf,
    delivery_added: Arc<Notify>,
    /// Held for as long as the folder is in use.
    _lock: Arc<File>,
}

impl Store {
    fn failure(&self, error: sqlx::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }
}
