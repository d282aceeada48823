//! What happens when the database is busy, full or locked by another process.

use sqlx::Connection;
use tempfile::TempDir;

use super::super::{Inserted, JobId, JobOutcome, JobStore, NewJob, StoreError};
use super::test_store::{TestStore, chunk, job, outside};

#[tokio::test]
async fn readers_and_the_writer_do_not_wait_for_each_other() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    let mut writing = test.store.writer.begin().await.unwrap();
    sqlx::query("DELETE FROM jobs").execute(&mut *writing).await.unwrap();
    assert_eq!(test.job("", id).await.id, id);
    assert_eq!(test.store.list("", None, 10).await.unwrap().len(), 1);
    assert_eq!(test.unfinished().await.len(), 1);
    assert_eq!(test.store.chunks(id).await.unwrap(), []);
    assert_eq!(test.store.find("", "k").await.unwrap(), None);
    writing.rollback().await.unwrap();

    let mut reading = Vec::new();
    for _ in 0..test.store.readers.options().get_max_connections() {
        let mut transaction = test.store.readers.begin().await.unwrap();
        sqlx::query("SELECT * FROM jobs").fetch_all(&mut *transaction).await.unwrap();
        reading.push(transaction);
    }
    test.store.put_chunk(id, &chunk(0)).await.unwrap();
    assert!(test.store.finish(id, JobOutcome::Finished, 800, None).await.unwrap());
}

#[tokio::test]
async fn readers_cannot_write() {
    let test = TestStore::new().await;
    assert!(sqlx::query("DELETE FROM jobs").execute(&test.store.readers).await.is_err());
}

#[tokio::test]
async fn failures_report_whether_they_are_transient() {
    let test = TestStore::new().await;
    let add = async || match test.store.insert(job("")).await {
        Ok(Inserted::New) => None,
        Ok(other) => panic!("{other:?}"),
        Err(error) => Some(error),
    };
    let set = async |pragma: &'static str| {
        sqlx::query(pragma).execute(&test.store.writer).await.unwrap();
    };

    set("PRAGMA busy_timeout = 0").await;
    let backup = outside(&test.folder, "BEGIN IMMEDIATE").await;
    let busy = add().await.expect("the database is held");
    assert!(busy.shortage().is_some(), "{busy:?}");
    backup.close().await.unwrap();
    assert!(add().await.is_none(), "the backup is done");

    set("PRAGMA max_page_count = 1").await; // the least is what there is
    let mut full = None;
    while full.is_none() {
        full = add().await;
    }
    let full = full.expect("the loop ends with it");
    assert!(full.shortage().is_some(), "{full:?}");
    assert!(full.to_string().contains("is full"), "{full}");
    set("PRAGMA max_page_count = 1000000").await;
    assert!(add().await.is_none(), "there is room again");

    let gone = test.store.put_chunk(JobId::new(), &chunk(0)).await.expect_err("no such job");
    assert!(gone.shortage().is_none(), "{gone:?}");
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("jobs.db"), "no database ".repeat(1_000)).unwrap();
    let damaged = JobStore::open(folder.path()).await.expect_err("damaged");
    assert!(
        matches!(damaged, StoreError::Damaged { .. }) && damaged.shortage().is_none(),
        "{damaged:?}"
    );
}

#[tokio::test]
async fn confirmed_writes_are_on_disk() {
    let test = TestStore::new().await;
    let synchronous: Result<i64, _> =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&test.store.writer).await;
    assert_eq!(synchronous.unwrap(), 2, "FULL");
}

/// SQLite ends a transaction by itself when the disk is full, and the pool's own count of them must
/// not go on without it.
#[tokio::test]
async fn what_is_stored_after_a_full_disk_is_committed() {
    let test = TestStore::new().await;
    let writer = &test.store.writer;
    let set_pages = async |pages: u32| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        sqlx::query(sqlx::AssertSqlSafe(pragma)).execute(writer).await.unwrap();
    };
    set_pages(1).await;
    let mut refused = 0;
    for _ in 0..100 {
        let large = NewJob { request_json: "x".repeat(100_000), ..job("a") };
        refused += usize::from(test.store.insert(large).await.is_err());
    }
    assert!(refused > 0, "the disk is not full");
    set_pages(1_000_000).await;
    drop(writer.begin().await.unwrap());
    let id = test.insert(job("a")).await;
    // Read on another connection, which sees only what is committed.
    assert_eq!(test.job("a", id).await.id, id);
    let test = test.reopened().await;
    assert_eq!(test.job("a", id).await.id, id);
}
