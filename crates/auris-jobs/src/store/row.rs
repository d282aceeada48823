//! Converts a row of the database to a job, a chunk or a delivery.

use std::error::Error;
use std::str::FromStr;

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::deliveries::Delivery;
use super::job::{DeliveryReport, StoredChunk, StoredJob};

impl FromRow<'_, SqliteRow> for StoredJob {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: parsed(row, "id")?,
            owner: row.try_get("owner")?,
            state: parsed(row, "state")?,
            request_json: row.try_get("request_json")?,
            created_at_ms: row.try_get("created_at")?,
            started_at_ms: row.try_get("started_at")?,
            ended_at_ms: row.try_get("ended_at")?,
            audio_seconds: row.try_get("audio_seconds")?,
            done_samples: row.try_get("done_samples")?,
            route_json: row.try_get("route_json")?,
            decoded_json: row.try_get("decoded_json")?,
            error_json: row.try_get("error_json")?,
            webhook_url: row.try_get("webhook_url")?,
            delivery: delivery_report(row)?,
        })
    }
}

/// `None` when the job has no delivery, so that the joined columns are empty.
fn delivery_report(row: &SqliteRow) -> sqlx::Result<Option<DeliveryReport>> {
    if row.try_get::<Option<&str>, _>("delivery_state")?.is_none() {
        return Ok(None);
    }
    Ok(Some(DeliveryReport {
        state: parsed(row, "delivery_state")?,
        attempts: row.try_get("attempts")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
    }))
}

impl FromRow<'_, SqliteRow> for StoredChunk {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
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
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            job: parsed(row, "job")?,
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

/// The value that the text in `column` names, such as an id or a state.
pub(super) fn parsed<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &SqliteRow,
    column: &str,
) -> sqlx::Result<T> {
    let parsed = row.try_get::<&str, _>(column)?.parse();
    parsed.map_err(|error: T::Err| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    })
}
