//! When to replace, unload or stop a worker that has not failed.

use std::time::{Duration, Instant};

use super::{ModelInstance, Phase};
use crate::worker_size::{self, WorkerSize};

/// An instance that ran out of memory tries its full size again after this time.
const SQUEEZE_TIME: Duration = Duration::from_secs(600);

/// A model that has been replaced by others is unloaded after this time without use. The chunks of
/// one request follow each other faster.
const STAND_DOWN_AFTER: Duration = Duration::from_secs(2);

/// A worker is replaced when its memory has grown by half and by this much since its start.
const DRIFT_BYTES: u64 = 256 << 20;

impl ModelInstance {
    /// Why the worker should be replaced, if it should. An idle worker is replaced earlier.
    pub(crate) fn replacement_reason(
        &self,
        recycle_after: u64,
        is_wanted: bool,
    ) -> Option<&'static str> {
        if self.phase != Phase::Ready {
            return None;
        }
        let idle = self.running.is_empty() && !is_wanted;
        let limit = if idle { recycle_after } else { recycle_after.saturating_mul(2) };
        let first = self.report.as_ref().map_or(u64::MAX, |report| report.stats.resident_bytes);
        let grown = first.saturating_add(first / 2).saturating_add(DRIFT_BYTES);
        match () {
            () if self.worker_chunks >= limit => Some("chunks"),
            () if self.stats.resident_bytes > grown => Some("memory"),
            () => None,
        }
    }

    /// The worker's resident memory in bytes, as last reported; 0 without a process.
    pub(crate) fn resident_bytes(&self) -> u64 {
        match self.report {
            Some(_) if self.has_process() => self.stats.resident_bytes,
            _ => 0,
        }
    }

    /// The idle time after which it is unloaded, given `unload_after` for most models.
    pub(crate) fn idle_limit(&self, unload_after: Option<Duration>) -> Option<Duration> {
        if self.stands_down { Some(STAND_DOWN_AFTER) } else { unload_after }
    }

    /// Whether it has been unused for `limit`.
    pub(crate) fn is_idle_for(&self, limit: Duration, now: Instant) -> bool {
        self.phase == Phase::Ready
            && self.running.is_empty()
            && now.duration_since(self.last_used) >= limit
    }

    /// When it was last used.
    pub(crate) fn last_used(&self) -> Instant {
        self.last_used
    }

    /// Continues with a smaller worker size than the current one, if there is one.
    pub(super) fn squeeze(&mut self) -> bool {
        if self.step == 0 {
            // The size that did not work may be smaller than the full one.
            self.steps =
                worker_size::steps(&self.model, self.worker_size.slots, self.swap_variants);
            let variant = |step: &WorkerSize| step.variant > self.worker_size.variant;
            let smaller = |step: &WorkerSize| {
                step.slots < self.worker_size.slots && step.variant == self.worker_size.variant
            };
            let next = self.steps.iter().position(|step| smaller(step) || variant(step));
            self.step = next.unwrap_or(0);
            return next.is_some();
        }
        let squeezed = self.step + 1 < self.steps.len();
        self.step += usize::from(squeezed);
        squeezed
    }

    /// Returns to the full size some time after the last out-of-memory failure. Returns whether an
    /// idle worker should be replaced by a larger one, given `room` bytes besides its own.
    pub(crate) fn relax(&mut self, room: u64, now: Instant) -> bool {
        if !self.is_small() || self.relaxes_at() > now {
            return false;
        }
        self.steps = worker_size::steps(&self.model, self.slots, self.swap_variants);
        self.step = 0;
        let room = room.saturating_add(self.reserved_bytes());
        let larger = worker_size::fit(&self.model, &self.steps, room).is_some_and(|fit| {
            fit.variant < self.worker_size.variant || fit.slots > self.worker_size.slots
        });
        self.phase == Phase::Ready && self.running.is_empty() && larger
    }

    /// Whether the worker is smaller than it could be.
    fn is_small(&self) -> bool {
        self.step > 0 || self.worker_size.slots < self.slots || self.worker_size.variant.is_some()
    }

    fn relaxes_at(&self) -> Instant {
        self.ooms.last().copied().unwrap_or(self.started).max(self.started) + SQUEEZE_TIME
    }

    /// Schedules a start if `room` bytes are now enough.
    pub(crate) fn retry_room(&mut self, room: u64, now: Instant) {
        let fits = worker_size::fit(&self.model, &self.steps[self.step..], room).is_some();
        if self.phase == Phase::NoRoom && fits {
            self.phase = Phase::Waiting { until: now };
        }
    }

    /// When the instance next needs attention, even if no event arrives.
    pub(crate) fn deadline(&self, unload_after: Option<Duration>) -> Option<Instant> {
        let relax = self.is_small().then(|| self.relaxes_at());
        let own = match self.phase {
            Phase::Waiting { until } => Some(until),
            // After that, no chunk waits for it.
            Phase::Starting { since } => Some(since + self.longest_wait()),
            Phase::Ready if self.running.is_empty() => {
                let limit = self.idle_limit(unload_after);
                limit.and_then(|limit| self.last_used.checked_add(limit))
            }
            Phase::Ready | Phase::Retiring { .. } => self.running.last_sign(self.stall),
            _ => None,
        };
        own.into_iter().chain(relax).min()
    }

    /// Kills the worker if a chunk has made no progress for too long.
    pub(crate) fn kill_if_stalled(&mut self, now: Instant) {
        let working = matches!(self.phase, Phase::Ready | Phase::Retiring { .. });
        if working
            && self.running.last_sign(self.stall).is_some_and(|deadline| deadline <= now)
            && let Some(worker) = &self.worker
        {
            worker.kill(format!("the worker made no progress for {:?}", self.stall));
            self.phase = Phase::Killed;
        }
    }
}
