//! A device in use: its slots, its memory, its circuit breaker, and one instance per model.

use std::time::{Duration, Instant};

use crate::breaker::{Breaker, BreakerState, Effect};
use crate::event_log::{EventKind, EventLog};
use crate::instance::{ModelInstance, WorkerId};
use crate::memory::MemoryBudget;
use crate::plan::{DevicePlan, ModelPlan, Settings};
use crate::reason::EventReason;
use crate::supervisor::{ExitKind, WorkerExit, WorkerHandle, WorkerProgram};
use auris_core::device::DeviceInfo;
use auris_core::ipc::{LoadReport, LoadSpec, WorkerStats};

mod status;

/// Starts a worker.
pub(super) type Launch = Box<dyn FnMut(WorkerId, &WorkerProgram, LoadSpec) -> WorkerHandle + Send>;

/// After this many failures in a row, chunks no longer wait for the device.
const MAX_STRIKES: u32 = 3;

/// This many engine errors in a row count as the device's fault.
const MOST_ERRORS: u32 = 3;

/// A model used within this time is not unloaded to make room for another.
const EVICTABLE_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct ManagedDevice {
    pub(super) info: DeviceInfo,
    pub(super) slots: usize,
    pub(super) instances: Vec<ModelInstance>,
    pub(super) event_log: EventLog,
    pub(super) utilisation: Option<u8>,
    program: WorkerProgram,
    threads: usize,
    /// Whether models are loaded before the first request for them.
    warm: bool,
    /// The CPU has none: it is the last resort, and blocking it would help no one.
    breaker: Option<Breaker>,
    /// The CPU has none: other programs use its memory, too.
    budget: Option<MemoryBudget>,
    /// Counts worker starts and exits. If it did not change during a load, nothing disturbed the
    /// load.
    changes: u64,
    /// The value of `changes` when each instance's worker was started.
    changes_at_start: Vec<u64>,
}

impl ManagedDevice {
    pub(super) fn new(plan: DevicePlan, seed: u64, now: Instant) -> Self {
        let is_gpu = !plan.is_cpu();
        let DevicePlan { info, program, slots, threads, warm } = plan;
        let budget = || MemoryBudget::new(info.memory_total_bytes, info.memory_free_bytes, now);
        Self {
            instances: Vec::new(),
            event_log: EventLog::default(),
            utilisation: None,
            changes: 0,
            changes_at_start: Vec::new(),
            breaker: is_gpu.then(|| Breaker::new(seed)),
            budget: is_gpu.then(budget),
            info,
            slots,
            program,
            threads,
            warm,
        }
    }

    /// Adds a model, unless the device already has it.
    pub(super) fn add_model(&mut self, model: ModelPlan, settings: &Settings, now: Instant) {
        if self.instance_of(&model.name).is_none() {
            let instance =
                ModelInstance::new(model, self.slots, self.warm, !self.is_cpu(), settings, now);
            self.instances.push(instance);
        }
    }

    /// Unloads a model as soon as it is no longer needed.
    pub(super) fn retire_model(&mut self, model: &str) {
        if let Some(instance) = self.instance_of(model) {
            self.instances[instance].superseded = true;
        }
    }

    pub(super) fn is_cpu(&self) -> bool {
        self.breaker.is_none()
    }

    pub(super) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(super) fn busy_slots(&self) -> usize {
        self.instances.iter().map(|instance| instance.running.len()).sum()
    }

    pub(super) fn usable_slots(&self) -> usize {
        self.breaker.as_ref().map_or(self.slots, |breaker| breaker.usable_slots(self.slots))
    }

    /// Seconds until each usable slot is free.
    pub(super) fn slot_times(&self, now: Instant) -> Vec<f64> {
        let usable = self.usable_slots();
        let instances = self.instances.iter();
        let mut times: Vec<f64> =
            instances.flat_map(|instance| instance.running.remaining(now)).collect();
        times.sort_by(f64::total_cmp);
        times.drain(..times.len().saturating_sub(usable));
        times.resize(usable, 0.0);
        times
    }

    pub(super) fn instance_of(&self, model: &str) -> Option<usize> {
        self.instances.iter().position(|instance| instance.model.name == model)
    }

    fn reserved_bytes(&self) -> u64 {
        self.instances.iter().map(ModelInstance::reserved_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes available to another worker.
    pub(super) fn room(&self, now: Instant) -> u64 {
        let budget = self.budget.as_ref();
        budget.map_or(u64::MAX, |budget| budget.room(self.reserved_bytes(), now))
    }

    /// Free bytes as far as known, and bytes reserved for workers; `None` for the CPU.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        self.budget.as_ref().map(|budget| (budget.free, self.reserved_bytes()))
    }

    /// Starts the workers that are due. `index` is the device's position in the plan.
    pub(super) fn start_workers(&mut self, index: usize, launch: &mut Launch, now: Instant) {
        let phase = self.breaker.as_ref().map(Breaker::state);
        if self.breaker.as_ref().is_some_and(|breaker| !breaker.allows_start()) {
            return;
        }
        let room = self.room(now);
        for instance in self.instances.iter_mut().filter(|instance| instance.has_no_room()) {
            instance.retry_room(room, now);
        }
        let is_probing = phase == Some(BreakerState::Probing);
        let may_probe =
            |instance: &ModelInstance| is_probing && instance.is_off() && !instance.superseded;
        let is_due = |instance: &ModelInstance| instance.is_due(now) || may_probe(instance);
        let mut due: Vec<usize> = (0..self.instances.len())
            .filter(|instance| is_due(&self.instances[*instance]))
            .collect();
        if is_probing {
            // A single fresh worker shows whether the device works; do not use the model that keeps
            // failing.
            due.sort_by_key(|instance| self.instances[*instance].failed_starts);
        }
        for instance_index in due {
            if is_probing && self.instances.iter().any(ModelInstance::has_process) {
                return;
            }
            let room = self.room(now);
            let instance = &mut self.instances[instance_index];
            let is_known = instance.has_no_room();
            let Some(worker_size) = instance.fit(room) else {
                if !is_known {
                    tracing::warn!(
                        device.id = %self.info.id,
                        model = instance.model.name,
                        needed_bytes = instance.worker_size.need(&instance.model).bytes(1),
                        room_bytes = room,
                        "not enough device memory for this model; it runs elsewhere"
                    );
                }
                continue;
            };
            if let Some(budget) = &mut self.budget {
                budget.take(worker_size.bytes(&instance.model));
            }
            self.changes += 1;
            self.changes_at_start.resize(self.changes_at_start.len().max(instance_index + 1), 0);
            self.changes_at_start[instance_index] = self.changes;
            let program = &self.program;
            instance.start(worker_size, &self.info, self.threads, now, |worker, spec| {
                launch(WorkerId { device: index, instance: instance_index, worker }, program, spec)
            });
        }
    }

    /// Records the driver's figures that a worker reported.
    pub(super) fn read(&mut self, stats: WorkerStats, now: Instant) {
        self.utilisation = stats.utilisation_percent;
        let starting = self.instances.iter().filter(|instance| instance.is_starting());
        let coming = starting.map(ModelInstance::reserved_bytes).fold(0, u64::saturating_add);
        if let (Some(budget), Some(free)) = (&mut self.budget, stats.device_free_bytes) {
            budget.read(free, coming, now);
        }
    }

    /// Records that a worker's process is gone and its memory is free again.
    pub(super) fn reclaim(&mut self, bytes: u64) {
        self.changes += 1;
        if let Some(budget) = &mut self.budget {
            budget.give_back(bytes);
        }
    }

    /// Whether a model other than that of `instance` is loaded.
    pub(super) fn is_shared(&self, instance: usize) -> bool {
        self.instances.iter().enumerate().any(|(other, l)| other != instance && l.is_ready())
    }

    /// Records that a worker of `instance` failed, during its start (`while_starting`) or later.
    pub(super) fn failed(
        &mut self,
        instance: usize,
        exit: &WorkerExit,
        while_starting: bool,
        now: Instant,
    ) -> Effect {
        let (model, reason) =
            (Some(&*self.instances[instance].model.name), EventReason::Exit(exit.kind));
        self.event_log.record(EventKind::Failure, model, reason, exit.detail.as_str());
        // If another model is loaded, the device works, and the failed load is this model's fault.
        let is_models_own = while_starting && self.is_shared(instance);
        let effect = match &mut self.breaker {
            Some(breaker) if !is_models_own => breaker.failed(exit.kind, now),
            _ => Effect::None,
        };
        let wait = match self.breaker.as_ref().map(Breaker::state) {
            Some(BreakerState::Open { until }) => until.duration_since(now),
            _ => Duration::ZERO,
        };
        let again = format!("tried again in {:.0} s", wait.as_secs_f64());
        match effect {
            Effect::None => return effect,
            Effect::Opened => self.event_log.record(EventKind::Opened, model, reason, again),
            Effect::ProbeFailed => {
                self.event_log.record(EventKind::ProbeFailed, model, reason, again);
                self.event_log.probe_failures += 1;
            }
        }
        // The other workers' device contexts may be as broken as the failed one's.
        self.instances.iter_mut().for_each(|instance| instance.retire(true));
        effect
    }

    /// Records that an instance's worker is loaded and warmed up.
    pub(super) fn loaded(&mut self, instance: usize, report: LoadReport, now: Instant) {
        let stats = report.stats;
        let undisturbed = self.changes_at_start.get(instance) == Some(&self.changes);
        self.instances[instance].loaded(report, undisturbed, now);
        let started = self.instances[instance].started;
        if let Some(breaker) = &mut self.breaker {
            breaker.warmed_up(started);
            if !breaker.is_fresh(started) {
                self.instances[instance].retire(true);
            }
        }
        self.read(stats, now);
    }

    /// Records that the engine reported an error for a chunk; a sick device does so for every
    /// chunk. Returns the exit that the errors amount to, if there are too many.
    pub(super) fn record_error(&mut self, instance: usize, message: &str) -> Option<WorkerExit> {
        let is_tried = self.breaker.as_ref()?.state() == BreakerState::Trial;
        let errors = self.instances[instance].count_error();
        (is_tried || errors >= MOST_ERRORS)
            .then(|| WorkerExit::new(ExitKind::EngineErrors, message))
    }

    /// Records that a chunk succeeded on an instance. Returns whether this brought the device back.
    pub(super) fn succeeded(&mut self, instance: usize, now: Instant) -> bool {
        let started = self.instances[instance].started;
        let returned = self.breaker.as_mut().is_some_and(|b| b.succeeded(started, now));
        if returned {
            self.event_log.returns += 1;
            self.event_log.record(EventKind::Returned, None, EventReason::Recovered, "used again");
        }
        returned
    }

    /// Undoes a failure of the device that was a chunk's fault.
    pub(super) fn forgive(&mut self, now: Instant) {
        if self.breaker.as_mut().is_some_and(|breaker| breaker.forgive(now)) {
            let reason = EventReason::Forgiven;
            self.event_log.record(EventKind::Returned, None, reason, "a chunk was to blame");
        }
    }

    /// Unloads and replaces workers as needed, and advances the breaker. `is_wanted`: a chunk waits
    /// for the model.
    pub(super) fn maintain(
        &mut self,
        settings: &Settings,
        is_wanted: impl Fn(&str) -> bool,
        now: Instant,
    ) {
        if self.breaker.as_mut().is_some_and(|breaker| breaker.tick(now)) {
            tracing::info!(device.id = %self.info.id, "trying the device again");
        }
        let room = self.room(now);
        for instance in &mut self.instances {
            instance.kill_if_stalled(now);
            instance.stop_if_retired();
            let is_wanted = is_wanted(&instance.model.name);
            let restored = !is_wanted && instance.restore_size(room, now);
            let replacement_reason = instance.replacement_reason(settings.recycle_after, is_wanted);
            if let Some(reason) = replacement_reason.or(restored.then_some(EventReason::MemoryFree))
            {
                self.event_log.record(EventKind::Recycled, Some(&instance.model.name), reason, "");
                instance.retire(true);
            } else if let Some(limit) = instance.idle_limit(settings.unload_after)
                && !is_wanted
                && instance.is_idle_for(limit, now)
            {
                let reason =
                    if instance.superseded { EventReason::Replaced } else { EventReason::Idle };
                self.event_log.record(EventKind::Unloaded, Some(&instance.model.name), reason, "");
                instance.retire(false);
            } else if instance.superseded && !is_wanted {
                instance.cancel_wait();
            }
        }
    }

    /// Unloads the least recently used model, if a wanted one lacks room and unloading may help.
    pub(super) fn make_room(&mut self, is_wanted: impl Fn(&str) -> bool, now: Instant) {
        let is_coming = |instance: &ModelInstance| instance.has_process() && !instance.is_ready();
        let lacks_room = |(index, instance): (usize, &ModelInstance)| {
            self.could_fit(index, now) && is_wanted(&instance.model.name)
        };
        if self.instances.iter().any(is_coming)
            || !self.instances.iter().enumerate().any(lacks_room)
        {
            return;
        }
        let idle = self.instances.iter_mut().filter(|other| {
            other.is_idle_for(EVICTABLE_AFTER, now) && !is_wanted(&other.model.name)
        });
        if let Some(other) = idle.min_by_key(|instance| instance.last_used) {
            let (model, reason) = (Some(&*other.model.name), EventReason::Evicted);
            self.event_log.record(EventKind::Unloaded, model, reason, "");
            other.retire(false);
        }
    }

    /// Whether unloading idle models would make room for an instance that has none.
    fn could_fit(&self, instance: usize, now: Instant) -> bool {
        let idle = self.instances.iter().filter(|other| other.is_idle_for(Duration::ZERO, now));
        let idle = idle.map(ModelInstance::reserved_bytes).fold(0, u64::saturating_add);
        let instance = &self.instances[instance];
        instance.has_no_room() && instance.smallest_bytes() <= self.room(now).saturating_add(idle)
    }

    /// Why no chunk should wait for an instance; `None` if one may.
    pub(super) fn unrecoverable(&self, instance: usize, now: Instant) -> Option<String> {
        let could_fit = self.could_fit(instance, now);
        let instance = &self.instances[instance];
        let is_failing = |breaker: &Breaker| {
            breaker.strikes >= MAX_STRIKES && breaker.state() != BreakerState::Closed
        };
        if self.breaker.as_ref().is_some_and(is_failing) && !instance.is_ready() {
            return Some(format!("{} has failed repeatedly", self.info.id));
        }
        if instance.has_no_room() && !could_fit {
            return Some(format!("{} has not enough memory for it", self.info.id));
        }
        instance.unrecoverable(now).map(str::to_owned)
    }

    /// When the device next needs attention after `now`, even if no event arrives.
    pub(super) fn deadline(&self, settings: &Settings, now: Instant) -> Option<Instant> {
        let opens = match self.breaker.as_ref().map(Breaker::state) {
            Some(BreakerState::Open { until }) => Some(until),
            _ => None,
        };
        let instances =
            self.instances.iter().filter_map(|instance| instance.deadline(settings.unload_after));
        // A model that lacks room may get it once another has been idle long enough.
        let is_short = self.instances.iter().any(ModelInstance::has_no_room);
        let evictable = self.instances.iter().filter(|instance| is_short && instance.is_ready());
        let evictable = evictable.map(|instance| instance.last_used + EVICTABLE_AFTER);
        instances.chain(opens).chain(evictable).filter(|at| *at > now).min()
    }
}
