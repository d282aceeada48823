//! Admission control: who may add work, measured in seconds of audio. Pure, except for the jitter
//! of the waits.

use std::collections::HashMap;

use super::Refusal;
use super::caller::Caller;
use super::queue::RequestId;

/// How far a file that was uploaded before its length was known may exceed the limits.
const LENIENCE: f64 = 2.0;

const WEIGHT: f64 = 0.1;

/// Longer requests count as this many seconds in the mean: one day of audio says little about the
/// next request.
const LONGEST_USUAL_SECONDS: f64 = 300.0;

/// The longest wait that is worth asking for, in seconds. SDKs give up on more than two minutes.
const LONGEST_WAIT_SECONDS: f64 = 120.0;

/// The largest random extension of a wait, as a fraction of it: clients that are refused together
/// must not come back together.
const JITTER: f64 = 0.5;

/// How much may be waiting or running at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Seconds of audio in total.
    pub total_seconds: f64,
    /// The share of it that one caller may use, from 0 to 1.
    pub caller_share: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { total_seconds: 4.0 * 3600.0, caller_share: 0.5 }
    }
}

/// The accepted requests and their remaining audio.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    capacity: Capacity,
    accepted: HashMap<RequestId, Accepted>,
    /// Seconds of audio that the devices transcribe per second.
    speed: f64,
    /// The mean length of recent requests in seconds.
    mean: Option<f64>,
}

#[derive(Debug)]
struct Accepted {
    caller: Caller,
    /// Its remaining seconds of audio.
    left: f64,
}

/// A limit and the load that counts against it, in seconds of audio.
#[derive(Debug, Clone, Copy)]
struct Quota {
    load: f64,
    limit: f64,
}

impl Quota {
    /// Seconds of audio that must finish before `more` fit.
    fn excess(self, more: f64) -> f64 {
        (self.load + more - self.limit).max(0.0)
    }
}

/// How much one caller uses.
struct CallerUsage {
    own: Quota,
    /// The same for all callers together. No caller counts for more than its share, so one huge
    /// file leaves room for the others.
    all: Quota,
}

impl CallerUsage {
    /// How much of the total `seconds` more of this caller would use.
    fn counted(&self, seconds: f64) -> f64 {
        let Quota { load, limit } = self.own;
        (load + seconds).min(limit) - load.min(limit)
    }

    /// Whether `seconds` more stay within [`LENIENCE`] times the limits.
    fn tolerates(&self, seconds: f64) -> bool {
        let fits = |level: Quota, more: f64| level.load + more <= level.limit * LENIENCE;
        fits(self.own, seconds.min(self.own.limit)) && fits(self.all, self.counted(seconds))
    }
}

impl AdmissionControl {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, accepted: HashMap::new(), speed: 1.0, mean: None }
    }

    /// Sets how many seconds of audio the devices transcribe per second.
    pub(super) fn set_speed(&mut self, speed: f64) {
        self.speed = speed;
    }

    /// Accepts a request of which nothing has arrived yet, if there is room for one of mean length.
    /// It takes room as it [arrives](Self::arrive), so that nobody holds any with an upload that
    /// never comes.
    ///
    /// # Errors
    /// When to try again.
    pub(super) fn admit(&mut self, id: RequestId, caller: &Caller) -> Result<(), Refusal> {
        let seconds = self.mean.unwrap_or(0.0);
        let usage = self.usage(caller);
        if usage.own.excess(seconds.min(usage.own.limit)) > 0.0
            || usage.all.excess(usage.counted(seconds)) > 0.0
        {
            return Err(self.refuse(caller, &usage, seconds));
        }
        self.accepted.insert(id, Accepted { caller: caller.clone(), left: 0.0 });
        Ok(())
    }

    /// Takes room for `seconds` that have arrived of a request, as far as can be guessed before its
    /// file is complete; at most the mean length, since a guess may be far too high.
    pub(super) fn arrive(&mut self, id: RequestId, seconds: f64) {
        self.set(id, seconds.min(self.mean.unwrap_or(0.0)));
    }

    /// Replaces the assumed length of an accepted request by its true length. A caller with little
    /// else waiting may submit any length.
    ///
    /// # Errors
    /// There is no room for it after all; contains when to try again.
    pub(super) fn measure(&mut self, id: RequestId, seconds: f64) -> Result<(), Refusal> {
        let usual = seconds.min(LONGEST_USUAL_SECONDS);
        self.mean = Some(self.mean.map_or(usual, |mean| mean + WEIGHT * (usual - mean)));
        let Some(request) = self.accepted.remove(&id) else { return Ok(()) };
        let usage = self.usage(&request.caller);
        if seconds > request.left && !usage.tolerates(seconds) {
            return Err(self.refuse(&request.caller, &usage, seconds));
        }
        self.accepted.insert(id, Accepted { left: seconds, ..request });
        Ok(())
    }

    /// Updates the remaining seconds of a request.
    pub(super) fn set(&mut self, id: RequestId, seconds: f64) {
        if let Some(request) = self.accepted.get_mut(&id) {
            request.left = seconds.max(0.0);
        }
    }

    pub(super) fn release(&mut self, id: RequestId) {
        self.accepted.remove(&id);
    }

    /// Seconds of audio that wait or run.
    pub(super) fn seconds(&self) -> f64 {
        self.accepted.values().map(|request| request.left).fold(0.0, |sum, left| sum + left)
    }

    /// The number of requests that are accepted and not finished.
    pub(super) fn requests(&self) -> usize {
        self.accepted.len()
    }

    fn share(&self, caller: &Caller) -> f64 {
        self.capacity.total_seconds * caller.share.unwrap_or(self.capacity.caller_share)
    }

    fn usage(&self, caller: &Caller) -> CallerUsage {
        let mut loads: HashMap<&Caller, f64> = HashMap::new();
        for request in self.accepted.values() {
            *loads.entry(&request.caller).or_default() += request.left;
        }
        let load = loads.get(caller).copied().unwrap_or(0.0);
        let total = loads.iter().map(|(caller, load)| load.min(self.share(caller))).sum();
        CallerUsage {
            own: Quota { load, limit: self.share(caller) },
            all: Quota { load: total, limit: self.capacity.total_seconds },
        }
    }

    fn refuse(&self, caller: &Caller, usage: &CallerUsage, seconds: f64) -> Refusal {
        let own = usage.own.excess(seconds.min(usage.own.limit));
        let all = usage.all.excess(usage.counted(seconds));
        let wait = own.max(all) / self.speed.max(0.01) * (1.0 + JITTER * fastrand::f64());
        let retry_after = wait.ceil().clamp(1.0, LONGEST_WAIT_SECONDS) as u64;
        let is_everything = caller.share.unwrap_or(self.capacity.caller_share) >= 1.0;
        if own > all && !is_everything {
            Refusal::Share { retry_after }
        } else {
            Refusal::Full { retry_after }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> AdmissionControl {
        let capacity = Capacity { total_seconds: 100.0, caller_share: 0.5 };
        let mut control = AdmissionControl::new(capacity);
        control.set_speed(10.0);
        control
    }

    /// Admits a request of known length.
    fn admit(
        control: &mut AdmissionControl,
        id: RequestId,
        caller: &str,
        seconds: f64,
    ) -> Result<(), Refusal> {
        control.mean = Some(seconds);
        control.admit(id, &caller.into())?;
        control.measure(id, seconds)
    }

    #[test]
    fn a_full_service_says_when_there_will_be_room() {
        let mut control = control();
        assert_eq!(admit(&mut control, 1, "a", 50.0), Ok(()));
        assert_eq!(admit(&mut control, 2, "b", 40.0), Ok(()));
        for _ in 0..100 {
            // 35 seconds too many, at 10 per second.
            let refused = admit(&mut control, 3, "c", 45.0);
            assert!(matches!(refused, Err(Refusal::Full { retry_after: 4..=6 })), "{refused:?}");
        }
        control.set(1, 10.0);
        assert_eq!(admit(&mut control, 4, "d", 5.0), Ok(()));
    }

    #[test]
    fn retry_times_are_spread() {
        let mut control = control();
        assert_eq!(admit(&mut control, 1, "a", 600.0), Ok(()));
        let mut waits: Vec<u64> = (2..102)
            .map(|id| match admit(&mut control, id, "a", 10.0) {
                Err(Refusal::Share { retry_after }) => retry_after,
                other => panic!("{other:?}"),
            })
            .collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 10, "{waits:?}");
    }

    #[test]
    fn one_huge_file_does_not_shut_the_others_out() {
        let mut control = control();
        assert_eq!(admit(&mut control, 1, "a", 86_400.0), Ok(()));
        assert_eq!(admit(&mut control, 2, "b", 2.0), Ok(()));
        let refused = admit(&mut control, 3, "a", 2.0);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 120 }));
    }

    #[test]
    fn one_caller_cannot_use_more_than_its_share() {
        let mut control = control();
        assert_eq!(admit(&mut control, 1, "a", 40.0), Ok(()));
        let refused = admit(&mut control, 2, "a", 20.0);
        assert!(matches!(refused, Err(Refusal::Share { .. })), "{refused:?}");
        assert_eq!(admit(&mut control, 3, "b", 20.0), Ok(()));
    }

    #[test]
    fn a_caller_may_have_a_share_of_its_own() {
        let mut control = control();
        let caller = Caller { share: Some(0.1), ..Caller::from("a") };
        let mut admit = |id, seconds| {
            control.mean = Some(seconds);
            control.admit(id, &caller)?;
            control.arrive(id, seconds);
            Ok(())
        };
        assert_eq!(admit(1, 8.0), Ok(()));
        assert!(matches!(admit(2, 22.0), Err(Refusal::Share { .. })));
    }

    #[test]
    fn a_file_longer_than_assumed_is_refused_only_far_beyond_the_limits() {
        let mut control = control();
        control.mean = Some(10.0);
        for id in 1..=3 {
            assert_eq!(control.admit(id, &"a".into()), Ok(()));
            control.arrive(id, 10.0);
        }
        assert_eq!(control.measure(1, 60.0), Ok(()));
        let refused = control.measure(2, 60.0);
        assert!(matches!(refused, Err(Refusal::Share { .. })), "{refused:?}");
        assert_eq!(control.measure(3, 10.0), Ok(()));
    }

    #[test]
    fn an_upload_takes_room_only_as_it_arrives() {
        let mut control = control();
        control.mean = Some(20.0);
        for id in 1..=50 {
            assert_eq!(control.admit(id, &"a".into()), Ok(()), "nothing has arrived");
        }
        control.arrive(1, 1_000.0);
        assert_eq!(control.seconds(), 20.0, "a guess counts no more than the mean");
        control.arrive(2, 20.0);
        let refused = control.admit(51, &"a".into());
        assert!(matches!(refused, Err(Refusal::Share { .. })), "{refused:?}");
    }

    #[test]
    fn an_idle_service_accepts_any_length() {
        let mut control = control();
        assert_eq!(admit(&mut control, 1, "a", 86_400.0), Ok(()));
        control.release(1);
        assert_eq!((control.seconds(), control.requests()), (0.0, 0));
    }
}
