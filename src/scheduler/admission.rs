//! Who may add work, measured in seconds of audio. Pure.

use std::collections::HashMap;
use std::time::Instant;

use super::Refusal;
use super::caller::{Attempt, Caller};
use super::promises::{Level, Promise, Promises};
use super::queue::JobId;
use super::throughput::Throughput;

/// How far the limits may be exceeded for those who were let in or promised room before their
/// length or the devices' speed was known.
const LENIENCE: f64 = 2.0;

/// The weight of the newest request in the mean length.
const WEIGHT: f64 = 0.1;

/// A longer request counts for so many seconds in it: a day of audio says little of the next one.
const LONGEST_USUAL_SECONDS: f64 = 300.0;

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

/// The accepted requests and what is left of them, and what was promised to the others.
#[derive(Debug)]
pub(super) struct Ledger {
    capacity: Capacity,
    jobs: HashMap<JobId, Job>,
    promises: Promises,
    throughput: Throughput,
    /// What the devices should do in a second, in seconds of audio, and how many slots they have.
    expected: (f64, usize),
    /// The length of recent requests in seconds.
    mean: Option<f64>,
}

#[derive(Debug)]
struct Job {
    caller: Caller,
    attempt: Attempt,
    /// Seconds of audio that are left of it.
    left: f64,
    /// Whether that is known.
    is_measured: bool,
}

/// How one caller stands.
struct Standing {
    /// How much it has there, and may have.
    own: Level,
    /// The same for all callers together. Nobody counts for more than its share, so that one huge
    /// file leaves room for the others.
    all: Level,
}

impl Ledger {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            jobs: HashMap::new(),
            promises: Promises::default(),
            throughput: Throughput::default(),
            expected: (1.0, 1),
            mean: None,
        }
    }

    /// Tells what the devices should do in a second, in seconds of audio, and how many slots they
    /// have.
    pub(super) fn expect(&mut self, speed: f64, slots: usize) {
        self.expected = (speed, slots);
    }

    /// Accepts a request whose length is not known yet, or says when to come again.
    pub(super) fn admit(
        &mut self,
        id: JobId,
        caller: &Caller,
        attempt: Attempt,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.promises.lapse(now);
        let standing = self.standing(caller);
        let promise = self.promises.take(caller, attempt, now);
        let seconds = promise.as_ref().map_or(self.mean.unwrap_or(0.0), |promise| promise.seconds);
        let waits = match promise.map(|promise| promise.wait(now)) {
            Some(0.0) if standing.bears(seconds) => (0.0, 0.0),
            Some(wait) if wait > 0.0 => (wait, wait), // it was longer than anybody waits
            _ => self.waits(caller, &standing, seconds, now),
        };
        if waits.0.max(waits.1) > 0.0 {
            return Err(self.refuse(caller, attempt, seconds, waits, now));
        }
        let job = Job { caller: caller.clone(), attempt, left: seconds, is_measured: false };
        self.jobs.insert(id, job);
        Ok(())
    }

    /// Puts the true length of an accepted request in place of the assumed one, or refuses it
    /// after all. A caller with little else waiting may bring any length.
    pub(super) fn measure(&mut self, id: JobId, seconds: f64, now: Instant) -> Result<(), Refusal> {
        let usual = seconds.min(LONGEST_USUAL_SECONDS);
        self.mean = Some(self.mean.map_or(usual, |mean| mean + WEIGHT * (usual - mean)));
        let Some(mut job) = self.jobs.remove(&id) else { return Ok(()) };
        let standing = self.standing(&job.caller);
        if seconds > job.left && !standing.bears(seconds) {
            let waits = self.waits(&job.caller, &standing, seconds, now);
            return Err(self.refuse(&job.caller, job.attempt, seconds, waits, now));
        }
        (job.left, job.is_measured) = (seconds, true);
        self.jobs.insert(id, job);
        self.tell(0.0, now);
        Ok(())
    }

    /// Corrects what is left of a request.
    pub(super) fn set(&mut self, id: JobId, seconds: f64, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&id) {
            let done = job.left - seconds.max(0.0);
            job.left -= done;
            self.tell(done, now);
        }
    }

    /// Forgets a request.
    pub(super) fn release(&mut self, id: JobId, now: Instant) {
        self.jobs.remove(&id);
        self.tell(0.0, now);
    }

    fn tell(&mut self, done: f64, now: Instant) {
        let (_, slots) = self.expected;
        let is_busy = self.jobs.values().filter(|job| job.is_measured).count() >= slots;
        self.throughput.tell(done, is_busy, slots, now);
    }

    /// Seconds of audio that are waiting or running.
    pub(super) fn seconds(&self) -> f64 {
        self.jobs.values().map(|job| job.left).fold(0.0, |sum, seconds| sum + seconds)
    }

    /// How many requests are accepted and not finished.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    fn share(&self, caller: &Caller) -> f64 {
        self.capacity.total_seconds * caller.share.unwrap_or(self.capacity.caller_share)
    }

    fn standing(&self, caller: &Caller) -> Standing {
        let speed = self.throughput.speed(self.expected.0);
        let mut loads: HashMap<&Caller, f64> = HashMap::new();
        for job in self.jobs.values() {
            *loads.entry(&job.caller).or_default() += job.left;
        }
        let load = loads.get(caller).copied().unwrap_or(0.0);
        // Requests take turns, so that a caller's part of the speed is that of its requests.
        let own_jobs = self.jobs.values().filter(|job| job.caller == *caller).count();
        let part = own_jobs.max(1) as f64 / self.jobs.len().max(1) as f64;
        let total = loads.iter().map(|(who, load)| load.min(self.share(who))).sum();
        Standing {
            own: Level { load, limit: self.share(caller), speed: speed * part },
            all: Level { load: total, limit: self.capacity.total_seconds, speed },
        }
    }

    /// Seconds until there is room for `seconds` in the caller's share and in the whole, beside
    /// everything that was promised.
    fn waits(
        &self,
        caller: &Caller,
        standing: &Standing,
        seconds: f64,
        now: Instant,
    ) -> (f64, f64) {
        let promised = |promise: &Promise| {
            (promise.wait(now), promise.seconds.min(self.share(&promise.caller)))
        };
        let own = self.promises.iter().filter(|promise| promise.caller == *caller);
        let all = self.promises.iter().map(promised);
        let own_wait = standing.own.wait(seconds.min(standing.own.limit), own.map(promised));
        (own_wait, standing.all.wait(standing.counted(seconds), all))
    }

    fn refuse(
        &mut self,
        caller: &Caller,
        attempt: Attempt,
        seconds: f64,
        (own, all): (f64, f64),
        now: Instant,
    ) -> Refusal {
        let retry_after = self.promises.make(caller, attempt, seconds, own.max(all), now);
        let is_everything = caller.share.unwrap_or(self.capacity.caller_share) >= 1.0;
        match own > all && !is_everything {
            true => Refusal::Share { retry_after },
            false => Refusal::Full { retry_after },
        }
    }
}

impl Standing {
    /// What `seconds` more of the caller count for among all.
    fn counted(&self, seconds: f64) -> f64 {
        let Level { load, limit, .. } = self.own;
        (load + seconds).min(limit) - load.min(limit)
    }

    /// Whether `seconds` more can be borne for somebody who was told that there is room.
    fn bears(&self, seconds: f64) -> bool {
        let fits = |level: Level, more: f64| level.load + more <= level.limit * LENIENCE;
        fits(self.own, seconds.min(self.own.limit)) && fits(self.all, self.counted(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Capacity { total_seconds: 100.0, caller_share: 0.5 });
        ledger.expect(10.0, 1);
        ledger
    }

    /// Lets a request of known length in.
    fn admit(ledger: &mut Ledger, id: JobId, caller: &str, seconds: f64) -> Result<(), Refusal> {
        at(ledger, id, caller, seconds, Instant::now())
    }

    fn at(
        ledger: &mut Ledger,
        id: JobId,
        caller: &str,
        seconds: f64,
        now: Instant,
    ) -> Result<(), Refusal> {
        ledger.mean = Some(seconds);
        ledger.admit(id, &caller.into(), Attempt::default(), now)?;
        ledger.measure(id, seconds, now)
    }

    #[test]
    fn a_full_service_says_when_there_is_room() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 50.0), Ok(()));
        assert_eq!(admit(&mut ledger, 2, "b", 40.0), Ok(()));
        let refused = admit(&mut ledger, 3, "c", 45.0);
        assert_eq!(refused, Err(Refusal::Full { retry_after: 4 }));
        ledger.set(1, 10.0, Instant::now());
        assert_eq!(admit(&mut ledger, 4, "d", 5.0), Ok(()));
    }

    #[test]
    fn one_huge_file_does_not_shut_the_others_out() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 86_400.0), Ok(()));
        assert_eq!(admit(&mut ledger, 2, "b", 2.0), Ok(()));
        let refused = admit(&mut ledger, 3, "a", 2.0);
        assert!(matches!(refused, Err(Refusal::Share { .. })), "{refused:?}");
    }

    #[test]
    fn one_caller_cannot_use_more_than_its_share() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 40.0), Ok(()));
        let refused = admit(&mut ledger, 2, "a", 20.0);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 1 }));
        assert_eq!(admit(&mut ledger, 3, "b", 20.0), Ok(()));
    }

    #[test]
    fn a_caller_may_have_a_share_of_its_own() {
        let mut ledger = ledger();
        let caller = Caller { share: Some(0.1), ..Caller::from("a") };
        let now = Instant::now();
        let mut admit = |id, seconds| {
            ledger.mean = Some(seconds);
            ledger.admit(id, &caller, Attempt::default(), now)
        };
        assert_eq!(admit(1, 8.0), Ok(()));
        assert_eq!(admit(2, 22.0), Err(Refusal::Share { retry_after: 1 }));
    }

    #[test]
    fn an_idle_service_accepts_any_length() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 86_400.0), Ok(()));
        ledger.release(1, Instant::now());
        assert_eq!((ledger.seconds(), ledger.jobs()), (0.0, 0));
    }

    #[test]
    fn what_is_told_stays_within_what_clients_wait_for() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 86_400.0), Ok(()));
        let refused = admit(&mut ledger, 2, "a", 1.0);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 120 }));
    }

    /// The seconds that each of `requests` is told when all come at once.
    fn told(ledger: &mut Ledger, requests: std::ops::Range<JobId>, now: Instant) -> Vec<u64> {
        let refused = requests.map(|id| match at(ledger, id, "a", 10.0, now) {
            Err(Refusal::Share { retry_after }) => retry_after,
            other => panic!("{other:?}"),
        });
        refused.collect()
    }

    #[test]
    fn who_is_refused_later_is_told_a_later_time() {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, 1, "a", 50.0), Ok(()));
        assert_eq!(told(&mut ledger, 2..6, Instant::now()), [1, 2, 3, 4]);
    }

    #[test]
    fn room_that_was_promised_is_not_given_away() {
        let (mut ledger, start) = (ledger(), Instant::now());
        assert_eq!(admit(&mut ledger, 1, "a", 50.0), Ok(()));
        assert_eq!(told(&mut ledger, 2..4, start), [1, 2]);
        ledger.release(1, start);
        ledger.mean = Some(45.0);
        let caller = Caller::from("a");
        let newcomer = Attempt { is_first: true, ..Attempt::default() };
        let refused = ledger.admit(4, &caller, newcomer, start);
        assert_eq!(refused, Err(Refusal::Share { retry_after: 3 }));
        let at = |seconds| start + std::time::Duration::from_secs(seconds);
        assert_eq!(ledger.admit(5, &caller, Attempt::default(), at(1)), Ok(()));
        assert_eq!(ledger.admit(6, &caller, Attempt::default(), at(2)), Ok(()));
    }

    #[test]
    fn a_promise_lapses_when_nobody_comes() {
        let (mut ledger, start) = (ledger(), Instant::now());
        assert_eq!(admit(&mut ledger, 1, "a", 50.0), Ok(()));
        assert_eq!(told(&mut ledger, 2..7, start), [1, 2, 3, 4, 5]);
        ledger.release(1, start);
        let later = start + std::time::Duration::from_secs(11);
        let newcomer = Attempt { is_first: true, ..Attempt::default() };
        ledger.mean = Some(50.0);
        assert_eq!(ledger.admit(8, &"a".into(), newcomer, later), Ok(()));
    }
}
