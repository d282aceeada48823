//! The events of ended jobs on their way to their receivers.

use std::collections::HashSet;

use serde_json::json;

use super::job::{DeliveryReport, JobId};
use super::{JobStore, StoreError};

/// An event that has not been delivered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The job whose end it reports.
    pub(crate) job: JobId,
    pub(crate) owner: String,
    pub(crate) event: String,
    pub(crate) body: String,
    /// The address it is sent to.
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// From when on it may be sent.
    pub(crate) due_at_ms: i64,
    /// How often it was tried before.
    pub(crate) attempts: u32,
}

/// Receivers and owners to skip for now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Excluded {
    pub(crate) receivers: HashSet<(String, u16)>,
    /// All receivers on these hosts.
    pub(crate) hosts: HashSet<String>,
    /// All events of these owners.
    pub(crate) owners: HashSet<String>,
}

impl JobStore {
    /// The pending event that is due first, now or later, of those that are not excluded.
    pub(crate) async fn next_delivery(
        &self,
        excluded: &Excluded,
    ) -> Result<Option<Delivery>, StoreError> {
        let Excluded { receivers, hosts, owners } = excluded;
        let query = sqlx::query_as(
            "SELECT * FROM deliveries
             WHERE state = 'pending'
                 AND (host, port) NOT IN (
                     SELECT value ->> 0, value ->> 1 FROM json_each(?1)
                 )
                 AND host NOT IN (SELECT value FROM json_each(?2))
                 AND owner NOT IN (SELECT value FROM json_each(?3))
             ORDER BY next_at, job LIMIT 1",
        );
        let query = query.bind(json!(receivers).to_string());
        let query = query.bind(json!(hosts).to_string()).bind(json!(owners).to_string());
        query.fetch_optional(&self.readers).await.map_err(|error| self.failure(error))
    }

    /// Stores the result of an attempt to send the job's `event`, unless it was replaced by that of
    /// a retry. While `report` says that the event is pending, it is due again at `next_at_ms`; once
    /// it is settled, the event of a deleted job is removed.
    pub(crate) async fn record_delivery(
        &self,
        job: JobId,
        event: &str,
        report: &DeliveryReport,
        next_at_ms: i64,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE deliveries
             SET state = ?2, attempts = ?3, next_at = ?4, last_status = ?5, last_error = ?6
             WHERE job = ?1 AND event = ?7",
        );
        let query = query.bind(job.to_string()).bind(report.state.as_str());
        let query = query.bind(report.attempts).bind(next_at_ms);
        let query = query.bind(report.last_status).bind(&report.last_error).bind(event);
        query.execute(&self.writer).await.map_err(|error| self.failure(error))?;
        Ok(())
    }

    /// Waits until a job with a webhook has ended. Cancel safe; for one task.
    pub(crate) async fn delivery_added(&self) {
        self.delivery_added.notified().await;
    }
}
