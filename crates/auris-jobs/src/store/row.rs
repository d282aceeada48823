//! Converts a row of the database to a job, a chunk or a delivery.

use sqlx::sqlite::SqliteRow;
use sqlx::{Error, FromRow, Row};

use super::deliveries::Delivery;
use super::job::{DeliveryReport, DeliveryState, JobId, JobState, StoredChunk, StoredJob};

impl FromRow<'_, SqliteRow> for StoredJob {
    fn from_row(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            id: id(row, "id")?,
            owner: row.try_get("owner")?,
            state: state(row)?,
            request_json: row.try_get("request_json")?,
            created_at_ms: row.try_get("created_at")?,
            started_at_ms: row.try_get("started_at")?,
            ended_at_ms: row.try_get("ended_at")?,
            audio_seconds: row.try_get("audio_seconds")?,
            done_samples: row.try_get("done_samples")?,
            route_json: row.try_get("route_json")?,
            error_json: row.try_get("error_json")?,
            webhook_url: row.try_get("webhook_url")?,
            delivery: delivery_report(row)?,
        })
    }
}

/// `None` when the job has no delivery, so that the joined columns are empty.
fn delivery_report(row: &SqliteRow) -> Result<Option<DeliveryReport>, Error> {
    let Some(name) = row.try_get::<Option<String>, _>("delivery_state")? else { return Ok(None) };
    let state = DeliveryState::ALL.into_iter().find(|state| state.as_str() == name);
    Ok(Some(DeliveryReport {
        state: state.ok_or_else(|| undecodable("delivery_state", name.into()))?,
        attempts: row.try_get("attempts")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
    }))
}

impl FromRow<'_, SqliteRow> for StoredChunk {
    fn from_row(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            index: row.try_get("position")?,
            start_sample: row.try_get("start_sample")?,
            samples: row.try_get("samples")?,
            result_json: row.try_get("result_json")?,
            done_at_ms: row.try_get("done_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Delivery {
    fn from_row(row: &SqliteRow) -> Result<Self, Error> {
        Ok(Self {
            job: id(row, "job")?,
            event: row.try_get("event")?,
            body: row.try_get("body")?,
            owner: row.try_get("owner")?,
            url: row.try_get("url")?,
            host: row.try_get("host")?,
            port: row.try_get("port")?,
            due_at_ms: row.try_get("next_at")?,
            attempts: row.try_get("attempts")?,
        })
    }
}

/// The job's id in `column`.
pub(super) fn id(row: &SqliteRow, column: &str) -> Result<JobId, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: uuid::Error| undecodable(column, error.into()))
}

/// The job's state in the column `state`.
fn state(row: &SqliteRow) -> Result<JobState, Error> {
    let name: String = row.try_get("state")?;
    let state = JobState::ALL.into_iter().find(|state| state.as_str() == name);
    state.ok_or_else(|| undecodable("state", name.into()))
}

fn undecodable(column: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::ColumnDecode { index: column.to_owned(), source }
}
