//! A job from its insertion to its removal.

use std::time::Duration;

use super::super::{Inserted, JobId, JobOutcome, JobState, NewJob, StoredJob};
use super::test_store::{TestStore, chunk, job};

fn ids(jobs: &[StoredJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn a_job_is_found_as_it_was_stored() {
    let test = TestStore::new().await;
    let id = test.insert(job("alice")).await;
    let expected = StoredJob {
        id,
        owner: "alice".to_owned(),
        state: JobState::Queued,
        request_json: r#"{"task":"transcribe"}"#.to_owned(),
        created_at_ms: 500,
        started_at_ms: None,
        ended_at_ms: None,
        audio_seconds: 60.0,
        done_samples: 0,
        route_json: None,
        decoded_json: None,
        error_json: None,
        webhook_url: None,
        delivery: None,
    };
    assert_eq!(test.job("alice", id).await, expected);
    assert_eq!(test.store.get("bob", id).await.unwrap(), None, "another's job");
    assert_eq!(test.store.get("alice", JobId::new()).await.unwrap(), None, "an unknown job");
}

#[tokio::test]
async fn route_length_and_start_are_stored() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    assert!(test.store.mark_running(id, 600).await.unwrap());
    assert!(test.store.mark_running(id, 900).await.unwrap(), "after a restart");
    test.store.set_route(id, r#"{"model":"tiny"}"#.to_owned()).await.unwrap();
    test.store.set_decoded(id, 61.5, "{}".to_owned()).await.unwrap();
    let job = test.job("", id).await;
    assert_eq!((job.state, job.started_at_ms), (JobState::Running, Some(600)));
    assert_eq!(job.route_json.as_deref(), Some(r#"{"model":"tiny"}"#));
    assert_eq!(job.audio_seconds, 61.5);
}

#[tokio::test]
async fn a_job_ends_once() {
    async fn check(outcome: JobOutcome, state: JobState, error_json: Option<&str>) {
        let test = TestStore::new().await;
        let id = test.insert(job("")).await;
        assert!(test.store.finish(id, outcome, 800, None).await.unwrap());
        for late in [JobOutcome::Finished, JobOutcome::Cancelled] {
            assert!(!test.store.finish(id, late, 900, None).await.unwrap(), "{state:?}");
        }
        assert!(!test.store.mark_running(id, 900).await.unwrap(), "{state:?}");
        let job = test.job("", id).await;
        assert_eq!((job.state, job.ended_at_ms), (state, Some(800)));
        assert_eq!(job.error_json.as_deref(), error_json, "{state:?}");
        assert_eq!(test.unfinished().await, []);
    }
    check(JobOutcome::Finished, JobState::Finished, None).await;
    check(JobOutcome::Cancelled, JobState::Cancelled, None).await;
    let failed = JobOutcome::Failed { error_json: "{}".to_owned() };
    check(failed, JobState::Failed, Some("{}")).await;
}

#[tokio::test]
async fn jobs_are_listed_in_pages_for_each_owner() {
    let test = TestStore::new().await;
    let mut alices = Vec::new();
    for _ in 0..5 {
        alices.insert(0, test.insert(job("alice")).await);
        test.insert(job("bob")).await;
    }
    let first = test.store.list("alice", None, 2).await.unwrap();
    assert_eq!(ids(&first), alices[..2]);
    let second = test.store.list("alice", Some(alices[1]), 2).await.unwrap();
    assert_eq!(ids(&second), alices[2..4]);
    let rest = test.store.list("alice", Some(alices[3]), 100).await.unwrap();
    assert_eq!(ids(&rest), alices[4..]);
    assert_eq!(test.store.list("carol", None, 100).await.unwrap(), []);
}

#[tokio::test]
async fn unfinished_jobs_come_oldest_first() {
    let test = TestStore::new().await;
    let mut jobs = Vec::new();
    for owner in ["alice", "bob", "alice", "bob"] {
        jobs.push(test.insert(job(owner)).await);
    }
    test.store.mark_running(jobs[2], 600).await.unwrap();
    test.store.finish(jobs[1], JobOutcome::Cancelled, 700, None).await.unwrap();
    let unfinished = test.unfinished().await;
    assert_eq!(ids(&unfinished), [jobs[0], jobs[2], jobs[3]]);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job_of_the_same_request() {
    let test = TestStore::new().await;
    let keyed = |owner: &str, fingerprint: &str| NewJob {
        idempotency_key: Some("k".to_owned()),
        fingerprint: fingerprint.to_owned(),
        ..job(owner)
    };
    let id = test.insert(keyed("alice", "f1")).await;
    match test.store.insert(keyed("alice", "f1")).await.unwrap() {
        Inserted::Same(job) => assert_eq!(job.id, id),
        other => panic!("{other:?}"),
    }
    let other_request = test.store.insert(keyed("alice", "f2")).await.unwrap();
    assert!(matches!(other_request, Inserted::Reused), "{other_request:?}");
    test.insert(keyed("bob", "f1")).await;
    test.insert(job("alice")).await;
    test.insert(job("alice")).await;
    assert_eq!(test.store.list("alice", None, 100).await.unwrap().len(), 3);
    let found = test.store.find("alice", "k").await.unwrap().expect("the job is there");
    assert_eq!((found.0, found.1.as_str()), (test.job("alice", id).await, "f1"));
    assert_eq!(test.store.find("alice", "l").await.unwrap(), None, "another key");
    assert_eq!(test.store.find("carol", "k").await.unwrap(), None, "another owner");
    // A key is free again with its job.
    assert!(test.store.delete("alice", id).await.unwrap());
    assert_eq!(test.store.find("alice", "k").await.unwrap(), None);
    test.insert(keyed("alice", "f2")).await;
}

#[tokio::test]
async fn a_job_is_deleted_by_its_owner_with_all_that_belongs_to_it() {
    let test = TestStore::new().await;
    let id = test.insert(job("alice")).await;
    test.store.put_chunk(id, &chunk(0)).await.unwrap();
    assert!(!test.store.delete("bob", id).await.unwrap());
    assert_eq!(test.store.chunks(id).await.unwrap().len(), 1);
    assert!(test.store.delete("alice", id).await.unwrap());
    assert!(!test.store.delete("alice", id).await.unwrap(), "twice");
    assert_eq!(test.store.chunks(id).await.unwrap(), []);
}

#[tokio::test]
async fn jobs_expire_by_the_time_that_servers_have_run() {
    let test = TestStore::new().await;
    let [old, recent, unfinished] =
        [test.insert(job("")).await, test.insert(job("")).await, test.insert(job("")).await];
    let hours = |hours: u64| Duration::from_secs(3_600 * hours);
    test.store.finish(old, JobOutcome::Finished, 1_000, None).await.unwrap();
    test.store.add_uptime(hours(20)).await.unwrap();
    // By the system's clock it ends before the other one, and days later.
    for now_ms in [-1_000, 3 * 86_400_000] {
        test.store.finish(recent, JobOutcome::Finished, now_ms, None).await.unwrap();
        assert_eq!(test.store.expired(hours(24)).await.unwrap(), []);
    }
    test.store.add_uptime(hours(5)).await.unwrap();
    let expired = test.store.expired(hours(24)).await.unwrap();
    assert_eq!(expired, [old]);
    test.store.delete_ended(&[old, unfinished]).await.unwrap();
    assert_eq!(ids(&test.store.list("", None, 100).await.unwrap()), [unfinished, recent]);
    let test = test.reopened().await;
    test.store.add_uptime(hours(24)).await.unwrap();
    assert_eq!(test.store.expired(hours(24)).await.unwrap(), [recent], "time adds up");
}

#[tokio::test]
async fn a_job_ends_at_the_uptime_of_its_end() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    *test.store.counted.lock().unwrap() -= Duration::from_secs(50);
    test.store.finish(id, JobOutcome::Finished, 1_000, None).await.unwrap();
    test.store.count_uptime().await.unwrap();
    assert_eq!(test.store.expired(Duration::from_secs(40)).await.unwrap(), []);
    test.store.add_uptime(Duration::from_secs(50)).await.unwrap();
    assert_eq!(test.store.expired(Duration::from_secs(40)).await.unwrap(), [id]);
}

#[test]
fn an_id_is_a_plain_uuid_everywhere() {
    let id = JobId::new();
    let text = id.to_string();
    assert_eq!(text.len(), 36);
    assert_eq!(text.parse::<JobId>().unwrap(), id);
    assert_eq!(serde_json::to_value(id).unwrap(), text);
    assert_eq!(serde_json::from_value::<JobId>(text.into()).unwrap(), id);
    assert!("no-uuid".parse::<JobId>().is_err());
    assert!(JobId::new() > id);
}
