//! Circuit breaker: whether a device may be used at all. Pure: time is passed in as an argument.
//!
//! A device that fails is left alone for a while. Then it is tried with a fresh worker, whose
//! warm-up is a second of audio, then with one real chunk, and only then used normally again.

use std::time::{Duration, Instant};

use crate::supervisor::ExitKind;

/// The first wait; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The relative random spread of the waits, so that servers that failed together do not return
/// together.
const JITTER: f64 = 0.2;

/// This many out-of-memory exits within the time below open the breaker.
const MOST_OOMS: usize = 3;
const OOM_TIME: Duration = Duration::from_secs(60);

/// After working for this long, a device starts with the first wait again.
const STEADY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// The device is used.
    Closed,
    /// The device is not used.
    Open {
        /// When it may be tried again.
        until: Instant,
    },
    /// A fresh worker may be started, but gets no chunks.
    Probing,
    /// A fresh worker is loaded and gets one chunk at a time.
    Trial,
}

#[derive(Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Openings in a row.
    pub(super) strikes: u32,
    closed_since: Option<Instant>,
    opened_at: Option<Instant>,
    ooms: Vec<Instant>,
    /// What last opened it.
    cause: Option<ExitKind>,
    seed: u64,
}

/// What a worker's exit did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// It opened.
    Opened,
    /// The device was being tried; the breaker is open again.
    ProbeFailed,
}

impl Breaker {
    /// `seed` decides the jitter.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: BreakerState::Closed,
            strikes: 0,
            closed_since: None,
            opened_at: None,
            ooms: Vec::new(),
            cause: None,
            seed,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    pub(super) fn cause(&self) -> Option<ExitKind> {
        self.cause.filter(|_| self.state != BreakerState::Closed)
    }

    pub(super) fn allows_start(&self) -> bool {
        !matches!(self.state, BreakerState::Open { .. })
    }

    /// How many of `slots` may be used.
    pub(super) fn usable_slots(&self, slots: usize) -> usize {
        match self.state {
            BreakerState::Closed => slots,
            BreakerState::Trial => slots.min(1),
            BreakerState::Open { .. } | BreakerState::Probing => 0,
        }
    }

    pub(super) fn failed(&mut self, kind: ExitKind, now: Instant) -> Effect {
        match kind {
            // The model file's fault, an outside kill, or a normal stop.
            ExitKind::BadModel | ExitKind::Killed | ExitKind::Stopped => return Effect::None,
            ExitKind::OutOfMemory => {
                self.ooms.retain(|at| now.duration_since(*at) < OOM_TIME);
                self.ooms.push(now);
                if self.state == BreakerState::Closed && self.ooms.len() < MOST_OOMS {
                    return Effect::None;
                }
            }
            _ => {}
        }
        let effect = match self.state {
            BreakerState::Closed => Effect::Opened,
            BreakerState::Probing | BreakerState::Trial => Effect::ProbeFailed,
            BreakerState::Open { .. } => return Effect::None,
        };
        if self.closed_since.is_some_and(|since| now.duration_since(since) >= STEADY) {
            self.strikes = 0;
        }
        self.closed_since = None;
        self.opened_at = Some(now);
        self.cause = Some(kind);
        self.state = BreakerState::Open { until: now + self.wait() };
        self.strikes += 1;
        effect
    }

    /// Moves on to probing when the wait is over. Returns whether it did.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let due = matches!(self.state, BreakerState::Open { until } if until <= now);
        if due {
            self.state = BreakerState::Probing;
        }
        due
    }

    /// Whether a worker was started after the breaker last opened. An older worker's device context
    /// may be as broken as the failed one's, so its success proves nothing.
    pub(super) fn is_fresh(&self, started: Instant) -> bool {
        self.opened_at.is_none_or(|opened| started >= opened)
    }

    /// Records that a worker started at `started` passed its warm-up.
    pub(super) fn warmed_up(&mut self, started: Instant) {
        if self.state == BreakerState::Probing && self.is_fresh(started) {
            self.state = BreakerState::Trial;
        }
    }

    /// Records that a chunk succeeded on a worker started at `started`. Returns whether this closed
    /// the breaker.
    pub(super) fn succeeded(&mut self, started: Instant, now: Instant) -> bool {
        let returned = self.state == BreakerState::Trial && self.is_fresh(started);
        if returned {
            self.close(now);
        }
        returned
    }

    /// Undoes an opening that was the chunk's fault and not the device's. Returns whether the
    /// breaker was open.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        let was_open = self.state != BreakerState::Closed;
        if was_open {
            self.strikes = self.strikes.saturating_sub(1);
            self.close(now);
        }
        was_open
    }

    fn close(&mut self, now: Instant) {
        self.state = BreakerState::Closed;
        self.closed_since = Some(now);
        self.ooms.clear();
    }

    fn wait(&self) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(2u32.saturating_pow(self.strikes)).min(LONGEST_WAIT);
        // Seeded, so that a simulated history repeats.
        let seed = (self.seed << 32) | u64::from(self.strikes);
        let random = fastrand::Rng::with_seed(seed).f64();
        wait.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(breaker: &Breaker, now: Instant) -> f64 {
        match breaker.state() {
            BreakerState::Open { until } => until.duration_since(now).as_secs_f64(),
            other => panic!("{other:?} is not open"),
        }
    }

    #[test]
    fn an_abort_opens_it_and_the_way_back_has_two_steps() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(1);
        assert_eq!(breaker.failed(ExitKind::Aborted, now), Effect::Opened);
        assert_eq!((breaker.usable_slots(4), breaker.allows_start()), (0, false));
        assert!(!breaker.tick(now));
        now += Duration::from_secs(7);
        assert!(breaker.tick(now));
        assert_eq!((breaker.usable_slots(4), breaker.allows_start()), (0, true));
        breaker.warmed_up(now);
        assert_eq!(breaker.usable_slots(4), 1);
        assert!(breaker.succeeded(now, now));
        assert_eq!(breaker.usable_slots(4), 4);
        assert!(!breaker.succeeded(now, now));
    }

    #[test]
    fn the_wait_doubles_to_five_minutes_with_a_fifth_of_jitter() {
        let mut now = Instant::now();
        for seed in 0..50 {
            let mut breaker = Breaker::new(seed);
            for expected in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0] {
                breaker.failed(ExitKind::StartTimeout, now);
                let wait = wait_of(&breaker, now);
                assert!((0.8..=1.2).contains(&(wait / expected)), "{wait} for {expected}");
                now += Duration::from_secs(400);
                assert!(breaker.tick(now));
            }
        }
    }

    #[test]
    fn a_worker_from_before_the_failure_proves_nothing() {
        let before = Instant::now();
        let now = before + Duration::from_secs(10);
        let mut breaker = Breaker::new(1);
        breaker.failed(ExitKind::Aborted, now);
        breaker.warmed_up(before);
        assert!(matches!(breaker.state(), BreakerState::Open { .. }));
        breaker.tick(now + Duration::from_secs(7));
        breaker.warmed_up(before);
        assert_eq!(breaker.state(), BreakerState::Probing);
        breaker.warmed_up(now + Duration::from_secs(7));
        assert!(!breaker.succeeded(before, now + Duration::from_secs(8)));
    }

    #[test]
    fn a_failed_probe_differs_from_an_opening() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(1);
        breaker.failed(ExitKind::Aborted, now);
        assert_eq!(breaker.failed(ExitKind::Aborted, now), Effect::None, "open already");
        now += Duration::from_secs(7);
        breaker.tick(now);
        assert_eq!(breaker.failed(ExitKind::LoadFailed, now), Effect::ProbeFailed);
    }

    #[test]
    fn three_ooms_within_a_minute_open_it_and_three_within_an_hour_do_not() {
        let start = Instant::now();
        for (gap, effect) in [(10, Effect::Opened), (1200, Effect::None)] {
            let mut breaker = Breaker::new(1);
            let mut last = Effect::None;
            for n in 0..3 {
                last = breaker.failed(ExitKind::OutOfMemory, start + Duration::from_secs(n * gap));
            }
            assert_eq!(last, effect, "{gap}");
        }
    }

    #[test]
    fn a_device_that_flaps_waits_longer_and_a_steady_one_starts_over() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(1);
        for (steady, longest) in [(0, 6.0), (1, 12.0), (1, 24.0), (120, 6.0)] {
            now += Duration::from_secs(steady);
            breaker.failed(ExitKind::Aborted, now);
            let wait = wait_of(&breaker, now);
            assert!(wait <= longest && wait >= longest / 1.6, "{wait} for {longest}");
            now += Duration::from_secs(60);
            breaker.tick(now);
            breaker.warmed_up(now);
            breaker.succeeded(now, now);
        }
    }

    #[test]
    fn bad_models_kills_and_poisonous_chunks_do_not_open_the_breaker() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1);
        for kind in [ExitKind::BadModel, ExitKind::Killed, ExitKind::Stopped] {
            assert_eq!(breaker.failed(kind, now), Effect::None);
        }
        breaker.failed(ExitKind::Aborted, now);
        breaker.forgive(now);
        assert_eq!((breaker.state(), breaker.cause()), (BreakerState::Closed, None));
        breaker.failed(ExitKind::Aborted, now);
        assert!(wait_of(&breaker, now) <= 6.0, "the forgiven opening still counts");
    }
}
