//! How much the service does in a second when it has enough to do, as seen from outside. Pure.
//!
//! The paces of the devices tell nothing of what lies between chunks, nor of chunks whose language
//! has to be found first.

use std::time::Instant;

/// For how many busy seconds is measured at a time.
const WINDOW_SECONDS: f64 = 8.0;

/// The weight of the newest measurement in the running mean.
const WEIGHT: f64 = 0.5;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// Since when every slot has had work, without a pause.
    busy_since: Option<Instant>,
    busy_seconds: f64,
    audio_seconds: f64,
    speed: Option<f64>,
    slots: usize,
}

impl Throughput {
    /// Tells that `audio_seconds` were done since it was told last, and whether there is work for
    /// each of the `slots` from now on.
    pub(super) fn tell(&mut self, audio_seconds: f64, is_busy: bool, slots: usize, now: Instant) {
        if slots != self.slots {
            *self = Self { slots, ..Self::default() }; // what was measured is of other devices
        }
        if let Some(since) = self.busy_since.take() {
            self.busy_seconds += now.saturating_duration_since(since).as_secs_f64();
            self.audio_seconds += audio_seconds;
        }
        self.busy_since = is_busy.then_some(now);
        if self.busy_seconds >= WINDOW_SECONDS {
            let speed = self.audio_seconds / self.busy_seconds;
            let mean = |old: f64| old + WEIGHT * (speed - old);
            self.speed = Some(self.speed.map_or(speed, mean));
            (self.busy_seconds, self.audio_seconds) = (0.0, 0.0);
        }
    }

    /// Seconds of audio a second, or `estimate` until it is known.
    pub(super) fn speed(&self, estimate: f64) -> f64 {
        self.speed.unwrap_or(estimate)
    }
}
