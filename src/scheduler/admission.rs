//! Who may add work, measured in seconds of audio. Pure.

use std::collections::HashMap;

use super::Refusal;
use super::queue::JobId;

/// Whom a request is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Caller {
    /// What tells callers apart: the name of a key, or an address.
    pub name: String,
}

impl<T: Into<String>> From<T> for Caller {
    fn from(name: T) -> Self {
        Self { name: name.into() }
    }
}

/// The longest wait that is worth promising: SDKs give up on more than two minutes.
const LONGEST_RETRY_SECONDS: f64 = 120.0;

/// How much may be waiting or running at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Seconds of audio in all.
    pub total_seconds: f64,
    /// The part of it that one caller may use, from 0 to 1.
    pub caller_share: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { total_seconds: 4.0 * 3600.0, caller_share: 0.5 }
    }
}

/// The accepted requests and what is left of them.
#[derive(Debug)]
pub(super) struct Ledger {
    capacity: Capacity,
    jobs: HashMap<JobId, (Caller, f64)>,
}

impl Ledger {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, jobs: HashMap::new() }
    }

    /// Accepts `seconds` of audio for `caller`, or says when to come again. `speed` is how many
    /// seconds of audio the service does in a second. A caller with nothing waiting may bring any
    /// length; since nobody counts for more than a share, that leaves room for the others.
    pub(super) fn admit(
        &mut self,
        id: JobId,
        caller: &Caller,
        seconds: f64,
        speed: f64,
    ) -> Result<(), Refusal> {
        let share = self.capacity.total_seconds * self.capacity.caller_share;
        let mut callers: HashMap<&Caller, f64> = HashMap::new();
        for (who, left) in self.jobs.values() {
            *callers.entry(who).or_default() += left;
        }
        let own = callers.remove(caller).unwrap_or(0.0);
        let others: f64 = callers.values().map(|left| left.min(share)).sum();
        let over_share = own + seconds - share;
        if own > 0.0 && over_share > 0.0 {
            let retry_after = retry_after(over_share.min(own), speed);
            let is_everything = self.capacity.caller_share >= 1.0;
            return Err(match is_everything {
                true => Refusal::Full { retry_after },
                false => Refusal::Share { retry_after },
            });
        }
        let over_total = others + (own + seconds).min(share) - self.capacity.total_seconds;
        if others > 0.0 && over_total > 0.0 {
            return Err(Refusal::Full { retry_after: retry_after(over_total.min(others), speed) });
        }
        self.jobs.insert(id, (caller.clone(), seconds));
        Ok(())
    }

    /// Corrects what is left of a request.
    pub(super) fn set(&mut self, id: JobId, seconds: f64) {
        if let Some((_, left)) = self.jobs.get_mut(&id) {
            *left = seconds.max(0.0);
        }
    }

    /// Forgets a request.
    pub(super) fn release(&mut self, id: JobId) {
        self.jobs.remove(&id);
    }

    /// Seconds of audio that are waiting or running.
    pub(super) fn seconds(&self) -> f64 {
        self.jobs.values().map(|(_, seconds)| seconds).fold(0.0, |sum, seconds| sum + seconds)
    }

    /// How many requests are accepted and not finished.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }
}

/// When `seconds` of audio will be done, in whole seconds from 1.
fn retry_after(seconds: f64, speed: f64) -> u64 {
    (seconds / speed.max(0.01)).ceil().clamp(1.0, LONGEST_RETRY_SECONDS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Capacity { total_seconds: 100.0, caller_share: 0.5 })
    }

    #[test]
    fn a_full_service_says_when_there_is_room() {
        let mut ledger = ledger();
        assert!(ledger.admit(1, &"a".into(), 50.0, 10.0).is_ok());
        assert!(ledger.admit(2, &"b".into(), 40.0, 10.0).is_ok());
        let refused = ledger.admit(3, &"c".into(), 45.0, 10.0);
        assert_eq!(refused, Err(Refusal::Full { retry_after: 4 }));
        ledger.set(1, 10.0);
        assert!(ledger.admit(3, &"c".into(), 45.0, 10.0).is_ok());
    }

    #[test]
    fn one_huge_file_does_not_shut_the_others_out() {
        let mut ledger = ledger();
        assert!(ledger.admit(1, &"a".into(), 86_400.0, 1.0).is_ok());
        assert!(ledger.admit(2, &"b".into(), 2.0, 1.0).is_ok());
        let refused = ledger.admit(3, &"a".into(), 2.0, 1.0);
        assert!(matches!(refused, Err(Refusal::Share { .. })), "{refused:?}");
    }

    #[test]
    fn one_caller_cannot_use_more_than_its_share() {
        let mut ledger = ledger();
        assert!(ledger.admit(1, &"a".into(), 40.0, 1.0).is_ok());
        let refused = ledger.admit(2, &"a".into(), 20.0, 1.0);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 10 }));
        assert!(ledger.admit(3, &"b".into(), 20.0, 1.0).is_ok());
    }

    #[test]
    fn an_idle_service_accepts_any_length() {
        let mut ledger = ledger();
        assert!(ledger.admit(1, &"a".into(), 86_400.0, 1.0).is_ok());
        ledger.release(1);
        assert_eq!((ledger.seconds(), ledger.jobs()), (0.0, 0));
    }

    #[test]
    fn the_promise_stays_within_what_clients_wait_for() {
        let mut ledger = ledger();
        assert!(ledger.admit(1, &"a".into(), 86_400.0, 0.001).is_ok());
        let refused = ledger.admit(2, &"a".into(), 1.0, 0.001);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 120 }));
    }
}
