//! When to replace, unload or stop a worker that has not failed.

use std::time::{Duration, Instant};

use super::{InstancePhase, ModelInstance};
use crate::reason::EventReason;
use crate::worker_size::{self, WorkerSize};

/// An instance that ran out of memory tries its full size again after this time.
const SHRUNK_TIME: Duration = Duration::from_secs(600);

/// A model that has been replaced by others is unloaded after this time without use. The chunks of
/// one request follow each other faster.
const SUPERSEDED_IDLE_LIMIT: Duration = Duration::from_secs(2);

/// The waits between restarts.
const FIRST_RESTART_DELAY: Duration = Duration::from_millis(250);
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// A worker is replaced when its memory has grown by half and by this much since its start.
const DRIFT_BYTES: u64 = 256 << 20;

impl ModelInstance {
    /// Why the worker should be replaced, if it should. An idle worker is replaced earlier.
    pub(crate) fn replacement_reason(
        &self,
        recycle_after: u64,
        is_wanted: bool,
    ) -> Option<EventReason> {
        if self.phase != InstancePhase::Ready {
            return None;
        }
        let idle = self.running.is_empty() && !is_wanted;
        let limit = if idle { recycle_after } else { recycle_after.saturating_mul(2) };
        let first = self.report.as_ref().map_or(u64::MAX, |report| report.stats.resident_bytes);
        let grown = first.saturating_add(first / 2).saturating_add(DRIFT_BYTES);
        if self.worker_chunks >= limit {
            Some(EventReason::Chunks)
        } else {
            (self.stats.resident_bytes > grown).then_some(EventReason::Memory)
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
        if self.superseded { Some(SUPERSEDED_IDLE_LIMIT) } else { unload_after }
    }

    pub(crate) fn is_idle_for(&self, limit: Duration, now: Instant) -> bool {
        self.phase == InstancePhase::Ready
            && self.running.is_empty()
            && now.duration_since(self.last_used) >= limit
    }

    /// Continues with a smaller worker size than the current one, if there is one.
    pub(super) fn shrink(&mut self) -> bool {
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
        let shrunk = self.step + 1 < self.steps.len();
        self.step += usize::from(shrunk);
        shrunk
    }

    /// Returns to the full size some time after the last out-of-memory failure. Returns whether an
    /// idle worker should be replaced by a larger one, given `room` bytes besides its own.
    pub(crate) fn restore_size(&mut self, room: u64, now: Instant) -> bool {
        if !self.is_small() || self.restores_at() > now {
            return false;
        }
        self.steps = worker_size::steps(&self.model, self.slots, self.swap_variants);
        self.step = 0;
        let room = room.saturating_add(self.reserved_bytes());
        let larger = worker_size::fit(&self.model, &self.steps, room).is_some_and(|fit| {
            fit.variant < self.worker_size.variant || fit.slots > self.worker_size.slots
        });
        self.phase == InstancePhase::Ready && self.running.is_empty() && larger
    }

    /// Whether the worker is smaller than it could be.
    fn is_small(&self) -> bool {
        self.step > 0 || self.worker_size.slots < self.slots || self.worker_size.variant.is_some()
    }

    fn restores_at(&self) -> Instant {
        self.ooms.last().copied().unwrap_or(self.started).max(self.started) + SHRUNK_TIME
    }

    /// Schedules a start if `room` bytes are now enough.
    pub(crate) fn retry_room(&mut self, room: u64, now: Instant) {
        let fits = worker_size::fit(&self.model, &self.steps[self.step..], room).is_some();
        if self.phase == InstancePhase::NoRoom && fits {
            self.phase = InstancePhase::Waiting { until: now };
        }
    }

    /// When the instance next needs attention, even if no event arrives.
    pub(crate) fn deadline(&self, unload_after: Option<Duration>) -> Option<Instant> {
        let restore_size = self.is_small().then(|| self.restores_at());
        let own = match self.phase {
            InstancePhase::Waiting { until } => Some(until),
            // After that, no chunk waits for it.
            InstancePhase::Starting { since } => Some(since + self.longest_wait()),
            InstancePhase::Ready if self.running.is_empty() => {
                let limit = self.idle_limit(unload_after);
                limit.and_then(|limit| self.last_used.checked_add(limit))
            }
            InstancePhase::Ready | InstancePhase::Retiring { .. } => {
                self.running.last_sign(self.stall)
            }
            _ => None,
        };
        own.into_iter().chain(restore_size).min()
    }

    /// Kills the worker if a chunk has made no progress for too long.
    pub(crate) fn kill_if_stalled(&mut self, now: Instant) {
        let working = matches!(self.phase, InstancePhase::Ready | InstancePhase::Retiring { .. });
        if working
            && self.running.last_sign(self.stall).is_some_and(|deadline| deadline <= now)
            && let Some(worker) = &self.worker
        {
            worker.kill(format!("the worker made no progress for {:?}", self.stall));
            self.phase = InstancePhase::Killed;
        }
    }
}

/// The wait after `failures` consecutive failed starts or runs. The first restart is immediate:
/// most failures are single events, and the chunk's client is waiting.
pub(super) fn restart_delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => {
            let factor = 2u32.saturating_pow(n - 2);
            FIRST_RESTART_DELAY.saturating_mul(factor).min(LONGEST_RESTART_DELAY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit() {
        let waits: Vec<u64> = (0..=9).map(|n| restart_delay(n).as_millis() as u64).collect();
        assert_eq!(waits, [0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000]);
        assert_eq!(restart_delay(u32::MAX), LONGEST_RESTART_DELAY);
    }
}
