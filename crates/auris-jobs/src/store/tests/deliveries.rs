//! Pending events.

use std::collections::HashSet;

use super::super::{
    DeliveryReport, DeliveryState, Excluded, JobId, JobOutcome, JobStore, NewDelivery, NewJob,
};
use super::test_store::{TestStore, job};
use crate::webhook::check_address;

/// The job of the next event, and when it is due.
async fn next(store: &JobStore, excluded: &Excluded) -> Option<(JobId, i64)> {
    let next = store.next_delivery(excluded).await.unwrap();
    next.map(|delivery| (delivery.job, delivery.due_at_ms))
}

fn report(state: DeliveryState, attempts: u32) -> DeliveryReport {
    DeliveryReport { state, attempts, last_status: Some(500), last_error: None }
}

#[tokio::test]
async fn the_event_that_is_due_first_comes_next() {
    let test = TestStore::new().await;
    let first = test.finished("", "https://a.example/1").await;
    let second = test.finished("", "https://a.example/2").await;
    let (store, all) = (&test.store, Excluded::default());
    assert_eq!(next(store, &all).await, Some((first, 1_000)));
    test.tried(first, &report(DeliveryState::Pending, 1), 5_000).await;
    assert_eq!(next(store, &all).await, Some((second, 1_000)));
    test.tried(second, &report(DeliveryState::Delivered, 1), 0).await;
    assert_eq!(next(store, &all).await, Some((first, 5_000)));
    test.tried(first, &report(DeliveryState::Failed, 2), 0).await;
    assert_eq!(next(store, &all).await, None);
}

#[tokio::test]
async fn events_of_excluded_receivers_hosts_and_owners_are_skipped() {
    let test = TestStore::new().await;
    let first = test.finished("alice", "https://a.example/").await;
    let same_host = test.finished("alice", "https://a.example:8443/").await;
    let same_owner = test.finished("alice", "https://b.example/").await;
    let other = test.finished("bob", "https://c.example/").await;
    let check = async |excluded: Excluded, job: JobId| {
        assert_eq!(next(&test.store, &excluded).await, Some((job, 1_000)), "{excluded:?}");
    };
    let set = |name: &str| HashSet::from([name.to_owned()]);
    check(Excluded::default(), first).await;
    let receivers = HashSet::from([("a.example".to_owned(), 443)]);
    check(Excluded { receivers, ..Excluded::default() }, same_host).await;
    check(Excluded { hosts: set("a.example"), ..Excluded::default() }, same_owner).await;
    check(Excluded { owners: set("alice"), ..Excluded::default() }, other).await;
    let rest = Excluded { owners: set("alice"), hosts: set("c.example"), ..Excluded::default() };
    assert_eq!(next(&test.store, &rest).await, None);
}

#[tokio::test]
async fn a_job_reports_how_far_its_event_is_also_after_a_restart() {
    let test = TestStore::new().await;
    let id = test.finished("", "https://a.example/1").await;
    let pending = DeliveryReport {
        state: DeliveryState::Pending,
        attempts: 0,
        last_status: None,
        last_error: None,
    };
    assert_eq!(test.job("", id).await.delivery, Some(pending));
    let tried = DeliveryReport {
        attempts: 3,
        last_error: Some("connection refused".to_owned()),
        ..report(DeliveryState::Pending, 3)
    };
    test.tried(id, &tried, 5_000).await;
    let test = test.reopened().await;
    let job = test.job("", id).await;
    assert_eq!(job.delivery, Some(tried));
    assert_eq!(job.webhook_url.as_deref(), Some("https://a.example/1"));
    let next = test.store.next_delivery(&Excluded::default()).await.unwrap().expect("pending");
    assert_eq!((next.attempts, next.event), (3, format!("evt_{id}")));
}

#[tokio::test]
async fn a_job_without_a_webhook_or_already_ended_sends_no_event() {
    let test = TestStore::new().await;
    let delivery = || Some(NewDelivery { event: "evt_1".to_owned(), body: "{}".to_owned() });
    let id = test.insert(job("")).await;
    assert!(test.store.finish(id, JobOutcome::Finished, 1_000, delivery()).await.unwrap());
    let ended = test.finished("", "https://a.example/1").await;
    assert!(!test.store.finish(ended, JobOutcome::Cancelled, 1_000, delivery()).await.unwrap());
    assert_eq!(next(&test.store, &Excluded::default()).await, Some((ended, 1_000)));
    assert_eq!(events(&test).await, 1);
}

#[tokio::test]
async fn a_pending_event_outlives_its_job_and_goes_when_it_settles() {
    async fn check(remove: impl AsyncFn(&JobStore, JobId), settled: DeliveryState) {
        let test = TestStore::new().await;
        let id = test.finished("", "https://a.example/1").await;
        let (store, all) = (&test.store, Excluded::default());
        remove(store, id).await;
        assert_eq!(store.get("", id).await.unwrap(), None);
        assert_eq!(next(store, &all).await, Some((id, 1_000)));
        test.tried(id, &report(DeliveryState::Pending, 1), 5_000).await;
        assert_eq!(next(store, &all).await, Some((id, 5_000)));
        test.tried(id, &report(settled, 2), 0).await;
        assert_eq!(events(&test).await, 0);
    }
    let delete = async |store: &JobStore, id: JobId| assert!(store.delete("", id).await.unwrap());
    let expire = async |store: &JobStore, id: JobId| store.delete_ended(&[id]).await.unwrap();
    check(delete, DeliveryState::Delivered).await;
    check(expire, DeliveryState::Failed).await;
}

#[tokio::test]
async fn a_settled_event_goes_with_its_job() {
    let test = TestStore::new().await;
    let id = test.finished("", "https://a.example/1").await;
    test.tried(id, &report(DeliveryState::Delivered, 1), 0).await;
    assert_eq!(events(&test).await, 1);
    assert!(test.store.delete("", id).await.unwrap());
    assert_eq!(events(&test).await, 0);
}

/// How many events are kept, settled ones included.
async fn events(test: &TestStore) -> i64 {
    let query = sqlx::query_scalar("SELECT count(*) FROM deliveries");
    query.fetch_one(&test.store.readers).await.unwrap()
}

#[tokio::test]
async fn an_attempt_that_ends_after_a_retry_of_its_job_changes_nothing() {
    let test = TestStore::new().await;
    let webhook = check_address("https://a.example/1", true).unwrap();
    let id = test.insert(NewJob { webhook: Some(webhook), ..job("") }).await;
    let end = async |event: &str| {
        let delivery = NewDelivery { event: event.to_owned(), body: "{}".to_owned() };
        let failed = JobOutcome::Failed { error_json: "{}".to_owned() };
        assert!(test.store.finish(id, failed, 1_000, Some(delivery)).await.unwrap());
    };
    end("evt_1").await;
    assert!(!test.store.requeue("bob", id).await.unwrap(), "another's job");
    assert!(test.store.requeue("", id).await.unwrap());
    assert!(!test.store.requeue("", id).await.unwrap(), "twice");
    assert_eq!(events(&test).await, 0, "the failure is no longer true");
    end("evt_2").await;
    let late = report(DeliveryState::Delivered, 1);
    test.store.record_delivery(id, "evt_1", &late, 0).await.unwrap();
    let next = test.store.next_delivery(&Excluded::default()).await.unwrap().expect("pending");
    assert_eq!(next.event, "evt_2");
}
