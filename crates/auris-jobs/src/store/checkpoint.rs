//! Moves commits from the write-ahead log into the database file.
//!
//! A commit is safe from a power cut once it is in the log, but random damage to the log loses it.
//! What is deleted elsewhere because of a commit must wait until the commit is in the database file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Row;
use tokio::sync::Mutex;

use super::{JobStore, StoreError};

/// The pause before the next attempt while a reader still needs the log. A backup may take minutes.
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
    /// Returns once everything that was committed before the call is in the database file. Calls at
    /// the same time share a checkpoint.
    pub(crate) async fn make_durable(&self) -> Result<(), StoreError> {
        let own = self.checkpoints.requested.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.checkpoints.done.lock().await;
        while *done < own {
            let requested = self.checkpoints.requested.load(Ordering::SeqCst);
            if self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await? {
                *done = requested;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Empties the log, unless a reader still needs it.
    pub(crate) async fn truncate_wal(&self) -> Result<(), StoreError> {
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await.map(drop)
    }

    /// Returns whether all of the log was moved.
    async fn checkpoint(&self, pragma: &'static str) -> Result<bool, StoreError> {
        let read = async {
            let row = sqlx::query(pragma).fetch_one(&self.writer).await?;
            let (blocked, in_log, moved): (i64, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(blocked == 0 && in_log == moved)
        };
        read.await.map_err(|error| self.failure(error))
    }
}
