//! The database of jobs: their requests, progress and results.
//!
//! One SQLite file in a folder that belongs to one process at a time. Requests, results and errors
//! are stored as text that only the caller interprets. The audio is in the [spool](super::spool).
//! All SQL is in this folder. Runs in the server process.

mod error;
mod job;
// the database file
mod open;
mod row;
// the queries
mod chunks;
mod deliveries;
mod jobs;
mod retention;
mod checkpoint;

#[cfg(test)]
pub(super) mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sqlx::SqlitePool;
use tokio::sync::Notify;

pub use job::{JobId, JobState};

use checkpoint::Checkpoints;

pub(crate) use deliveries::{Delivery, Excluded};
pub(crate) use error::StoreError;
pub(crate) use job::{
    DeliveryReport, DeliveryState, Inserted, JobOutcome, NewDelivery, NewJob, NewWebhook,
    StoredChunk, StoredJob, unix_ms,
};

/// A handle on the database. Clones share it; dropping the last one releases the folder.
#[derive(Debug, Clone)]
pub(crate) struct JobStore {
    /// One connection: SQLite has one writer at a time.
    writer: SqlitePool,
    /// Several read-only connections: readers do not block the writer.
    readers: SqlitePool,
    /// One connection that waits for nobody.
    checkpointer: SqlitePool,
    path: PathBuf,
    checkpoints: Arc<Checkpoints>,
    delivery_added: Arc<Notify>,
    /// Until when the uptime is stored.
    counted: Arc<Mutex<Instant>>,
    /// Held for as long as the folder is in use.
    _lock: Arc<File>,
}

impl JobStore {
    fn failure(&self, error: sqlx::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }
}
