//! What can be expected of a lane: how long a chunk would wait for it, and whether it should.

use std::time::{Duration, Instant, SystemTime};

use super::{Lane, Phase};
use crate::scheduler::running::Chunk;
use crate::scheduler::snapshot::{ModelState, ModelStatus};
use crate::supervisor::Ending;

/// Failed starts in a row after which waiting chunks are told rather than kept waiting.
pub(super) const HOPELESS_STARTS: u32 = 3;

/// The same for starts that were killed from outside, if no worker was ready for so long either.
/// A few kills may be an operator's; the kernel kills every start for lack of memory.
const HOPELESS_KILLS: u32 = 8;
const HOPELESS_KILLS_TIME: Duration = Duration::from_secs(60);

/// No load is waited for any longer by chunks that have a choice.
const LONGEST_WAIT_SECONDS: f64 = 300.0;

/// What a load is assumed to take until one was measured: a second, and the reading of the file.
const ASSUMED_LOAD_SECONDS: f64 = 1.0;
const ASSUMED_BYTES_PER_SECOND: f64 = 500e6;

impl Lane {
    /// Why no chunk should wait for this model here; `None` if there is hope.
    pub(in crate::scheduler) fn hopeless(&self, now: Instant) -> Option<&str> {
        let hopeless = self.bad_model
            || self.failed_starts >= HOPELESS_STARTS
            || self.killed_starts >= HOPELESS_KILLS
                && now.duration_since(self.last_ready) >= HOPELESS_KILLS_TIME;
        let (ending, _) = self.last_failure.as_ref().filter(|_| hopeless)?;
        Some(&ending.detail)
    }

    /// Seconds until it can take a chunk, as far as can be told; `None` if that is not to be
    /// waited for.
    pub(in crate::scheduler) fn wait_seconds(&self, chunk: &Chunk, now: Instant) -> Option<f64> {
        let load = self.load_seconds();
        match self.phase {
            Phase::Ready if self.may_run(chunk) => Some(0.0),
            Phase::Ready if self.running.may_join(chunk) => Some(self.running.first_free(now)),
            Phase::Ready => Some(self.running.last_free(now)),
            // One that takes far longer than it should may never end.
            Phase::Starting { since } => {
                let elapsed = now.duration_since(since);
                let left = (load - elapsed.as_secs_f64()).max(0.1);
                (elapsed < self.longest_wait()).then_some(left)
            }
            Phase::Waiting { until } => {
                Some(until.saturating_duration_since(now).as_secs_f64() + load)
            }
            Phase::Off => Some(load),
            Phase::Retiring { replaced: true } | Phase::Stopping { replaced: true } => {
                Some(self.running.last_free(now) + load)
            }
            Phase::Killed => Some(0.1 + load),
            Phase::Retiring { .. } | Phase::Stopping { .. } | Phase::NoRoom => None,
        }
    }

    /// How long a load is waited for.
    pub(super) fn longest_wait(&self) -> Duration {
        let seconds = (3.0 * self.load_seconds() + 2.0).min(LONGEST_WAIT_SECONDS);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn load_seconds(&self) -> f64 {
        self.load_seconds.unwrap_or_else(|| {
            let bytes = self.shape.need(&self.model).weights_bytes as f64;
            ASSUMED_LOAD_SECONDS + bytes / ASSUMED_BYTES_PER_SECOND
        })
    }

    pub(in crate::scheduler) fn status(&self, now: Instant) -> ModelStatus {
        let state = match self.phase {
            _ if self.hopeless(now).is_some() => ModelState::Unavailable,
            Phase::Ready => ModelState::Ready,
            Phase::NoRoom => ModelState::NoRoom,
            Phase::Off | Phase::Stopping { replaced: false } => ModelState::Unloaded,
            Phase::Retiring { .. } | Phase::Stopping { .. } => ModelState::Restarting,
            _ if self.last_failure.is_some() => ModelState::Restarting,
            _ => ModelState::Starting,
        };
        let failure = |(ending, at): &(Ending, SystemTime)| {
            (ending.kind.to_string(), ending.detail.clone(), *at)
        };
        let report = self.report.as_ref();
        ModelStatus {
            name: self.model.name.clone(),
            loaded: self.has_process().then(|| self.shape.name(&self.model).to_owned()),
            state,
            slots: if self.has_process() { self.shape.slots } else { 0 },
            multilingual: report.map(|report| report.multilingual),
            resident_bytes: report.map(|_| self.vitals.resident_bytes),
            device_bytes: self.measured_bytes,
            needed_bytes: self.steps[self.step].bytes(&self.model),
            load_seconds: report.map(|report| report.load_seconds),
            speed: self.pace.measured(),
            workers_started: self.workers_started,
            chunks: self.pace.chunks(),
            audio_seconds: self.pace.audio_seconds(),
            last_failure: self.last_failure.as_ref().map(failure),
        }
    }
}
