//! What a connection waits for: its client, or the server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is slower than this, in bytes per second, may be closed for a new connection.
const SLOW_BYTES_PER_SECOND: f64 = 1_000.0;

/// How long a client may be slow before its connection may be closed for a new one.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Between two requests, or before the first.
    Idle,
    /// The body of a request arrives.
    Receiving,
    /// The request is complete, and its response is not.
    Working,
}

/// Kept up to date by a connection's stream and bodies, and read when there is no room for another
/// connection.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Current>);

#[derive(Debug, Clone, Copy)]
struct Current {
    stage: Stage,
    since: Instant,
    received_bytes: u64,
    received_at: Instant,
    /// Since when the client takes nothing of what is sent.
    blocked_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Current {
            stage: Stage::Idle,
            since: now,
            received_bytes: 0,
            received_at: now,
            blocked_since: None,
        }))
    }

    pub(super) fn enter(&self, stage: Stage) {
        let now = Instant::now();
        let mut current = self.lock();
        *current = Current { stage, since: now, received_bytes: 0, received_at: now, ..*current };
    }

    /// The body has ended or is no longer wanted.
    pub(super) fn end_receiving(&self) {
        if self.lock().stage == Stage::Receiving {
            self.enter(Stage::Working);
        }
    }

    pub(super) fn receive(&self, bytes: u64) {
        let mut current = self.lock();
        current.received_bytes += bytes;
        current.received_at = Instant::now();
    }

    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.lock().blocked_since = is_blocked.then(Instant::now);
    }

    /// How long the server has waited for a client that sends or takes nothing, or next to nothing.
    /// `None` if the client is quick enough, or waits for the server.
    pub(super) fn stalled(&self, now: Instant) -> Option<Duration> {
        let current = *self.lock();
        if let Some(since) = current.blocked_since {
            return Some(now.saturating_duration_since(since)).filter(|stall| *stall >= PATIENCE);
        }
        let elapsed = now.saturating_duration_since(current.since);
        match current.stage {
            Stage::Idle => Some(elapsed),
            Stage::Working => None,
            Stage::Receiving => {
                let pause = now.saturating_duration_since(current.received_at);
                let is_slow =
                    (current.received_bytes as f64) < SLOW_BYTES_PER_SECOND * elapsed.as_secs_f64();
                Some(if is_slow { elapsed } else { pause }).filter(|stall| *stall >= PATIENCE)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_the_server_waits_for_are_stalled() {
        let start = Instant::now();
        let activity = Activity::new(start);
        let after = |seconds: u64| activity.stalled(Instant::now() + Duration::from_secs(seconds));
        assert!(after(0).is_some(), "idle");

        activity.enter(Stage::Receiving);
        assert_eq!(after(1), None, "an upload that has just begun");
        assert!(after(3).is_some(), "an upload that does not come");
        activity.receive(1_000_000);
        assert_eq!(after(1), None, "a fast upload");
        assert!(after(10).is_some(), "a fast upload that stops");

        activity.end_receiving();
        assert_eq!(after(1_000), None, "the client waits");
        activity.set_blocked(true);
        assert_eq!(after(1), None);
        assert!(after(3).is_some(), "the client takes nothing");
        activity.set_blocked(false);
        assert_eq!(after(1_000), None);

        activity.enter(Stage::Idle);
        activity.end_receiving();
        assert!(after(0).is_some(), "the end of a refused upload is idle too");
    }

    #[test]
    fn a_trickle_is_a_stall() {
        let activity = Activity::new(Instant::now());
        activity.enter(Stage::Receiving);
        activity.receive(100);
        let stall = activity.stalled(Instant::now() + Duration::from_secs(20));
        assert!(stall.is_some_and(|stall| stall >= Duration::from_secs(20)), "{stall:?}");
    }
}
