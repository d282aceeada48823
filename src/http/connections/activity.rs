//! What a connection waits for: its client, or the server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::allowance::Allowance;

/// An upload that is slower than this may be closed for a new connection.
const SLOW_BYTES_PER_SECOND: u64 = 1_000;

/// How long a client may send or take nothing before its connection may be closed for a new one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client has for the first bytes of a request before its connection counts as idle.
const FRESH: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Stage {
    /// Between two requests, or before the first.
    Idle,
    /// The body of a request arrives.
    Receiving,
    /// The request is complete, and its response is not.
    Working,
    /// The client is made to wait, and may be closed meanwhile.
    Delayed,
    /// The end of the response is on its way.
    Flushing,
}

/// The number of a request on its connection.
pub(super) type RequestNumber = u64;

/// How urgently a connection may be closed: idle ones first, then those that have stalled longest.
pub(super) type EvictionRank = (bool, Duration);

/// Kept up to date by a connection's stream and bodies, and read when there is no room for another
/// connection.
#[derive(Debug)]
pub(in crate::http) struct Activity(Mutex<CurrentActivity>);

#[derive(Debug, Clone, Copy)]
struct CurrentActivity {
    request: RequestNumber,
    stage: Stage,
    since: Instant,
    allowance: Allowance,
    /// Whether the server is ready for more of an upload.
    is_awaited: bool,
    /// Since when the client takes nothing of what is sent.
    blocked_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(CurrentActivity {
            request: 0,
            stage: Stage::Idle,
            since: Instant::now(),
            allowance: allowance(),
            is_awaited: false,
            blocked_since: None,
        }))
    }

    /// The next request has arrived, with or without a body.
    pub(super) fn begin(&self, has_body: bool) -> RequestNumber {
        let mut current = self.lock();
        current.request += 1;
        current.allowance = allowance();
        current.is_awaited = false;
        current.enter(if has_body { Stage::Receiving } else { Stage::Working });
        current.request
    }

    pub(in crate::http) fn enter(&self, stage: Stage) {
        self.lock().enter(stage);
    }

    /// The server is ready for more of the body of `request`, and nothing is there.
    pub(super) fn await_more(&self, request: RequestNumber) {
        let mut current = self.lock();
        if current.request == request && !current.is_awaited {
            current.is_awaited = true;
            current.allowance.excuse(Instant::now());
        }
    }

    pub(super) fn receive(&self, request: RequestNumber, bytes: u64) {
        let mut current = self.lock();
        if current.request == request {
            current.is_awaited = false;
            current.allowance.pay(bytes, Instant::now());
        }
    }

    /// The body of `request` has ended or is no longer wanted. An earlier one may be read for a
    /// while after the response to it.
    pub(super) fn end_receiving(&self, request: RequestNumber) {
        let mut current = self.lock();
        if current.request == request && current.stage == Stage::Receiving {
            current.enter(Stage::Working);
        }
    }

    /// All that there is has been sent.
    pub(super) fn end_flushing(&self) {
        let mut current = self.lock();
        if current.stage == Stage::Flushing {
            current.enter(Stage::Idle);
        }
    }

    pub(super) fn set_blocked(&self, is_blocked: bool) {
        let now = Instant::now();
        let mut current = self.lock();
        current.blocked_since = is_blocked.then_some(now);
        if current.stage == Stage::Flushing {
            current.since = now;
        }
    }

    /// Whether the connection will be idle in a moment, unless a request arrives.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let current = *self.lock();
        let age = now.saturating_duration_since(current.since);
        current.stage == Stage::Idle && current.blocked_since.is_none() && age < FRESH
    }

    /// How long the server has waited for a client that sends or takes nothing, or next to nothing.
    /// `None` if the client is quick enough, or waits for the server.
    pub(super) fn stalled(&self, now: Instant) -> Option<EvictionRank> {
        let current = *self.lock();
        if let Some(since) = current.blocked_since {
            let stall = now.saturating_duration_since(since);
            return (stall >= PATIENCE).then_some((false, stall));
        }
        match current.stage {
            Stage::Idle => {
                let age = now.saturating_duration_since(current.since);
                (age >= FRESH).then_some((true, age))
            }
            Stage::Delayed => Some((true, now.saturating_duration_since(current.since))),
            Stage::Working => None,
            Stage::Flushing => {
                let elapsed = now.saturating_duration_since(current.since);
                (elapsed >= PATIENCE).then_some((false, elapsed))
            }
            Stage::Receiving if !current.is_awaited => None,
            Stage::Receiving => {
                let stall = now.checked_duration_since(current.allowance.until())?;
                Some((false, stall)).filter(|(_, stall)| !stall.is_zero())
            }
        }
    }

    /// Lets a second pass.
    #[cfg(test)]
    pub(super) fn age(&self) {
        let mut current = self.lock();
        current.since = current.since.checked_sub(Duration::from_secs(1)).expect("a later time");
    }

    fn lock(&self) -> MutexGuard<'_, CurrentActivity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CurrentActivity {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

fn allowance() -> Allowance {
    Allowance::new(SLOW_BYTES_PER_SECOND, PATIENCE, PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled_after(activity: &Activity, seconds: u64) -> bool {
        activity.stalled(Instant::now() + Duration::from_secs(seconds)).is_some()
    }

    #[test]
    fn an_upload_stalls_if_its_client_sends_next_to_nothing() {
        let activity = Activity::new();
        let request = activity.begin(true);
        assert!(!stalled_after(&activity, 1_000), "the server is not ready for it");
        activity.await_more(request);
        assert!(!stalled_after(&activity, 4), "it has just begun");
        assert!(stalled_after(&activity, 6), "it does not come");
        activity.receive(request, 100);
        activity.await_more(request);
        assert!(stalled_after(&activity, 6), "a trickle");
        activity.receive(request, 1_000_000_000);
        activity.await_more(request);
        assert!(!stalled_after(&activity, 4), "a fast upload");
        assert!(stalled_after(&activity, 6), "a fast upload that stops");
        activity.end_receiving(request);
        assert!(!stalled_after(&activity, 1_000), "the client waits");
    }

    #[test]
    fn a_response_stalls_only_if_its_client_takes_nothing() {
        let activity = Activity::new();
        activity.begin(false);
        activity.set_blocked(true);
        assert!(!stalled_after(&activity, 4));
        assert!(stalled_after(&activity, 6));
        activity.set_blocked(false);
        assert!(!stalled_after(&activity, 1_000));
        activity.enter(Stage::Flushing);
        assert!(!stalled_after(&activity, 4), "its end is on its way");
        activity.end_flushing();
        assert!(!stalled_after(&activity, 0), "the next request may be on its way");
        assert!(activity.is_fresh(Instant::now()));
        assert!(stalled_after(&activity, 1), "idle");
    }

    #[test]
    fn the_rest_of_an_earlier_upload_changes_nothing() {
        let activity = Activity::new();
        let refused = activity.begin(true);
        activity.enter(Stage::Idle);
        let next = activity.begin(true);
        activity.await_more(next);
        activity.receive(refused, 1_000_000);
        activity.end_receiving(refused);
        assert!(stalled_after(&activity, 6), "the next one trickles");
    }
}
