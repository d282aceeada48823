//! What happened to a device: its most recent events and counters. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::reason::{EventReason, FallbackReason};

/// How many events are kept.
const MOST_EVENTS: usize = 50;

#[derive(Debug, Clone, Default)]
pub struct EventLog {
    /// The last events, the oldest first.
    pub events: VecDeque<LoggedEvent>,
    /// How many chunks ran elsewhere because of this device, by reason.
    pub fallbacks: HashMap<FallbackReason, u64>,
    /// How many times the device returned to use after a failure.
    pub returns: u64,
    /// How many times the device failed again when it was tried.
    pub probe_failures: u64,
    /// Seconds from the start of each failed attempt here to the start of the next attempt.
    pub seconds_lost: f64,
}

/// Something that happened to a device.
#[derive(Debug, Clone)]
pub struct LoggedEvent {
    pub at: SystemTime,
    pub kind: EventKind,
    pub model: Option<String>,
    pub reason: EventReason,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum EventKind {
    /// A worker failed.
    Failure,
    /// The breaker opened: the device is left alone for a while.
    Opened,
    /// The device failed again when it was tried.
    ProbeFailed,
    /// The device is in use again.
    Returned,
    /// A model continues with fewer slots or as a smaller variant.
    #[strum(serialize = "squeezed")]
    Shrunk,
    /// A model was unloaded to make room, or because it was idle.
    Unloaded,
    /// A worker was replaced because of its age or memory.
    Recycled,
}

impl EventLog {
    pub(super) fn record(
        &mut self,
        kind: EventKind,
        model: Option<&str>,
        reason: EventReason,
        detail: impl Into<String>,
    ) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(LoggedEvent {
            at: SystemTime::now(),
            kind,
            model: model.map(str::to_owned),
            reason,
            detail: detail.into(),
        });
    }

    pub(super) fn add_lost_time(&mut self, time: Duration) {
        self.seconds_lost += time.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten() {
        let mut event_log = EventLog::default();
        for n in 0..MOST_EVENTS + 2 {
            event_log.record(EventKind::Unloaded, None, EventReason::Idle, n.to_string());
        }
        assert_eq!(event_log.events.len(), MOST_EVENTS);
        assert_eq!(event_log.events[0].detail, "2");
    }
}
