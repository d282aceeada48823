//! The spool in temporary folders.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::store::tests::test_store::job;

fn listed(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn names(spool: &Spool) -> Vec<String> {
    listed(&spool.folder)
}

async fn open(folder: &TempDir) -> Spool {
    Spool::open(folder.path(), Some(100)).await.unwrap()
}

/// Opens it as after a kill; `known` is what the database says.
async fn reopen(folder: &TempDir, known: &[(JobId, Known)]) -> (Spool, Orphans) {
    let spool = open(folder).await;
    let orphans = spool.tidy(known.iter().cloned().collect()).await.unwrap();
    (spool, orphans)
}

/// Keeps audio of a job that is not accepted yet.
async fn keep(spool: &Spool, text: &str) -> JobId {
    let mut upload = spool.create().await.unwrap();
    upload.write_all(text.as_bytes()).unwrap();
    let job = job("alice");
    spool.keep(upload, &job).await.unwrap();
    job.id
}

async fn accepted(spool: &Spool, text: &str) -> JobId {
    let id = keep(spool, text).await;
    spool.accept(id, spool.quota.stored("alice", text.len() as u64)).await.unwrap();
    id
}

async fn content(spool: &Spool, id: JobId) -> String {
    let mut text = String::new();
    spool.open_audio(id).await.unwrap().read_to_string(&mut text).unwrap();
    text
}

fn needed(id: JobId) -> (JobId, Known) {
    (id, Known::NeedsAudio("alice".to_owned()))
}

#[tokio::test]
async fn an_upload_is_kept_under_its_job_until_it_is_removed() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = accepted(&spool, "audio").await;
    let files = [format!("{id}.audio"), format!("{id}.json")];
    assert_eq!(names(&spool), files);
    for name in files {
        let mode = fs::metadata(spool.folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let (spool, orphans) = reopen(&folder, &[needed(id)]).await;
    assert!(orphans.jobs.is_empty());
    assert_eq!(content(&spool, id).await, "audio");
    assert!(spool.has_audio(id));
    assert!(spool.quota.begin("bob", 1.0, 96, 0).is_err(), "it counts after a restart");
    spool.remove(id).await.unwrap();
    spool.remove(id).await.unwrap();
    assert!(spool.quota.begin("bob", 1.0, 100, 0).is_ok());
    assert_eq!(names(&spool), [""; 0]);
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
async fn the_start_removes_what_was_never_accepted_and_what_has_ended() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let unfinished = accepted(&spool, "needed").await;
    let ended = accepted(&spool, "ended").await;
    keep(&spool, "never accepted").await;
    let refused = accepted(&spool, "refused").await;
    spool.withdraw(refused).await.unwrap();
    // What a kill leaves of an upload.
    spool.create().await.unwrap().keep().unwrap();
    fs::write(spool.folder.join("notes.audio"), "").unwrap();
    fs::write(spool.folder.join("notes"), "").unwrap();
    let (spool, orphans) = reopen(&folder, &[needed(unfinished), (ended, Known::Ended)]).await;
    assert!(orphans.jobs.is_empty());
    let mut left = vec!["notes".to_owned(), "notes.audio".to_owned()];
    left.extend(["audio", "json"].map(|kind| format!("{unfinished}.{kind}")));
    left.sort();
    assert_eq!(names(&spool), left);
}

#[tokio::test]
async fn a_failed_withdrawal_can_be_repeated_and_taken_back() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = accepted(&spool, "audio").await;
    spool.withdraw(id).await.unwrap();
    spool.withdraw(id).await.unwrap();
    spool.find_audio(id, "alice").await.unwrap();
    assert_eq!(content(&spool, id).await, "audio");
    assert!(spool.has_audio(id));
}

#[tokio::test]
async fn a_kill_while_a_job_is_accepted_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let id = keep(&open(&folder).await, "audio").await;
    let (spool, _) = reopen(&folder, &[needed(id)]).await;
    assert_eq!(content(&spool, id).await, "audio");
}

#[tokio::test]
async fn audio_of_unknown_jobs_is_set_aside_and_taken_back() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = accepted(&spool, "audio").await;
    for _ in 0..2 {
        let (spool, orphans) = reopen(&folder, &[]).await;
        assert_eq!(orphans.jobs, [(id, 5)], "also at the next start");
        assert_eq!(names(&spool), [""; 0]);
        assert_eq!(listed(&orphans.folder), [format!("{id}.audio"), format!("{id}.json")]);
        assert!(spool.quota.begin("bob", 1.0, 96, 0).is_err(), "it counts");
    }
    // The first database is back.
    let (spool, orphans) = reopen(&folder, &[needed(id)]).await;
    assert!(orphans.jobs.is_empty());
    assert_eq!(content(&spool, id).await, "audio");
    assert_eq!(listed(&orphans.folder), [""; 0]);
}

#[tokio::test]
async fn what_is_set_aside_in_part_is_put_together() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let id = accepted(&spool, "audio").await;
    let lone = accepted(&spool, "lone").await;
    fs::create_dir(&spool.orphaned).unwrap();
    for id in [id, lone] {
        let record = SpoolFile { id, kind: FileKind::Record }.to_string();
        fs::rename(spool.folder.join(&record), spool.orphaned.join(&record)).unwrap();
    }
    let (spool, orphans) = reopen(&folder, &[needed(id), (lone, Known::Ended)]).await;
    assert_eq!(names(&spool), [format!("{id}.audio"), format!("{id}.json")]);
    assert_eq!(listed(&orphans.folder), [""; 0]);
}

#[tokio::test]
async fn a_missing_or_damaged_record_is_reported() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder).await;
    let good = accepted(&spool, "good").await;
    let [missing, damaged, swapped] =
        [accepted(&spool, "1").await, accepted(&spool, "2").await, accepted(&spool, "3").await];
    let record = |id: JobId| spool.path_of(id, FileKind::Record);
    fs::remove_file(record(missing)).unwrap();
    fs::write(record(damaged), "\u{1}\u{2}").unwrap();
    fs::copy(record(good), record(swapped)).unwrap();
    let (spool, orphans) = reopen(&folder, &[]).await;
    assert_eq!(orphans.jobs.len(), 4);
    match spool.orphan(good).await.unwrap() {
        Orphan::Recorded(job) => assert_eq!((job.id, &*job.owner), (good, "alice")),
        Orphan::Unreadable(reason) => panic!("{reason}"),
    }
    for (id, expected) in
        [(missing, "missing"), (damaged, "damaged"), (swapped, "that of another job")]
    {
        match spool.orphan(id).await.unwrap() {
            Orphan::Unreadable(reason) => assert!(reason.contains(expected), "{reason}"),
            Orphan::Recorded(job) => panic!("{job:?}"),
        }
    }
}

#[tokio::test]
async fn a_spool_that_cannot_be_created_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FOLDER), "").unwrap();
    let refusal = Spool::open(folder.path(), None).await.expect_err("refused");
    insta::assert_snapshot!(refusal.to_string().replace(&folder.path().display().to_string(), "/jobs"), @"cannot make the folder /jobs/audio: File exists (os error 17): check permissions and the room on the disk");
}
