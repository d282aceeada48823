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

async fn keep(spool: &Spool, text: &str) -> JobId {
    let mut upload = spool.create().unwrap();
    upload.write_all(text.as_bytes()).unwrap();
    let id = JobId::new();
    spool.keep(upload, id).await.unwrap();
    id
}

fn content(spool: &Spool, id: JobId) -> String {
    let mut text = String::new();
    spool.open_audio(id).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn an_upload_is_kept_under_its_job_until_it_is_removed() {
    let folder = TempDir::new().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let id = keep(&spool, "audio").await;
    assert_eq!(names(&spool), [format!("{id}.audio")]);
    let spool = Spool::open(folder.path()).unwrap();
    assert_eq!(content(&spool, id), "audio");
    spool.remove(id).unwrap();
    spool.remove(id).unwrap();
    assert_eq!(spool.open_audio(id).expect_err("gone").source.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let upload = spool.create().unwrap();
    assert_eq!(names(&spool).len(), 1);
    drop(upload);
    assert_eq!(names(&spool).len(), 0);
}

#[tokio::test]
async fn a_job_has_one_file() {
    let folder = TempDir::new().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let id = keep(&spool, "first").await;
    let second = spool.create().unwrap();
    assert!(spool.keep(second, id).await.is_err());
    assert_eq!(names(&spool), [format!("{id}.audio")]);
    assert_eq!(content(&spool, id), "first");
}

#[tokio::test]
async fn a_sweep_leaves_what_unfinished_jobs_need_and_what_is_not_ours() {
    let folder = TempDir::new().unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let unfinished = keep(&spool, "needed").await;
    keep(&spool, "ended").await;
    // What a kill leaves of an upload.
    spool.create().unwrap().keep().unwrap();
    fs::write(spool.folder.join("notes.audio"), "").unwrap();
    fs::write(spool.folder.join("notes"), "").unwrap();
    assert_eq!(spool.sweep(&HashSet::from([unfinished])).unwrap(), 2);
    let mut left =
        vec!["notes".to_owned(), "notes.audio".to_owned(), format!("{unfinished}.audio")];
    left.sort();
    assert_eq!(names(&spool), left);
}

#[test]
fn a_spool_that_cannot_be_made_says_which() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FOLDER), "").unwrap();
    let refusal = Spool::open(folder.path()).expect_err("refused").to_string();
    insta::assert_snapshot!(refusal.replace(&folder.path().display().to_string(), "/jobs"), @"cannot make the folder /jobs/audio: File exists (os error 17): check permissions and the room on the disk");
}
