//! The events of ended jobs on their way to their receivers.

use std::collections::HashSet;

use super::job::{DeliveryReport, JobId};
use super::{Store, StoreError};

/// An event that is to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The job whose end it tells of.
    pub job: JobId,
    /// The event's own name.
    pub event: String,
    /// What is sent.
    pub body: String,
    /// Where to.
    pub url: String,
    /// The receiver's host and port.
    pub receiver: String,
    /// How often it was tried before.
    pub attempts: u32,
}

impl Store {
    /// The events that are due at `now_ms`: at most `limit`, one for each receiver, none for
    /// those of `busy`, the longest due first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn due_deliveries(
        &self,
        now_ms: i64,
        busy: &HashSet<String>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let busy = serde_json::Value::from_iter(busy.iter().map(String::as_str));
        let query = sqlx::query_as(
            "SELECT job, event, body, webhook_url, webhook_receiver, attempts FROM (
                 SELECT deliveries.*, webhook_url, webhook_receiver, row_number() OVER (
                     PARTITION BY webhook_receiver ORDER BY next_at, job
                 ) AS turn
                 FROM deliveries JOIN jobs ON jobs.id = deliveries.job
                 WHERE deliveries.state = 'pending' AND next_at <= ?1
                     AND webhook_receiver NOT IN (SELECT value FROM json_each(?2))
             )
             WHERE turn = 1 ORDER BY next_at, job LIMIT ?3",
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = query.bind(now_ms).bind(busy.to_string()).bind(limit);
        query.fetch_all(&self.pool).await.map_err(|error| self.failure(error))
    }

    /// When the next event for a receiver other than those of `busy` is due.
    ///
    /// # Errors
    /// The database fails.
    pub async fn next_delivery_at(
        &self,
        busy: &HashSet<String>,
    ) -> Result<Option<i64>, StoreError> {
        let busy = serde_json::Value::from_iter(busy.iter().map(String::as_str));
        let query = sqlx::query_scalar(
            "SELECT min(next_at) FROM deliveries JOIN jobs ON jobs.id = deliveries.job
             WHERE deliveries.state = 'pending'
                 AND webhook_receiver NOT IN (SELECT value FROM json_each(?1))",
        );
        let query = query.bind(busy.to_string());
        query.fetch_one(&self.pool).await.map_err(|error| self.failure(error))
    }

    /// Keeps what came of an attempt. While `report` says that the event is pending, it is due
    /// again at `next_at_ms`. A job that was deleted meanwhile is no error.
    ///
    /// # Errors
    /// The database fails.
    pub async fn record_delivery(
        &self,
        job: JobId,
        report: &DeliveryReport,
        next_at_ms: i64,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE deliveries
             SET state = ?2, attempts = ?3, next_at = ?4, last_status = ?5, last_error = ?6
             WHERE job = ?1",
        );
        let query = query.bind(job.to_string()).bind(report.state.as_str());
        let query = query.bind(report.attempts).bind(next_at_ms);
        let query = query.bind(report.last_status).bind(&report.last_error);
        query.execute(&self.pool).await.map_err(|error| self.failure(error))?;
        Ok(())
    }

    /// Waits until a job has ended of which somebody is to be told. Cancel safe; for one task.
    pub async fn delivery_added(&self) {
        self.delivery_added.notified().await;
    }
}
