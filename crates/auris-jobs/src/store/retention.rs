//! How long jobs are kept after their end, counted in time that the server has run.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::row;
use super::{JobId, JobStore, StoreError};

impl JobStore {
    /// Stores the time that the server has run since the last call.
    pub(crate) async fn count_uptime(&self) -> Result<(), StoreError> {
        let passed = self.uncounted();
        self.add_uptime(passed).await?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) += passed;
        Ok(())
    }

    /// The time that the server has run and that is not stored.
    pub(super) fn uncounted(&self) -> Duration {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) async fn add_uptime(&self, passed: Duration) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE uptime SET ms = ms + ?1").bind(milliseconds(passed));
        query.execute(&self.writer).await.map_err(|error| self.failure(error))?;
        Ok(())
    }

    /// The jobs that ended longer ago than `retention`.
    pub(crate) async fn expired(&self, retention: Duration) -> Result<Vec<JobId>, StoreError> {
        let query = sqlx::query(
            "SELECT id FROM jobs WHERE ended_uptime < (SELECT ms FROM uptime) - ?1 ORDER BY id",
        );
        let rows = query.bind(milliseconds(retention)).fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.failure(error))?;
        let ids = rows.iter().map(|row| row::parsed(row, "id")).collect::<Result<_, _>>();
        ids.map_err(|error| self.failure(error))
    }

    /// Removes jobs as [`Self::delete`] does, if they have ended.
    pub(crate) async fn delete_ended(&self, ids: &[JobId]) -> Result<(), StoreError> {
        let query = sqlx::query(
            "DELETE FROM jobs
             WHERE id IN (SELECT value FROM json_each(?1)) AND ended_uptime IS NOT NULL",
        );
        let query = query.bind(json!(ids).to_string());
        query.execute(&self.writer).await.map_err(|error| self.failure(error))?;
        Ok(())
    }
}

pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
