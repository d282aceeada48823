//! What happened to a device: its most recent events and counters. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

/// How many events are kept.
const MOST_EVENTS: usize = 50;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    /// The last events, the oldest first.
    pub events: VecDeque<DeviceEvent>,
    /// How many chunks ran elsewhere because of this device, by reason.
    pub fallbacks: BTreeMap<String, u64>,
    /// How many times the device returned to use after a failure.
    pub returns: u64,
    /// How many times the device failed again when it was tried.
    pub probe_failures: u64,
    /// Seconds from the start of each failed attempt here to the start of the next attempt.
    pub seconds_lost: f64,
}

/// Something that happened to a device.
#[derive(Debug, Clone)]
pub struct DeviceEvent {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
    /// The model involved, if any.
    pub model: Option<String>,
    /// The class of the reason, such as `out-of-memory`.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    Squeezed,
    /// A model was unloaded to make room, or because it was idle.
    Unloaded,
    /// A worker was replaced because of its age or memory.
    Recycled,
}

impl EventKind {
    /// The name in API responses and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Opened => "opened",
            Self::ProbeFailed => "probe-failed",
            Self::Returned => "returned",
            Self::Squeezed => "squeezed",
            Self::Unloaded => "unloaded",
            Self::Recycled => "recycled",
        }
    }
}

impl EventLog {
    /// Adds an event.
    pub(super) fn note(
        &mut self,
        kind: EventKind,
        model: Option<&str>,
        reason: &str,
        detail: impl Into<String>,
    ) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(DeviceEvent {
            at: SystemTime::now(),
            kind,
            model: model.map(str::to_owned),
            reason: reason.to_owned(),
            detail: detail.into(),
        });
    }

    /// Counts a chunk that runs elsewhere.
    pub(super) fn count_fallback(&mut self, reason: &str) {
        *self.fallbacks.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds the time that a failure cost.
    pub(super) fn lose(&mut self, time: Duration) {
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
            event_log.note(EventKind::Failure, None, "aborted", n.to_string());
        }
        assert_eq!(event_log.events.len(), MOST_EVENTS);
        assert_eq!(event_log.events[0].detail, "2");
    }
}
