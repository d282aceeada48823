//! Events on their way.

use std::collections::HashSet;

use super::super::{DeliveryReport, DeliveryState, JobId, NewDelivery, Outcome, Store};
use super::place::{Place, job};

async fn due(store: &Store, now_ms: i64, busy: &[&str], limit: usize) -> Vec<JobId> {
    let busy: HashSet<_> = busy.iter().map(|&receiver| receiver.to_owned()).collect();
    let due = store.due_deliveries(now_ms, &busy, limit).await.unwrap();
    due.into_iter().map(|delivery| delivery.job).collect()
}

fn report(state: DeliveryState, attempts: u32) -> DeliveryReport {
    DeliveryReport { state, attempts, last_status: Some(500), last_error: None }
}

#[tokio::test]
async fn each_receiver_gets_one_event_at_a_time_and_the_longest_due_first() {
    let place = Place::new().await;
    let first = place.finished("https://a.example/1", "a.example:443").await;
    let second = place.finished("https://a.example/2", "a.example:443").await;
    let other = place.finished("https://b.example/", "b.example:443").await;
    let store = &place.store;
    assert_eq!(due(store, 999, &[], 10).await, [], "not yet");
    assert_eq!(due(store, 1_000, &[], 10).await, [first, other]);
    assert_eq!(due(store, 1_000, &["a.example:443"], 10).await, [other]);
    assert_eq!(due(store, 1_000, &[], 1).await, [first]);
    store.record_delivery(first, &report(DeliveryState::Pending, 1), 5_000).await.unwrap();
    assert_eq!(due(store, 4_999, &[], 10).await, [second, other]);
    assert_eq!(store.next_delivery_at(&HashSet::new()).await.unwrap(), Some(1_000));
    for done in [second, other] {
        store.record_delivery(done, &report(DeliveryState::Delivered, 1), 0).await.unwrap();
    }
    assert_eq!(due(store, 4_999, &[], 10).await, []);
    assert_eq!(store.next_delivery_at(&HashSet::new()).await.unwrap(), Some(5_000));
    assert_eq!(due(store, 5_000, &[], 10).await, [first]);
    store.record_delivery(first, &report(DeliveryState::Failed, 2), 0).await.unwrap();
    assert_eq!(store.next_delivery_at(&HashSet::new()).await.unwrap(), None);
}

#[tokio::test]
async fn a_job_tells_how_far_its_event_is_also_after_a_restart() {
    let place = Place::new().await;
    let id = place.finished("https://a.example/1", "a.example:443").await;
    let pending = DeliveryReport {
        state: DeliveryState::Pending,
        attempts: 0,
        last_status: None,
        last_error: None,
    };
    assert_eq!(place.job("", id).await.delivery, Some(pending));
    let tried = DeliveryReport {
        attempts: 3,
        last_error: Some("connection refused".to_owned()),
        ..report(DeliveryState::Pending, 3)
    };
    place.store.record_delivery(id, &tried, 5_000).await.unwrap();
    let place = place.reopened().await;
    let job = place.job("", id).await;
    assert_eq!(job.delivery, Some(tried));
    assert_eq!(job.webhook_url.as_deref(), Some("https://a.example/1"));
    let due = place.store.due_deliveries(5_000, &HashSet::new(), 1).await.unwrap();
    assert_eq!((due[0].attempts, due[0].event.as_str()), (3, format!("evt_{id}").as_str()));
}

#[tokio::test]
async fn a_job_without_a_webhook_or_that_had_ended_tells_nobody() {
    let place = Place::new().await;
    let delivery = || Some(NewDelivery { event: "evt_1".to_owned(), body: "{}".to_owned() });
    let id = place.insert(job("")).await;
    assert!(place.store.finish(id, Outcome::Finished, 1_000, delivery()).await.unwrap());
    let told = place.finished("https://a.example/1", "a.example:443").await;
    assert!(!place.store.finish(told, Outcome::Cancelled, 1_000, delivery()).await.unwrap());
    assert_eq!(due(&place.store, 1_000, &[], 10).await, [told]);
}

#[tokio::test]
async fn an_event_goes_with_its_job() {
    let place = Place::new().await;
    let id = place.finished("https://a.example/1", "a.example:443").await;
    assert!(place.store.delete("", id).await.unwrap());
    assert_eq!(due(&place.store, 1_000, &[], 10).await, []);
    place.store.record_delivery(id, &report(DeliveryState::Failed, 1), 0).await.unwrap();
}
