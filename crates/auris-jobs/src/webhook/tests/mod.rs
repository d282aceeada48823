//! Deliveries to receivers that misbehave.

mod receiver;

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::receiver::{Receiver, Reply};
use super::sign::Signer;
use super::*;
use crate::store::tests::test_store::TestStore;
use crate::store::{DeliveryReport, DeliveryState, JobId, unix_ms};

fn settings() -> WebhookSettings {
    let secrets = vec!["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3".parse().unwrap()];
    WebhookSettings { secrets, allow_private: true }
}

/// Retries at once, with a short timeout.
const QUICK: RetryPolicy = RetryPolicy {
    timeout: Duration::from_secs(30),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    attempts: 3,
};

/// A running deliverer.
struct Work {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Work {
    fn start(test: &TestStore, retries: RetryPolicy) -> Self {
        let deliverer = Deliverer::new(test.store.clone(), &settings(), retries).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(deliverer.run(stop.clone()));
        Self { stop, task }
    }

    /// Waits until the running deliveries are done and recorded.
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it wherever it is.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }
}

impl TestStore {
    async fn event_for(&self, receiver: &Receiver) -> JobId {
        self.finished("", &receiver.url()).await
    }

    async fn report(&self, job: JobId) -> DeliveryReport {
        self.job("", job).await.delivery.expect("the job has an event")
    }
}

fn report(state: DeliveryState, attempts: u32, last_status: Option<u16>) -> DeliveryReport {
    let last_error = last_status.filter(|_| state != DeliveryState::Delivered);
    let last_error = last_error.map(|status| {
        let status = reqwest::StatusCode::from_u16(status).unwrap();
        format!("the receiver answered {status}")
    });
    DeliveryReport { state, attempts, last_status, last_error }
}

/// Sends a job's event to a receiver that answers with `replies`, until it has come `times`, and
/// returns what is then known of it.
async fn sent(replies: Vec<Reply>, times: u32, retries: RetryPolicy) -> DeliveryReport {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(replies).await;
    let job = test.event_for(&receiver).await;
    let work = Work::start(&test, retries);
    for _ in 0..times {
        assert_eq!(receiver.request().await.header("webhook-id"), format!("evt_{job}"));
    }
    work.end().await;
    receiver.assert_quiet();
    test.report(job).await
}

#[tokio::test]
async fn an_event_arrives_signed_and_once() {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(vec![Reply::status("204 No Content")]).await;
    let work = Work::start(&test, QUICK);
    let job = test.event_for(&receiver).await;
    let request = receiver.request().await;
    work.end().await;
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), format!("evt_{job}"));
    assert_eq!(request.body, "{}");
    let timestamp: i64 = request.header("webhook-timestamp").parse().unwrap();
    assert!((0..60).contains(&(unix_ms() / 1_000 - timestamp)), "{timestamp}");
    let signature =
        Signer::new(settings().secrets).sign(&format!("evt_{job}"), timestamp, &request.body);
    assert_eq!(request.header("webhook-signature"), signature);
    assert_eq!(test.report(job).await, report(DeliveryState::Delivered, 1, Some(204)));
    receiver.assert_quiet();
}

#[tokio::test]
async fn an_event_is_tried_again_under_the_same_name_until_it_arrives() {
    let replies = ["500 Internal Server Error", "429 Too Many Requests", "200 OK"];
    let last = sent(replies.map(Reply::status).to_vec(), 3, QUICK).await;
    assert_eq!(last, report(DeliveryState::Delivered, 3, Some(200)));
}

#[tokio::test]
async fn an_event_is_given_up_after_the_last_attempt() {
    let replies = vec![Reply::status("503 Service Unavailable")];
    let given_up = report(DeliveryState::Failed, 3, Some(503));
    assert_eq!(sent(replies, QUICK.attempts, QUICK).await, given_up);
}

#[tokio::test]
async fn an_answer_that_will_not_change_ends_the_attempts() {
    for (status, code) in [("410 Gone", 410), ("404 Not Found", 404), ("400 Bad Request", 400)] {
        let given_up = report(DeliveryState::Failed, 1, Some(code));
        assert_eq!(sent(vec![Reply::status(status)], 1, QUICK).await, given_up);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let test = TestStore::new().await;
    let mut inner = Receiver::start(vec![Reply::status("200 OK")]).await;
    let location = format!("location: {}", inner.url());
    let mut outer =
        Receiver::start(vec![Reply::Head("307 Temporary Redirect", vec![location])]).await;
    let job = test.event_for(&outer).await;
    let work = Work::start(&test, QUICK);
    outer.request().await;
    work.end().await;
    inner.assert_quiet();
    let report = test.report(job).await;
    assert_eq!((report.state, report.last_status), (DeliveryState::Failed, Some(307)));
    insta::assert_snapshot!(report.last_error.unwrap(), @"the receiver answered 307 Temporary Redirect, and redirects are not followed");
}

#[tokio::test]
async fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
    async fn check(retry_after: String, seconds: std::ops::RangeInclusive<i64>) {
        let test = TestStore::new().await;
        let header = format!("retry-after: {retry_after}");
        let reply = Reply::Head("503 Service Unavailable", vec![header]);
        let mut receiver = Receiver::start(vec![reply]).await;
        test.event_for(&receiver).await;
        let work = Work::start(&test, QUICK);
        receiver.request().await;
        work.end().await;
        let next = test.store.next_delivery(&Default::default()).await.unwrap().unwrap();
        let wait_seconds = (next.due_at_ms - unix_ms()) / 1_000;
        assert!(seconds.contains(&wait_seconds), "{retry_after}: {wait_seconds}");
    }
    check("120".to_owned(), 60..=120).await;
    let date = std::time::SystemTime::now() + Duration::from_secs(600);
    check(httpdate::fmt_http_date(date), 500..=600).await;
    check("999999999999".to_owned(), 3_500..=3_600).await;
}

#[tokio::test]
async fn a_silent_receiver_is_given_up() {
    let retries = RetryPolicy { timeout: Duration::from_millis(100), attempts: 2, ..QUICK };
    let report = sent(vec![Reply::Nothing], 2, retries).await;
    assert_eq!((report.state, report.last_status), (DeliveryState::Failed, None));
    assert_eq!(report.last_error.unwrap(), "the receiver could not be reached");
}

#[tokio::test]
async fn a_slow_receiver_delays_only_its_own_events() {
    let test = TestStore::new().await;
    let mut slow = Receiver::start(vec![Reply::Nothing]).await;
    let mut other = Receiver::start(vec![Reply::status("200 OK")]).await;
    for _ in 0..40 {
        test.event_for(&slow).await;
    }
    for _ in 0..3 {
        test.event_for(&other).await;
    }
    let work = Work::start(&test, QUICK);
    slow.request().await;
    for _ in 0..3 {
        other.request().await;
    }
    slow.assert_quiet();
    work.kill().await;
}

#[tokio::test]
async fn a_host_with_many_ports_leaves_slots_for_others() {
    let test = TestStore::new().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let receiver = Receiver::start(vec![Reply::Nothing]).await;
        test.event_for(&receiver).await;
        silent.push(receiver);
    }
    let host = Ipv4Addr::new(127, 0, 0, 2);
    let mut other = Receiver::start_at(host, vec![Reply::status("200 OK")]).await;
    test.event_for(&other).await;
    let work = Work::start(&test, QUICK);
    other.request().await;
    for receiver in &mut silent[..8] {
        receiver.request().await;
    }
    silent[8..].iter_mut().for_each(Receiver::assert_quiet);
    work.kill().await;
}

#[tokio::test]
async fn an_owner_with_many_receivers_leaves_slots_for_others() {
    let test = TestStore::new().await;
    let mut silent = Vec::new();
    for number in 1..=40 {
        let host = Ipv4Addr::new(127, 0, 0, number);
        let receiver = Receiver::start_at(host, vec![Reply::Nothing]).await;
        test.finished("alice", &receiver.url()).await;
        silent.push(receiver);
    }
    let mut other = Receiver::start(vec![Reply::status("200 OK")]).await;
    test.finished("bob", &other.url()).await;
    let work = Work::start(&test, QUICK);
    other.request().await;
    for receiver in &mut silent[..16] {
        receiver.request().await;
    }
    silent[16..].iter_mut().for_each(Receiver::assert_quiet);
    work.kill().await;
}

#[tokio::test]
async fn the_event_of_a_deleted_job_still_arrives() {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(vec![Reply::status("200 OK")]).await;
    let job = test.event_for(&receiver).await;
    assert!(test.store.delete("", job).await.unwrap());
    let work = Work::start(&test, QUICK);
    assert_eq!(receiver.request().await.header("webhook-id"), format!("evt_{job}"));
    work.end().await;
    assert_eq!(test.store.next_delivery(&Default::default()).await.unwrap(), None);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let delivered = report(DeliveryState::Delivered, 1, Some(200));
    assert_eq!(sent(vec![Reply::Endless("200 OK")], 1, QUICK).await, delivered);
}

#[tokio::test]
async fn deliveries_continue_after_a_restart() {
    let test = TestStore::new().await;
    let replies = ["500 Internal Server Error", "200 OK"].map(Reply::status);
    let mut receiver = Receiver::start(replies.to_vec()).await;
    let job = test.event_for(&receiver).await;
    let hour = Duration::from_secs(3_600);
    let work = Work::start(&test, RetryPolicy { first_pause: hour, longest_pause: hour, ..QUICK });
    receiver.request().await;
    work.end().await;
    let tried = report(DeliveryState::Pending, 1, Some(500));
    assert_eq!(test.report(job).await, tried);
    let test = test.reopened().await;
    // An hour later.
    test.tried(job, &tried, unix_ms()).await;
    let work = Work::start(&test, QUICK);
    assert_eq!(receiver.request().await.header("webhook-id"), format!("evt_{job}"));
    work.end().await;
    assert_eq!(test.report(job).await, report(DeliveryState::Delivered, 2, Some(200)));
}

#[tokio::test]
async fn an_attempt_that_was_killed_is_made_again() {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(vec![Reply::Nothing, Reply::status("200 OK")]).await;
    let job = test.event_for(&receiver).await;
    let work = Work::start(&test, QUICK);
    receiver.request().await;
    work.kill().await;
    let work = Work::start(&test, QUICK);
    assert_eq!(receiver.request().await.header("webhook-id"), format!("evt_{job}"));
    work.end().await;
    assert_eq!(test.report(job).await, report(DeliveryState::Delivered, 1, Some(200)));
}

#[tokio::test]
async fn the_servers_own_network_is_not_called() {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(vec![Reply::status("200 OK")]).await;
    let by_number = test.event_for(&receiver).await;
    let url = format!("http://localhost:{}/", receiver.port);
    let by_name = test.finished("", &url).await;
    // Stopped from the start, it still does what is due.
    let settings = WebhookSettings { allow_private: false, ..settings() };
    let deliverer = Deliverer::new(test.store.clone(), &settings, QUICK).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    deliverer.run(stop).await;
    for job in [by_number, by_name] {
        let report = test.report(job).await;
        assert_eq!((report.state, report.attempts), (DeliveryState::Failed, 1));
        assert_eq!(report.last_error.unwrap(), "the receiver could not be reached");
    }
    receiver.assert_quiet();
}

#[tokio::test]
async fn an_unreached_receiver_is_reported_the_same_whatever_is_there() {
    let test = TestStore::new().await;
    let closed = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut jobs = Vec::new();
    for url in [
        "http://no-such-name.invalid/".to_owned(),
        format!("http://{}/", closed()),
        format!("https://{}/", closed()),
    ] {
        jobs.push(test.finished("", &url).await);
    }
    let deliverer = Deliverer::new(test.store.clone(), &settings(), QUICK).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    deliverer.run(stop).await;
    for job in jobs {
        let report = test.report(job).await;
        assert_eq!(report.state, DeliveryState::Pending);
        assert_eq!(report.last_error.as_deref(), Some("the receiver could not be reached"));
    }
}

#[tokio::test]
async fn an_event_is_sent_when_the_clock_was_set_back_by_days() {
    let test = TestStore::new().await;
    let mut receiver = Receiver::start(vec![Reply::status("200 OK")]).await;
    let job = test.event_for(&receiver).await;
    let report = report(DeliveryState::Pending, 1, Some(500));
    test.tried(job, &report, unix_ms() + 3 * 86_400_000).await;
    let work = Work::start(&test, QUICK);
    receiver.request().await;
    work.end().await;
}
