//! A store in a temporary folder, and jobs to put into it.

use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::super::open::DATABASE;
use super::super::{
    DeliveryReport, Inserted, JobId, JobOutcome, JobStore, NewDelivery, NewJob, StoreError,
    StoredChunk, StoredJob,
};
use crate::webhook::check_address;

/// A store in a folder of its own.
pub(crate) struct TestStore {
    pub(crate) folder: TempDir,
    pub(crate) store: JobStore,
}

impl TestStore {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = JobStore::open(folder.path()).await.unwrap();
        Self { folder, store }
    }

    /// The same folder after the end of the process that used it.
    pub(crate) async fn reopened(self) -> Self {
        let Self { folder, store } = self;
        drop(store);
        let store = JobStore::open(folder.path()).await.unwrap();
        Self { folder, store }
    }

    /// Opens the folder and returns the error without the folder's name.
    pub(super) async fn refusal(folder: &TempDir) -> String {
        let refused: StoreError = JobStore::open(folder.path()).await.expect_err("refused");
        refused.to_string().replace(&folder.path().display().to_string(), "/jobs")
    }

    /// Stores `job`, which is new.
    pub(crate) async fn insert(&self, job: NewJob) -> JobId {
        let id = job.id;
        let inserted = self.store.insert(job).await.unwrap();
        assert!(matches!(inserted, Inserted::New), "{inserted:?}");
        id
    }

    /// A job of `owner` as it stands.
    pub(crate) async fn job(&self, owner: &str, id: JobId) -> StoredJob {
        self.store.get(owner, id).await.unwrap().expect("the job is there")
    }

    /// A finished job of `owner` whose event waits for `url`, due since 1 s after 1970.
    pub(crate) async fn finished(&self, owner: &str, url: &str) -> JobId {
        let webhook = check_address(url, true).unwrap();
        let id = self.insert(NewJob { webhook: Some(webhook), ..job(owner) }).await;
        let delivery = NewDelivery { event: format!("evt_{id}"), body: "{}".to_owned() };
        let ended =
            self.store.finish(id, JobOutcome::Finished, 1_000, Some(delivery)).await.unwrap();
        assert!(ended);
        id
    }

    /// Records an attempt to send the event of a [`Self::finished`] job.
    pub(crate) async fn tried(&self, id: JobId, report: &DeliveryReport, next_at_ms: i64) {
        let event = format!("evt_{id}");
        self.store.record_delivery(id, &event, report, next_at_ms).await.unwrap();
    }

    /// The unfinished jobs.
    pub(crate) async fn unfinished(&self) -> Vec<StoredJob> {
        self.store.unfinished_and(&[]).await.unwrap()
    }
}

/// A foreign connection to the database in `folder`, which has run `sql`.
pub(crate) async fn outside(folder: &TempDir, sql: &'static str) -> SqliteConnection {
    let address = format!("sqlite://{}", folder.path().join(DATABASE).display());
    let mut connection = SqliteConnection::connect(&address).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection
}

/// A new job of `owner`.
pub(crate) fn job(owner: &str) -> NewJob {
    NewJob {
        id: JobId::new(),
        owner: owner.to_owned(),
        request_json: r#"{"task":"transcribe"}"#.to_owned(),
        created_at_ms: 500,
        audio_seconds: 60.0,
        idempotency_key: None,
        fingerprint: "f1".to_owned(),
        webhook: None,
    }
}

/// The `index`-th chunk, of one second.
pub(super) fn chunk(index: u32) -> StoredChunk {
    StoredChunk {
        index,
        start_sample: u64::from(index) * 16_000,
        samples: 16_000,
        result_json: format!(r#"{{"text":"chunk {index}"}}"#),
        done_at_ms: 700,
    }
}
