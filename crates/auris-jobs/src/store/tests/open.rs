//! What `open` creates, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::Connection;
use tempfile::TempDir;

use super::super::open::DATABASE;
use super::super::{JobOutcome, JobState, JobStore, StoredChunk};
use super::test_store::{TestStore, chunk, job, outside};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn folder_and_files_are_made_and_private() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("var/jobs");
    let store = JobStore::open(&folder).await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["jobs.db", "jobs.db-shm", "jobs.db-wal", "lock"]);
    drop(store);
}

#[tokio::test]
async fn jobs_and_chunks_outlive_the_store() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    assert!(test.store.mark_running(id, 600).await.unwrap());
    test.store.put_chunk(id, &chunk(0)).await.unwrap();
    let test = test.reopened().await;
    let unfinished = test.unfinished().await;
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].id, unfinished[0].state), (id, JobState::Running));
    assert_eq!(test.store.chunks(id).await.unwrap(), [chunk(0)]);
}

#[tokio::test]
async fn a_folder_in_use_is_refused_until_the_last_clone_is_gone() {
    let TestStore { folder, store } = TestStore::new().await;
    let clone = store.clone();
    drop(store);
    insta::assert_snapshot!(TestStore::refusal(&folder).await, @"the jobs folder /jobs is in use by another auris: stop that one, or give each a folder of its own with --jobs-dir");
    drop(clone);
    JobStore::open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let folder = TempDir::new().unwrap();
    let garbage = "no database ".repeat(1_000);
    fs::write(folder.path().join(DATABASE), &garbage).unwrap();
    insta::assert_snapshot!(TestStore::refusal(&folder).await, @"/jobs/jobs.db is damaged (file is not a database): move jobs.db, jobs.db-wal and jobs.db-shm aside and run `auris jobs recover`, which queues every job again whose audio is there");
    assert_eq!(fs::read_to_string(folder.path().join(DATABASE)).unwrap(), garbage);
}

#[tokio::test]
async fn damage_within_the_database_is_found_at_the_start() {
    let TestStore { folder, store } = TestStore::new().await;
    for _ in 0..100 {
        store.insert(job("")).await.unwrap();
    }
    drop(store);
    outside(&folder, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let path = folder.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let refusal = TestStore::refusal(&folder).await;
    assert!(refusal.starts_with("/jobs/jobs.db is damaged ("), "{refusal}");
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let TestStore { folder, store } = TestStore::new().await;
    drop(store);
    let add = "INSERT INTO _sqlx_migrations VALUES (99, 'later', '2100-01-01', TRUE, X'00', 0)";
    outside(&folder, add).await.close().await.unwrap();
    insta::assert_snapshot!(TestStore::refusal(&folder).await, @"/jobs/jobs.db was written by another version of auris: start that version, or move jobs.db, jobs.db-wal and jobs.db-shm aside and run `auris jobs recover`, which queues every job again whose audio is there");
}

#[tokio::test]
async fn a_path_that_is_not_a_folder_is_refused() {
    let parent = TempDir::new().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = JobStore::open(&file).await.expect_err("refused").to_string();
    let refusal = refusal.replace(&parent.path().display().to_string(), "/tmp");
    insta::assert_snapshot!(refusal, @"cannot use /tmp/file for jobs: File exists (os error 17): give a folder that auris may write with --jobs-dir");
}

#[tokio::test]
async fn what_is_durable_survives_the_loss_of_the_log() {
    let TestStore { folder, store } = TestStore::new().await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        let id = job("");
        ids.push(id.id);
        store.insert(id).await.unwrap();
    }
    // Together, as jobs that end at the same time do.
    let ended = ids.iter().map(async |id| {
        store.finish(*id, JobOutcome::Finished, 1_000, None).await.unwrap();
        store.make_durable().await.unwrap();
    });
    futures_util::future::join_all(ended).await;
    let lost = job("");
    let last = lost.id;
    store.insert(lost).await.unwrap();
    // As after a kill: an orderly end would empty the log.
    let copy = TempDir::new().unwrap();
    fs::copy(folder.path().join(DATABASE), copy.path().join(DATABASE)).unwrap();
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(copy.path().join("jobs.db-wal"), noise).unwrap();
    let store = JobStore::open(copy.path()).await.unwrap();
    for id in ids {
        let job = store.get("", id).await.unwrap().expect("the job is there");
        assert_eq!(job.state, JobState::Finished);
    }
    assert_eq!(store.get("", last).await.unwrap(), None, "it was in the log alone");
}

#[tokio::test]
async fn damage_anywhere_in_the_log_puts_no_ended_job_back() {
    let TestStore { folder, store } = TestStore::new().await;
    let add = async || {
        let job = job("");
        let id = job.id;
        store.insert(job).await.unwrap();
        store.put_chunk(id, &chunk(0)).await.unwrap();
        id
    };
    let mut ids = Vec::new();
    for _ in 0..20 {
        let id = add().await;
        ids.push(id);
        store.finish(id, JobOutcome::Finished, 1_000, None).await.unwrap();
        store.make_durable().await.unwrap();
    }
    // More than the thousand pages at which SQLite would move the log on its own.
    let id = add().await;
    for index in 0..40 {
        let result_json = "x".repeat(150_000);
        store.put_chunk(id, &StoredChunk { result_json, ..chunk(index) }).await.unwrap();
    }
    let log = fs::read(folder.path().join("jobs.db-wal")).unwrap();
    assert!(log.len() > 5_000_000, "{}", log.len());
    for tenth in 0..10 {
        let copy = TempDir::new().unwrap();
        fs::copy(folder.path().join(DATABASE), copy.path().join(DATABASE)).unwrap();
        let mut log = log.clone();
        let at = log.len() / 10 * tenth;
        log[at..at + 64].fill(0x5a);
        fs::write(copy.path().join("jobs.db-wal"), log).unwrap();
        let store = JobStore::open(copy.path()).await.unwrap();
        for id in &ids {
            let job = store.get("", *id).await.unwrap().expect("the job is there");
            assert_eq!((job.state, job.done_samples), (JobState::Finished, 16_000));
        }
    }
}

#[tokio::test]
async fn a_foreign_reader_delays_no_one() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    let mut backup = outside(&test.folder, "BEGIN").await;
    sqlx::query("SELECT * FROM jobs").fetch_all(&mut backup).await.unwrap();
    test.store.put_chunk(id, &chunk(0)).await.unwrap();
    let started = Instant::now();
    assert!(!test.store.empty_log().await.unwrap(), "the reader needs it");
    assert!(started.elapsed() < Duration::from_secs(10));
    test.store.put_chunk(id, &chunk(1)).await.unwrap();
    backup.close().await.unwrap();
    assert!(test.store.empty_log().await.unwrap());
    assert_eq!(fs::metadata(test.folder.path().join("jobs.db-wal")).unwrap().len(), 0);
}
