//! Sends the events that are due, and retries those that have not been delivered.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::task::{self, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::WebhookSettings;
use super::send::{DeliveryAttempt, DeliveryOutcome, Sender};
use crate::store::{
    Delivery, DeliveryReport, DeliveryState, Excluded, JobStore, StoreError, unix_ms,
};

/// Deliveries in flight at the same time, each to another receiver.
const AT_ONCE: usize = 32;

/// How many of them may go to one host, on all its ports together.
const MOST_FOR_HOST: usize = 8;

/// How many of them may belong to one owner.
const MOST_FOR_OWNER: usize = 16;

/// The longest pause that a receiver may ask for.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The longest sleep: the system's clock may have been set meanwhile.
const MOST_SLEEP: Duration = Duration::from_secs(60);

/// The pause after a failure of the database.
const STORE_PAUSE: Duration = Duration::from_secs(10);

/// How often, and for how long, an event is retried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// The longest that a receiver may take to answer.
    pub(crate) timeout: Duration,
    /// The pause before the second attempt. Each later one is three times as long, and each is
    /// lengthened by a random share of itself.
    pub(crate) first_pause: Duration,
    /// The longest pause, before that share is added.
    pub(crate) longest_pause: Duration,
    /// How often an event is tried.
    pub(crate) attempts: u32,
}

impl Default for RetryPolicy {
    /// Eight attempts over 40 to 80 minutes.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(15 * 60),
            attempts: 8,
        }
    }
}

impl RetryPolicy {
    /// The pause after this many attempts; `None` after the last.
    fn pause(&self, attempts: u32) -> Option<Duration> {
        let pauses = ExponentialBuilder::new()
            .with_factor(3.0)
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(self.attempts.saturating_sub(1) as usize)
            .with_jitter();
        pauses.build().nth(attempts.saturating_sub(1) as usize)
    }
}

/// Delivers the events of a store.
#[derive(Debug)]
pub(crate) struct Deliverer {
    context: Arc<DeliveryContext>,
    under_way: JoinSet<Result<(), StoreError>>,
    /// The owner and the receiver of each running delivery.
    slots: HashMap<task::Id, DeliverySlot>,
}

/// The owner and the receiver of one of the [`AT_ONCE`] deliveries.
#[derive(Debug)]
struct DeliverySlot {
    owner: String,
    host: String,
    port: u16,
}

/// What every delivery needs.
#[derive(Debug)]
struct DeliveryContext {
    store: JobStore,
    sender: Sender,
    retries: RetryPolicy,
}

impl Deliverer {
    /// Delivers the events in `store`.
    pub(crate) fn new(
        store: JobStore,
        settings: &WebhookSettings,
        retries: RetryPolicy,
    ) -> reqwest::Result<Self> {
        let sender = Sender::new(settings, retries.timeout)?;
        let context = Arc::new(DeliveryContext { store, sender, retries });
        Ok(Self { context, under_way: JoinSet::new(), slots: HashMap::new() })
    }

    /// Delivers until `stop`, and returns once nothing is in flight. The rest continues after the
    /// next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let wake_after = self.start_due().await.unwrap_or_else(|error| {
                tracing::error!("webhooks wait: {error}");
                Some(STORE_PAUSE)
            });
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.context.store.delivery_added() => {}
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended),
                () = async {
                    match wake_after {
                        Some(pause) => sleep(pause).await,
                        None => pending().await,
                    }
                } => {}
            }
        }
        while let Some(ended) = self.under_way.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Starts what is due, and returns how long until more may be due; `None` if that takes the end
    /// of a delivery or a new event.
    async fn start_due(&mut self) -> Result<Option<Duration>, StoreError> {
        while self.under_way.len() < AT_ONCE {
            let excluded = excluded(&self.slots);
            let Some(delivery) = self.context.store.next_delivery(&excluded).await? else { break };
            let wait_ms = delivery.due_at_ms.saturating_sub(unix_ms());
            // A longer wait was never asked for: the system's clock has been set back.
            if wait_ms > 0 && Duration::from_millis(wait_ms.unsigned_abs()) <= MOST_RETRY_AFTER {
                return Ok(Some(Duration::from_millis(wait_ms.unsigned_abs()).min(MOST_SLEEP)));
            }
            let slot = DeliverySlot {
                owner: delivery.owner.clone(),
                host: delivery.host.clone(),
                port: delivery.port,
            };
            let handle = self.under_way.spawn(Arc::clone(&self.context).deliver(delivery));
            self.slots.insert(handle.id(), slot);
        }
        Ok(None)
    }

    fn ended(&mut self, ended: Result<(task::Id, Result<(), StoreError>), task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.slots.remove(&id);
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => {
                tracing::error!("the result of a webhook's delivery was not stored: {error}");
            }
            Err(error) => tracing::error!("a webhook's delivery failed: {error}"),
        }
    }
}

impl DeliveryContext {
    async fn deliver(self: Arc<Self>, delivery: Delivery) -> Result<(), StoreError> {
        let attempt = self.sender.send(&delivery).await;
        let attempts = delivery.attempts.saturating_add(1);
        let (state, pause) = self.consequence(&attempt.outcome, attempts);
        log(&delivery, &attempt, state, pause);
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let next_at_ms = unix_ms().saturating_add(pause_ms);
        let DeliveryAttempt { status: last_status, error: last_error, .. } = attempt;
        let report = DeliveryReport { state, attempts, last_status, last_error };
        let stored = self.store.record_delivery(delivery.job, &delivery.event, &report, next_at_ms);
        let stored = stored.await;
        if stored.is_err() {
            // Otherwise it would be sent again at once, and again.
            sleep(STORE_PAUSE).await;
        }
        stored
    }

    /// The new state of an event, and the pause before its next attempt.
    fn consequence(&self, outcome: &DeliveryOutcome, attempts: u32) -> (DeliveryState, Duration) {
        match outcome {
            DeliveryOutcome::Delivered => (DeliveryState::Delivered, Duration::ZERO),
            DeliveryOutcome::Refused => (DeliveryState::Failed, Duration::ZERO),
            DeliveryOutcome::Retry { after } => match self.retries.pause(attempts) {
                Some(pause) => (DeliveryState::Pending, pause.max(*after).min(MOST_RETRY_AFTER)),
                None => (DeliveryState::Failed, Duration::ZERO),
            },
        }
    }
}

/// Receivers, hosts and owners whose events must wait for one of theirs to end: a receiver gets one
/// at a time, and no host or owner takes all slots.
fn excluded(slots: &HashMap<task::Id, DeliverySlot>) -> Excluded {
    let full = |name: fn(&DeliverySlot) -> &String, most: usize| -> HashSet<String> {
        let names = || slots.values().map(name);
        let held = |name: &String| names().filter(|other| *other == name).count();
        names().filter(|name| held(name) >= most).cloned().collect()
    };
    let mut owners = full(|slot| &slot.owner, MOST_FOR_OWNER);
    // Without keys, all jobs have the same owner.
    owners.remove("");
    let receivers = slots.values().map(|slot| (slot.host.clone(), slot.port));
    let hosts = full(|slot| &slot.host, MOST_FOR_HOST);
    Excluded { receivers: receivers.collect(), hosts, owners }
}

/// Addresses and receivers are private and not logged.
fn log(delivery: &Delivery, attempt: &DeliveryAttempt, state: DeliveryState, pause: Duration) {
    let job = delivery.job;
    let attempts = delivery.attempts.saturating_add(1);
    let reason = attempt.detail.as_ref().or(attempt.error.as_ref());
    let reason = reason.map(String::as_str).unwrap_or_default();
    match state {
        DeliveryState::Delivered => tracing::debug!(job.id = %job, attempts, "webhook delivered"),
        DeliveryState::Pending => tracing::info!(
            job.id = %job, attempts, pause_ms = pause.as_millis(),
            "a webhook was not delivered and will be tried again: {reason}"
        ),
        DeliveryState::Failed => tracing::warn!(
            job.id = %job, attempts,
            "a webhook is given up: {reason}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_about_an_hour_in_all() {
        let retries = RetryPolicy::default();
        let seconds = |attempts| retries.pause(attempts).map(|pause| pause.as_secs());
        for (attempts, shortest) in (1..).zip([5, 15, 45, 135, 405, 900, 900]) {
            let pause = seconds(attempts).expect("another attempt");
            assert!((shortest..=2 * shortest).contains(&pause), "{attempts}: {pause}");
        }
        assert_eq!(seconds(8), None);
        assert_eq!(seconds(9), None);
    }
}
