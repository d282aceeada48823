//! The spool in temporary folders.

use std::io::{Read, Write};

use tempfile::TempDir;

use super::*;

fn names(spool: &Spool) -> Vec<String> {
    let entries = fs::read_dir(&spool.folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn open(folder: &TempDir) -> Spool {
    Spool::open(folder.path(), HashSet::new()).await.unwrap()
}

async fn keep(spool: &Spool, text: &str) -> JobId {
    let mut upload = spool.create().await.unwrap();
    upload.write_all(text.as_bytes()).unwrap();
    let id = JobId::new();
    spool.keep(upload, id).await.unwrap();
    id
}

async fn content(spool: &Spool, id: JobId) -> String {
    let mut text = String::new();
    spool.open_audio(id).await.unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn an_upload_is_kept_under_its_job_until_it_is_removed() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = keep(&spool, "audio").await;
    assert_eq!(names(&spool), [format!("{id}.audio")]);
    let spool = Spool::open(folder.path(), HashSet::from([id])).await.unwrap();
    assert_eq!(content(&spool, id).await, "audio");
    spool.remove(id).await.unwrap();
    spool.remove(id).await.unwrap();
    let error = spool.open_audio(id).await.expect_err("gone");
    assert_eq!(error.source.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let upload = spool.create().await.unwrap();
    assert_eq!(names(&spool).len(), 1);
    drop(upload);
    assert_eq!(names(&spool).len(), 0);
}

#[tokio::test]
async fn a_job_has_one_file() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = keep(&spool, "first").await;
    let second = spool.create().await.unwrap();
    assert!(spool.keep(second, id).await.is_err());
    assert_eq!(names(&spool), [format!("{id}.audio")]);
    assert_eq!(content(&spool, id).await, "first");
}

#[tokio::test]
async fn the_start_leaves_what_unfinished_jobs_need_and_what_is_not_ours() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let unfinished = keep(&spool, "needed").await;
    keep(&spool, "ended").await;
    // What a kill leaves of an upload.
    spool.create().await.unwrap().keep().unwrap();
    fs::write(spool.folder.join("notes.audio"), "").unwrap();
    fs::write(spool.folder.join("notes"), "").unwrap();
    assert_eq!(names(&spool).len(), 5);
    Spool::open(folder.path(), HashSet::from([unfinished])).await.unwrap();
    let mut left =
        vec!["notes".to_owned(), "notes.audio".to_owned(), format!("{unfinished}.audio")];
    left.sort();
    assert_eq!(names(&spool), left);
}

#[tokio::test]
async fn a_spool_that_cannot_be_created_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FOLDER), "").unwrap();
    let refusal = Spool::open(folder.path(), HashSet::new()).await.expect_err("refused");
    insta::assert_snapshot!(refusal.to_string().replace(&folder.path().display().to_string(), "/jobs"), @"cannot make the folder /jobs/audio: File exists (os error 17): check permissions and the room on the disk");
}
