//! When a worker is replaced, unloaded or ended without having failed.

use std::time::{Duration, Instant};

use super::{Lane, Phase};
use crate::scheduler::shape::{self, Shape};

/// A lane that ran out of memory tries its full size again after so long.
const SQUEEZE_TIME: Duration = Duration::from_secs(600);

/// A model that stands down is unloaded after so long without use: chunks of one request follow
/// each other faster.
const STAND_DOWN_AFTER: Duration = Duration::from_secs(2);

/// A worker that has grown by half and by this much since its start is replaced.
const DRIFT_BYTES: u64 = 256 << 20;

impl Lane {
    /// Why the worker should be replaced, if it should. An idle one is replaced earlier.
    pub(in crate::scheduler) fn worn_out(
        &self,
        recycle_after: u64,
        is_wanted: bool,
    ) -> Option<&'static str> {
        if self.phase != Phase::Ready {
            return None;
        }
        let idle = self.running.is_empty() && !is_wanted;
        let limit = if idle { recycle_after } else { recycle_after.saturating_mul(2) };
        let first = self.report.as_ref().map_or(u64::MAX, |report| report.vitals.resident_bytes);
        let grown = first.saturating_add(first / 2).saturating_add(DRIFT_BYTES);
        match () {
            () if self.worker_chunks >= limit => Some("chunks"),
            () if self.vitals.resident_bytes > grown => Some("memory"),
            () => None,
        }
    }

    /// What the worker's process told last of its resident memory in bytes; 0 without a process.
    pub(in crate::scheduler) fn resident_bytes(&self) -> u64 {
        match self.report {
            Some(_) if self.has_process() => self.vitals.resident_bytes,
            _ => 0,
        }
    }

    /// After how long without use it is unloaded, if that is `unload_after` for most models.
    pub(in crate::scheduler) fn idle_limit(
        &self,
        unload_after: Option<Duration>,
    ) -> Option<Duration> {
        if self.stands_down { Some(STAND_DOWN_AFTER) } else { unload_after }
    }

    /// Whether nobody has used it for `limit`.
    pub(in crate::scheduler) fn is_idle_for(&self, limit: Duration, now: Instant) -> bool {
        self.phase == Phase::Ready
            && self.running.is_empty()
            && now.duration_since(self.last_used) >= limit
    }

    /// When it was last used.
    pub(in crate::scheduler) fn last_used(&self) -> Instant {
        self.last_used
    }

    /// Goes on with a smaller shape than the present one, if there is one.
    pub(super) fn squeeze(&mut self) -> bool {
        if self.step == 0 {
            // What was too much is the shape that fitted, which may be smaller than the full one.
            self.steps = shape::steps(&self.model, self.shape.slots, self.swap_variants);
            let variant = |step: &Shape| step.variant > self.shape.variant;
            let smaller =
                |step: &Shape| step.slots < self.shape.slots && step.variant == self.shape.variant;
            let next = self.steps.iter().position(|step| smaller(step) || variant(step));
            self.step = next.unwrap_or(0);
            return next.is_some();
        }
        let squeezed = self.step + 1 < self.steps.len();
        self.step += usize::from(squeezed);
        squeezed
    }

    /// Goes back to its full size when the last lack of memory is long ago. Returns whether an
    /// idle worker should be replaced by a larger one, for which there are `room` bytes besides
    /// its own.
    pub(in crate::scheduler) fn relax(&mut self, room: u64, now: Instant) -> bool {
        if !self.is_small() || self.relaxes_at() > now {
            return false;
        }
        self.steps = shape::steps(&self.model, self.slots, self.swap_variants);
        self.step = 0;
        let room = room.saturating_add(self.reserved_bytes());
        let larger = shape::fit(&self.model, &self.steps, room)
            .is_some_and(|fit| fit.variant < self.shape.variant || fit.slots > self.shape.slots);
        self.phase == Phase::Ready && self.running.is_empty() && larger
    }

    /// Whether it is not as large as it could be.
    fn is_small(&self) -> bool {
        self.step > 0 || self.shape.slots < self.slots || self.shape.variant.is_some()
    }

    fn relaxes_at(&self) -> Instant {
        self.ooms.last().copied().unwrap_or(self.started).max(self.started) + SQUEEZE_TIME
    }

    /// Starts again if `room` bytes are enough now.
    pub(in crate::scheduler) fn retry_room(&mut self, room: u64, now: Instant) {
        let fits = shape::fit(&self.model, &self.steps[self.step..], room).is_some();
        if self.phase == Phase::NoRoom && fits {
            self.phase = Phase::Waiting { until: now };
        }
    }

    /// When something must be done here even if nothing is heard.
    pub(in crate::scheduler) fn deadline(&self, unload_after: Option<Duration>) -> Option<Instant> {
        let relax = self.is_small().then(|| self.relaxes_at());
        let own = match self.phase {
            Phase::Waiting { until } => Some(until),
            // From then on, nobody waits for it any more.
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

    /// Ends the worker if a chunk has made no progress for too long.
    pub(in crate::scheduler) fn kill_if_stalled(&mut self, now: Instant) {
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
