//! What to expect of an instance: how long a chunk would wait for it, and whether it should.

use std::time::{Duration, Instant};

use super::{InstancePhase, ModelInstance};
use crate::running::ScheduledChunk;
use crate::snapshot::{ModelState, ModelStatus};

/// After this many failed starts in a row, waiting chunks fail instead of waiting longer.
pub(super) const MAX_FAILED_STARTS: u32 = 3;

/// The same for starts that were killed from outside, if no worker was ready for the time below
/// either. An operator may kill a few; when memory runs out, the kernel kills every start.
const MAX_KILLED_STARTS: u32 = 8;
const KILLED_STARTS_TIME: Duration = Duration::from_secs(60);

/// Chunks that have a choice wait no longer than this for a load.
const LONGEST_WAIT_SECONDS: f64 = 300.0;

/// The assumed duration of a load until one is measured: a second plus reading the file.
const ASSUMED_LOAD_SECONDS: f64 = 1.0;
const ASSUMED_BYTES_PER_SECOND: f64 = 500e6;

impl ModelInstance {
    /// Why no chunk should wait for this model here; `None` if one may.
    pub(crate) fn unrecoverable(&self, now: Instant) -> Option<&str> {
        let unrecoverable = self.bad_model
            || self.failed_starts >= MAX_FAILED_STARTS
            || self.killed_starts >= MAX_KILLED_STARTS
                && now.duration_since(self.last_ready) >= KILLED_STARTS_TIME;
        let (exit, _) = self.last_failure.as_ref().filter(|_| unrecoverable)?;
        Some(&exit.detail)
    }

    /// The estimated seconds until it can take a chunk; `None` if the chunk should not wait.
    pub(crate) fn wait_seconds(&self, chunk: &ScheduledChunk, now: Instant) -> Option<f64> {
        let load = self.load_seconds();
        match self.phase {
            InstancePhase::Ready if self.may_run(chunk) => Some(0.0),
            InstancePhase::Ready if self.running.may_join(chunk) => {
                Some(self.running.first_free(now))
            }
            InstancePhase::Ready => Some(self.running.last_free(now)),
            // A load that takes far longer than expected may never end.
            InstancePhase::Starting { since } => {
                let elapsed = now.duration_since(since);
                let left = (load - elapsed.as_secs_f64()).max(0.1);
                (elapsed < self.longest_wait()).then_some(left)
            }
            InstancePhase::Waiting { until } => {
                Some(until.saturating_duration_since(now).as_secs_f64() + load)
            }
            InstancePhase::Off => Some(load),
            InstancePhase::Retiring { replaced: true }
            | InstancePhase::Stopping { replaced: true } => {
                Some(self.running.last_free(now) + load)
            }
            InstancePhase::Killed => Some(0.1 + load),
            InstancePhase::Retiring { .. }
            | InstancePhase::Stopping { .. }
            | InstancePhase::NoRoom => None,
        }
    }

    /// How long chunks wait for a load.
    pub(super) fn longest_wait(&self) -> Duration {
        let seconds = (3.0 * self.load_seconds() + 2.0).min(LONGEST_WAIT_SECONDS);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn load_seconds(&self) -> f64 {
        self.load_seconds.unwrap_or_else(|| {
            let bytes = self.worker_size.need(&self.model).weights_bytes as f64;
            ASSUMED_LOAD_SECONDS + bytes / ASSUMED_BYTES_PER_SECOND
        })
    }

    pub(crate) fn status(&self, now: Instant) -> ModelStatus {
        let state = match self.phase {
            _ if self.unrecoverable(now).is_some() => ModelState::Unavailable,
            InstancePhase::Ready => ModelState::Ready,
            InstancePhase::NoRoom => ModelState::NoRoom,
            InstancePhase::Off | InstancePhase::Stopping { replaced: false } => {
                ModelState::Unloaded
            }
            InstancePhase::Retiring { .. } | InstancePhase::Stopping { .. } => {
                ModelState::Restarting
            }
            _ if self.last_failure.is_some() => ModelState::Restarting,
            _ => ModelState::Starting,
        };
        let report = self.report.as_ref();
        ModelStatus {
            name: self.model.name.clone(),
            loaded: self.has_process().then(|| self.worker_size.name(&self.model).to_owned()),
            state,
            slots: if self.has_process() { self.worker_size.slots } else { 0 },
            multilingual: report.map(|report| report.multilingual),
            resident_bytes: report.map(|_| self.stats.resident_bytes),
            device_bytes: self.measured_bytes,
            needed_bytes: self.steps[self.step].bytes(&self.model),
            load_seconds: report.map(|report| report.load_seconds),
            speed: self.speed.measured(),
            workers_started: self.workers_started,
            chunks: self.speed.chunks,
            audio_seconds: self.speed.audio_seconds,
            last_failure: self.last_failure.clone(),
        }
    }
}
