//! Who was told when to come back, and the room that is kept for them. Pure.
//!
//! Without this all who are refused at a moment are told the same second, and come back as a herd
//! of which most are refused again. So every refusal is a promise, and later ones are told a later
//! time.

use std::time::{Duration, Instant};

use super::caller::{Attempt, Caller};

/// How late a client may be. Then its promise lapses.
const GRACE: Duration = Duration::from_secs(5);

/// The longest wait that is worth promising in seconds: SDKs give up on more than two minutes.
const LONGEST_SECONDS: f64 = 120.0;

/// The farthest time that is planned for in seconds.
const FARTHEST_SECONDS: f64 = 86_400.0;

/// Room that was promised.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) caller: Caller,
    attempt: Attempt,
    /// When there is room.
    due: Instant,
    /// When the client was told to come: earlier, if it would not wait for so long.
    told: Instant,
    /// Seconds of audio.
    pub(super) seconds: f64,
}

/// The promises that are neither kept nor lapsed, the first due first.
#[derive(Debug, Default)]
pub(super) struct Promises(Vec<Promise>);

/// A limit, and how what is below it changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// Seconds of audio that are there now.
    pub(super) load: f64,
    /// And how many there may be.
    pub(super) limit: f64,
    /// How many are done in a second.
    pub(super) speed: f64,
}

impl Level {
    /// Seconds until `more` fits, and goes on to fit when the promises are kept. Each of these is
    /// its due time in seconds from now and its seconds of audio, in order.
    pub(super) fn wait(self, more: f64, promises: impl Iterator<Item = (f64, f64)>) -> f64 {
        let Self { load: mut level, limit, speed } = self;
        let speed = speed.max(0.01);
        let missing = |level: f64| (level + more - limit).max(0.0) / speed;
        let mut at = 0.0;
        let mut wait = missing(level);
        for (due, seconds) in promises {
            level = (level - speed * (due - at)).max(0.0) + seconds;
            at = due;
            if level + more > limit {
                wait = at + missing(level);
            }
        }
        wait
    }
}

impl Promise {
    /// Seconds until there is room.
    pub(super) fn wait(&self, now: Instant) -> f64 {
        self.due.saturating_duration_since(now).as_secs_f64()
    }
}

impl Promises {
    /// Forgets those whose clients did not come.
    pub(super) fn lapse(&mut self, now: Instant) {
        self.0.retain(|promise| now < promise.told + GRACE);
    }

    /// Takes the first promise that a request may be the return for.
    pub(super) fn take(
        &mut self,
        caller: &Caller,
        attempt: Attempt,
        now: Instant,
    ) -> Option<Promise> {
        let at = self.0.iter().position(|promise| {
            let is_own = promise.caller == *caller && attempt.may_follow(promise.attempt);
            is_own && promise.told <= now
        })?;
        Some(self.0.remove(at))
    }

    /// Promises room in `wait` seconds, and returns the whole seconds to tell.
    pub(super) fn make(
        &mut self,
        caller: &Caller,
        attempt: Attempt,
        seconds: f64,
        wait: f64,
        now: Instant,
    ) -> u64 {
        let wait = wait.ceil().clamp(1.0, FARTHEST_SECONDS);
        let told = wait.min(LONGEST_SECONDS);
        let at = |seconds| now + Duration::from_secs_f64(seconds);
        let (due, told_at) = (at(wait), at(told));
        let place = self.0.partition_point(|promise| promise.due <= due);
        let caller = caller.clone();
        self.0.insert(place, Promise { caller, attempt, due, told: told_at, seconds });
        told as u64
    }

    /// In the order in which they are due.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Promise> {
        self.0.iter()
    }
}
