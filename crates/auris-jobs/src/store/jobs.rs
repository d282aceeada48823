//! A job's way through the database, from its insertion to its end and removal.

use serde_json::json;
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow, Row, Sqlite};

use super::retention::milliseconds;
use super::{
    Inserted, JobId, JobOutcome, JobState, JobStore, NewDelivery, NewJob, StoreError, StoredJob,
};

type JobQuery = QueryAs<'static, Sqlite, StoredJob, SqliteArguments>;

/// The text of a query for whole jobs, with the given end.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT jobs.*, deliveries.state AS delivery_state, attempts, last_status, last_error,
                 (SELECT coalesce(sum(samples), 0) FROM chunks WHERE job = id) AS done_samples
             FROM jobs LEFT JOIN deliveries ON deliveries.job = id ",
            $rest
        )
    };
}

impl JobStore {
    /// Stores a job, unless its owner has sent the same request before.
    pub(crate) async fn insert(&self, job: NewJob) -> Result<Inserted, StoreError> {
        let query = sqlx::query(
            "INSERT INTO jobs (id, owner, state, request_json, created_at, audio_seconds,
                 idempotency_key, fingerprint, webhook_url, webhook_host, webhook_port)
             VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (owner, idempotency_key) DO NOTHING",
        );
        let query = query.bind(job.id.to_string()).bind(&job.owner).bind(job.request_json);
        let query = query.bind(job.created_at_ms).bind(job.audio_seconds);
        let query = query.bind(&job.idempotency_key).bind(&job.fingerprint);
        let webhook = job.webhook.as_ref();
        let query = query.bind(webhook.map(|webhook| &webhook.url));
        let query = query.bind(webhook.map(|webhook| &webhook.host));
        let query = query.bind(webhook.map(|webhook| webhook.port));
        let mut transaction = self.writer.begin().await.map_err(|error| self.failure(error))?;
        let inserted = query.execute(&mut *transaction).await;
        let inserted = inserted.map_err(|error| self.failure(error))?.rows_affected() > 0;
        let earlier = if inserted {
            Inserted::New
        } else {
            let query: JobQuery = sqlx::query_as(select_jobs!(
                "WHERE jobs.owner = ?1 AND idempotency_key = ?2 AND fingerprint = ?3"
            ));
            let query = query.bind(job.owner).bind(job.idempotency_key).bind(job.fingerprint);
            let same = query.fetch_optional(&mut *transaction).await;
            let same = same.map_err(|error| self.failure(error))?;
            same.map_or(Inserted::Reused, |job| Inserted::Same(Box::new(job)))
        };
        transaction.commit().await.map_err(|error| self.failure(error))?;
        Ok(earlier)
    }

    /// The job, if it is `owner`'s.
    pub(crate) async fn get(
        &self,
        owner: &str,
        id: JobId,
    ) -> Result<Option<StoredJob>, StoreError> {
        let query: JobQuery = sqlx::query_as(select_jobs!("WHERE id = ?1 AND jobs.owner = ?2"));
        let query = query.bind(id.to_string()).bind(owner.to_owned());
        query.fetch_optional(&self.readers).await.map_err(|error| self.failure(error))
    }

    /// The job that `owner` has sent with `idempotency_key`, and the fingerprint of its request,
    /// so that a repetition is recognised before its body is received.
    pub(crate) async fn find(
        &self,
        owner: &str,
        idempotency_key: &str,
    ) -> Result<Option<(StoredJob, String)>, StoreError> {
        let query = sqlx::query(select_jobs!("WHERE jobs.owner = ?1 AND idempotency_key = ?2"));
        let query = query.bind(owner.to_owned()).bind(idempotency_key.to_owned());
        let query = query.try_map(|row: SqliteRow| {
            Ok((StoredJob::from_row(&row)?, row.try_get("fingerprint")?))
        });
        query.fetch_optional(&self.readers).await.map_err(|error| self.failure(error))
    }

    /// At most `limit` of `owner`'s jobs, the newest first; those older than `after`, if given.
    pub(crate) async fn list(
        &self,
        owner: &str,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<StoredJob>, StoreError> {
        let query: JobQuery = sqlx::query_as(select_jobs!(
            "WHERE jobs.owner = ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3"
        ));
        let after = after.map(|id| id.to_string());
        let query = query.bind(owner.to_owned()).bind(after).bind(limit);
        query.fetch_all(&self.readers).await.map_err(|error| self.failure(error))
    }

    /// The unfinished jobs, the oldest first, and those of `ids` that have ended.
    pub(crate) async fn unfinished_and(&self, ids: &[JobId]) -> Result<Vec<StoredJob>, StoreError> {
        let query: JobQuery = sqlx::query_as(select_jobs!(
            "WHERE jobs.state IN ('queued', 'running')
                 OR id IN (SELECT value FROM json_each(?1))
             ORDER BY id"
        ));
        let query = query.bind(json!(ids).to_string());
        query.fetch_all(&self.readers).await.map_err(|error| self.failure(error))
    }

    /// Puts a failed job of `owner` back into the queue, and drops the event of its failure. Returns
    /// whether it was a failed one.
    pub(crate) async fn requeue(&self, owner: &str, id: JobId) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE jobs SET state = 'queued', error_json = NULL, ended_at = NULL,
                 ended_uptime = NULL
             WHERE id = ?1 AND owner = ?2 AND state = 'failed'",
        );
        let query = query.bind(id.to_string()).bind(owner.to_owned());
        let drop_event = sqlx::query("DELETE FROM deliveries WHERE job = ?1").bind(id.to_string());
        let mut transaction = self.writer.begin().await.map_err(|error| self.failure(error))?;
        let queued = query.execute(&mut *transaction).await;
        let queued = queued.map_err(|error| self.failure(error))?.rows_affected() > 0;
        if queued {
            let dropped = drop_event.execute(&mut *transaction).await;
            dropped.map_err(|error| self.failure(error))?;
        }
        transaction.commit().await.map_err(|error| self.failure(error))?;
        Ok(queued)
    }

    /// Records that the job has begun, or continues after a restart. Returns whether it is still
    /// unfinished, so that it may run.
    pub(crate) async fn mark_running(&self, id: JobId, now_ms: i64) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE jobs SET state = 'running', started_at = coalesce(started_at, ?2)
             WHERE id = ?1 AND state IN ('queued', 'running')",
        );
        self.changes(query.bind(id.to_string()).bind(now_ms)).await
    }

    /// Stores the decided model and language.
    pub(crate) async fn set_route(&self, id: JobId, route_json: String) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE jobs SET route_json = ?2 WHERE id = ?1");
        self.changes(query.bind(id.to_string()).bind(route_json)).await.map(drop)
    }

    /// Corrects the estimate of the job's length, and stores what decoding found out.
    pub(crate) async fn set_decoded(
        &self,
        id: JobId,
        seconds: f64,
        decoded_json: String,
    ) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE jobs SET audio_seconds = ?2, decoded_json = ?3 WHERE id = ?1");
        let query = query.bind(id.to_string()).bind(seconds).bind(decoded_json);
        self.changes(query).await.map(drop)
    }

    /// Ends an unfinished job and stores the event that reports it, if the job has a webhook: both
    /// or neither. Returns whether this call ended it.
    pub(crate) async fn finish(
        &self,
        id: JobId,
        outcome: JobOutcome,
        now_ms: i64,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, StoreError> {
        let state = JobState::from(&outcome);
        let error_json = match outcome {
            JobOutcome::Failed { error_json } => Some(error_json),
            JobOutcome::Finished | JobOutcome::Cancelled => None,
        };
        let query = sqlx::query(
            "UPDATE jobs SET state = ?2, error_json = ?3, ended_at = ?4,
                 ended_uptime = (SELECT ms FROM uptime) + ?5
             WHERE id = ?1 AND state IN ('queued', 'running')",
        );
        let query = query.bind(id.to_string()).bind(state.as_str()).bind(error_json).bind(now_ms);
        let query = query.bind(milliseconds(self.uncounted()));
        let mut transaction = self.writer.begin().await.map_err(|error| self.failure(error))?;
        let ended = query.execute(&mut *transaction).await;
        let ended = ended.map_err(|error| self.failure(error))?.rows_affected() > 0;
        let mut has_event = false;
        if let Some(delivery) = delivery.filter(|_| ended) {
            let query = sqlx::query(
                "INSERT INTO deliveries
                     (job, owner, url, host, port, event, body, state, attempts, next_at)
                 SELECT id, owner, webhook_url, webhook_host, webhook_port,
                     ?2, ?3, 'pending', 0, ?4
                 FROM jobs WHERE id = ?1 AND webhook_url IS NOT NULL",
            );
            let query = query.bind(id.to_string()).bind(delivery.event).bind(delivery.body);
            let added = query.bind(now_ms).execute(&mut *transaction).await;
            has_event = added.map_err(|error| self.failure(error))?.rows_affected() > 0;
        }
        transaction.commit().await.map_err(|error| self.failure(error))?;
        if has_event {
            self.delivery_added.notify_one();
        }
        Ok(ended)
    }

    /// Removes the job with all that belongs to it, if it is `owner`'s. Returns whether it was.
    /// Only a pending event stays until it is delivered or given up.
    pub(crate) async fn delete(&self, owner: &str, id: JobId) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM jobs WHERE id = ?1 AND owner = ?2");
        self.changes(query.bind(id.to_string()).bind(owner.to_owned())).await
    }

    async fn changes(
        &self,
        query: Query<'static, Sqlite, SqliteArguments>,
    ) -> Result<bool, StoreError> {
        let done = query.execute(&self.writer).await.map_err(|error| self.failure(error))?;
        Ok(done.rows_affected() > 0)
    }
}
