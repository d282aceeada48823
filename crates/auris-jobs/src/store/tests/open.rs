//! What `open` creates, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sqlx::Connection;
use tempfile::TempDir;

use super::super::open::DATABASE;
use super::super::{JobState, JobStore};
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
    let unfinished = test.store.unfinished().await.unwrap();
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
    insta::assert_snapshot!(TestStore::refusal(&folder).await, @"/jobs/jobs.db is damaged (file is not a database): move jobs.db, jobs.db-wal and jobs.db-shm away to begin without its jobs, or put a backup in its place");
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
    insta::assert_snapshot!(TestStore::refusal(&folder).await, @"/jobs/jobs.db was written by another version of auris: start that version, or move jobs.db, jobs.db-wal and jobs.db-shm away to begin without its jobs");
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
