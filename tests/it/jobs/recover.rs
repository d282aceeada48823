//! The database is damaged or lost, and the accepted jobs are not.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Server, wav};

use super::id;

const FIELDS: [(&str, &str); 1] = [("language", "en")];

/// Starts a server and has it accept jobs, which are killed with it before most of them ended.
async fn killed(jobs: u32) -> (Server, Vec<String>) {
    let mut server = Server::fake("none,speed=40", &["--slots", "1"]).await;
    let mut ids = Vec::new();
    for seed in 0..jobs {
        ids.push(id(&server.submit(wav(40.0, seed), &FIELDS).await));
    }
    server.kill();
    (server, ids)
}

fn output(output: &Output) -> (bool, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn move_database(jobs: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::rename(jobs.join(format!("jobs.db{end}")), jobs.join(format!("old.db{end}")));
    }
}

/// What `damage` does to the folder of jobs loses none of them, and runs none twice.
async fn check(damage: impl Fn(&Path)) {
    const JOBS: u32 = 6;
    let (mut server, ids) = killed(JOBS).await;
    damage(&server.jobs());
    server.restart();
    server.ready().await;
    let refused = output(&server.recover());
    assert!(!refused.0 && refused.1.contains("in use by another auris"), "{}", refused.1);
    let log = server.log();
    assert!(log.contains("set aside") && log.contains("auris jobs recover"), "{log}");
    server.kill();
    let (success, report) = output(&server.recover());
    assert!(success, "{report}");
    assert!(report.contains(": queued again, about 40 s of audio\n"), "{report}");
    let (success, again) = output(&server.recover());
    assert!(success && again == "0 of 0 jobs are queued again\n", "{again}");
    server.restart();
    server.ready().await;
    for (id, seed) in ids.iter().zip(0..JOBS) {
        let job = server.ended(id).await;
        assert_eq!(job["state"], "finished", "{job}");
        assert_eq!(job["text"], server.transcribe(wav(40.0, seed), &FIELDS).await.text());
    }
    server.nothing_kept().await;
    assert_eq!(fs::read_dir(server.jobs().join("orphaned")).unwrap().count(), 0);
    let list: Value = server.get("/v1/jobs?limit=100").await.json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), JOBS as usize);
}

#[tokio::test]
async fn random_bytes_in_the_log_of_the_database_cost_no_job() {
    check(|jobs| {
        let log = jobs.join("jobs.db-wal");
        let length = fs::metadata(&log).unwrap().len() as u32;
        assert!(length > 0, "there is nothing to damage");
        let noise = (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
        fs::write(log, noise.collect::<Vec<u8>>()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_moved_away_costs_no_job() {
    check(move_database).await;
}

#[tokio::test]
async fn a_database_that_is_put_back_finds_its_audio() {
    let (mut server, ids) = killed(3).await;
    move_database(&server.jobs());
    server.restart();
    server.ready().await;
    server.kill();
    let jobs = server.jobs();
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(jobs.join(format!("jobs.db{end}")));
        let _ = fs::rename(jobs.join(format!("old.db{end}")), jobs.join(format!("jobs.db{end}")));
    }
    server.restart();
    for id in ids {
        assert_eq!(server.ended(&id).await["state"], "finished");
    }
    server.nothing_kept().await;
}

#[tokio::test]
async fn audio_whose_record_is_damaged_is_reported_and_left() {
    let (mut server, ids) = killed(3).await;
    move_database(&server.jobs());
    let record = server.jobs().join(format!("audio/{}.json", ids[2]));
    fs::write(record, "{\u{1}").unwrap();
    for queued in ["2 of 3", "0 of 1"] {
        let (success, report) = output(&server.recover());
        assert!(!success, "{report}");
        let left = format!("{}: left where it is: its record is damaged", ids[2]);
        assert!(report.contains(&left) && report.contains(queued), "{report}");
    }
    server.restart();
    for id in &ids[..2] {
        assert_eq!(server.ended(id).await["state"], "finished");
    }
    server.nothing_kept().await;
    assert!(server.jobs().join(format!("orphaned/{}.audio", ids[2])).exists());
}
