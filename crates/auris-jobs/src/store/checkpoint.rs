//! Moves commits from the write-ahead log into the database file.
//!
//! A commit is safe from a power cut once it is in the log, but random damage to the log loses it:
//! SQLite then replays what comes before the damage, over newer pages of the database file. What is
//! deleted elsewhere because of a commit must wait until the commit is in the file and the log is
//! empty. SQLite's own checkpoints leave a full log behind, so they are off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Row;
use tokio::sync::Mutex;

use super::{JobStore, StoreError};

/// The pause before the next attempt while a foreign reader needs the log. A backup may take
/// minutes.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets callers share checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// How many were asked for.
    requested: AtomicU64,
    /// How many of these are done. Held during a checkpoint.
    done: Mutex<u64>,
}

impl JobStore {
    /// Returns once everything that was committed before the call is in the database file, and in
    /// no log. Calls at the same time share a checkpoint.
    pub(crate) async fn make_durable(&self) -> Result<(), StoreError> {
        let own = self.checkpoints.requested.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.checkpoints.done.lock().await;
        while *done < own {
            let requested = self.checkpoints.requested.load(Ordering::SeqCst);
            if self.empty_log().await? {
                *done = requested;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Moves the log into the database file and empties it, unless a foreign reader needs it.
    /// Returns whether it is empty.
    pub(crate) async fn empty_log(&self) -> Result<bool, StoreError> {
        self.checkpoint().await.map_err(|error| self.failure(error))
    }

    async fn checkpoint(&self) -> Result<bool, sqlx::Error> {
        // Nobody else here uses the database meanwhile. The writer first: it may wait for a backup.
        let _writer = self.writer.acquire().await?;
        let mut readers = Vec::new();
        for _ in 0..self.readers.options().get_max_connections() {
            readers.push(self.readers.acquire().await?);
        }
        let query = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        let row = query.fetch_one(&self.checkpointer).await?;
        Ok(row.try_get::<i64, _>("busy")? == 0)
    }
}
