//! A device in use: its slots, its memory, whether it may be used, and a lane for each of its
//! models.

use std::time::{Duration, Instant};

use super::breaker::{self, Breaker, Effect};
use super::journal::{EventKind, Journal};
use super::lane::{Lane, WorkerId};
use super::memory::Ledger;
use super::plan::{DevicePlan, ModelPlan, Settings};
use crate::device::DeviceInfo;
use crate::ipc::{LoadReport, LoadSpec, Vitals};
use crate::supervisor::{EndKind, Ending, WorkerHandle, WorkerProgram};

/// Starts a worker.
pub(super) type Launch = Box<dyn FnMut(WorkerId, &WorkerProgram, LoadSpec) -> WorkerHandle + Send>;

/// Why a model is not on a device that has not enough memory for it, in a word.
pub(super) const NO_ROOM: &str = "no-room";

/// A device that failed so often in a row is not worth waiting for.
const HOPELESS_STRIKES: u32 = 3;

/// So many errors of the engine in a row are the device's fault.
const MOST_ERRORS: u32 = 3;

/// A model that was used within this time is not unloaded for the sake of another.
const EVICTABLE_AFTER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) info: DeviceInfo,
    pub(super) slots: usize,
    pub(super) lanes: Vec<Lane>,
    pub(super) journal: Journal,
    pub(super) utilisation: Option<u8>,
    program: WorkerProgram,
    threads: usize,
    /// Whether models are loaded before anybody asks for them.
    warm: bool,
    /// The processor has none: it is the last resort, and closing it off would help nobody.
    breaker: Option<Breaker>,
    /// The processor has none: its memory is not for us alone to give.
    ledger: Option<Ledger>,
    /// Workers started and ended; a load is undisturbed if there was no other meanwhile.
    changes: u64,
    /// What that was when each lane's worker was started.
    changes_at_start: Vec<u64>,
}

impl Device {
    /// Without models.
    pub(super) fn new(plan: DevicePlan, seed: u64, now: Instant) -> Self {
        let is_gpu = !plan.is_cpu();
        let DevicePlan { info, program, slots, threads, warm } = plan;
        let ledger = || Ledger::new(info.memory_total_bytes, info.memory_free_bytes, now);
        Self {
            lanes: Vec::new(),
            journal: Journal::default(),
            utilisation: None,
            changes: 0,
            changes_at_start: Vec::new(),
            breaker: is_gpu.then(|| Breaker::new(seed)),
            ledger: is_gpu.then(ledger),
            info,
            slots,
            program,
            threads,
            warm,
        }
    }

    /// Takes in a model that it is to run, unless it has it.
    pub(super) fn add_model(&mut self, model: ModelPlan, settings: &Settings, now: Instant) {
        if self.lane_of(&model.name).is_none() {
            let lane = Lane::new(model, self.slots, self.warm, !self.is_cpu(), settings, now);
            self.lanes.push(lane);
        }
    }

    /// Unloads a model as soon as nobody needs it.
    pub(super) fn stand_down(&mut self, model: &str) {
        if let Some(lane) = self.lane_of(model) {
            self.lanes[lane].stands_down = true;
        }
    }

    pub(super) fn is_cpu(&self) -> bool {
        self.breaker.is_none()
    }

    pub(super) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// How many chunks run here.
    pub(super) fn busy_slots(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running.len()).sum()
    }

    /// How many chunks may run here.
    pub(super) fn usable_slots(&self) -> usize {
        self.breaker.as_ref().map_or(self.slots, |breaker| breaker.usable_slots(self.slots))
    }

    /// Seconds until each usable slot is free.
    pub(super) fn slot_times(&self, now: Instant) -> Vec<f64> {
        let usable = self.usable_slots();
        let lanes = self.lanes.iter();
        let mut times: Vec<f64> = lanes.flat_map(|lane| lane.running.remaining(now)).collect();
        times.sort_by(f64::total_cmp);
        times.drain(..times.len().saturating_sub(usable));
        times.resize(usable, 0.0);
        times
    }

    /// The lane of a model.
    pub(super) fn lane_of(&self, model: &str) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.model.name == model)
    }

    fn reserved_bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::reserved_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that a further worker may take.
    pub(super) fn room(&self, now: Instant) -> u64 {
        let ledger = self.ledger.as_ref();
        ledger.map_or(u64::MAX, |ledger| ledger.room(self.reserved_bytes(), now))
    }

    /// Free bytes as far as known, and bytes promised to workers; `None` for the processor.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        self.ledger.as_ref().map(|ledger| (ledger.free(), self.reserved_bytes()))
    }

    /// Starts the workers whose time has come. `index` is this device's place in the plan.
    pub(super) fn start_workers(&mut self, index: usize, launch: &mut Launch, now: Instant) {
        let phase = self.breaker.as_ref().map(Breaker::phase);
        if self.breaker.as_ref().is_some_and(|breaker| !breaker.allows_start()) {
            return;
        }
        let room = self.room(now);
        for lane in self.lanes.iter_mut().filter(|lane| lane.has_no_room()) {
            lane.retry_room(room, now);
        }
        let is_probing = phase == Some(breaker::Phase::Probing);
        let may_probe = |lane: &Lane| is_probing && lane.is_off() && !lane.stands_down;
        let is_due = |lane: &Lane| lane.is_due(now) || may_probe(lane);
        let mut due: Vec<usize> =
            (0..self.lanes.len()).filter(|lane| is_due(&self.lanes[*lane])).collect();
        if is_probing {
            // One fresh worker shows whether the device works; not the model that keeps failing.
            due.sort_by_key(|lane| self.lanes[*lane].failed_starts());
        }
        for lane_index in due {
            if is_probing && self.lanes.iter().any(Lane::has_process) {
                return;
            }
            let room = self.room(now);
            let lane = &mut self.lanes[lane_index];
            let is_known = lane.has_no_room();
            let Some(shape) = lane.fit(room) else {
                if !is_known {
                    self.tell_no_room(lane_index, room);
                }
                continue;
            };
            if let Some(ledger) = &mut self.ledger {
                ledger.take(shape.bytes(&lane.model));
            }
            self.changes += 1;
            self.changes_at_start.resize(self.changes_at_start.len().max(lane_index + 1), 0);
            self.changes_at_start[lane_index] = self.changes;
            let program = &self.program;
            lane.start(shape, &self.info, self.threads, now, |worker, spec| {
                launch(WorkerId { device: index, lane: lane_index, worker }, program, spec)
            });
        }
    }

    fn tell_no_room(&self, lane: usize, room: u64) {
        let lane = &self.lanes[lane];
        tracing::warn!(
            device.id = %self.info.id,
            model = lane.model.name,
            needed_bytes = lane.shape().need(&lane.model).bytes(1),
            room_bytes = room,
            "not enough device memory for this model; it runs elsewhere"
        );
    }

    /// The driver's word on the device, as a worker passes it on.
    pub(super) fn read(&mut self, vitals: Vitals, now: Instant) {
        self.utilisation = vitals.utilisation_percent;
        let starting = self.lanes.iter().filter(|lane| lane.is_starting());
        let coming = starting.map(Lane::reserved_bytes).fold(0, u64::saturating_add);
        if let (Some(ledger), Some(free)) = (&mut self.ledger, vitals.device_free_bytes) {
            ledger.read(free, coming, now);
        }
    }

    /// A worker's process is gone: its memory is free again.
    pub(super) fn reclaim(&mut self, bytes: u64) {
        self.changes += 1;
        if let Some(ledger) = &mut self.ledger {
            ledger.give_back(bytes);
        }
    }

    /// Whether another model than that of `lane` is loaded.
    pub(super) fn is_shared(&self, lane: usize) -> bool {
        self.lanes.iter().enumerate().any(|(other, l)| other != lane && l.is_ready())
    }

    /// A worker of `lane` ended badly, `while_starting` or later.
    pub(super) fn failed(
        &mut self,
        lane: usize,
        ending: &Ending,
        while_starting: bool,
        now: Instant,
    ) -> Effect {
        let model = self.lanes[lane].model.name.clone();
        let note = (Some(model.as_str()), ending.kind.as_str());
        self.journal.note(EventKind::Failure, note.0, note.1, ending.detail.as_str());
        // Where another model is loaded, the device works, and a load that fails is the model's.
        let is_models_own = while_starting && self.is_shared(lane);
        let effect = match &mut self.breaker {
            Some(breaker) if !is_models_own => breaker.failed(ending.kind, now),
            _ => Effect::None,
        };
        let wait = match self.breaker.as_ref().map(Breaker::phase) {
            Some(breaker::Phase::Open { until }) => until.duration_since(now),
            _ => Duration::ZERO,
        };
        let again = format!("tried again in {:.0} s", wait.as_secs_f64());
        match effect {
            Effect::None => return effect,
            Effect::Opened => self.journal.note(EventKind::Opened, note.0, note.1, again),
            Effect::ProbeFailed => {
                self.journal.note(EventKind::ProbeFailed, note.0, note.1, again);
                self.journal.probe_failures += 1;
            }
        }
        // The others' hold on the device may be as broken as the one that failed.
        self.lanes.iter_mut().for_each(|lane| lane.retire(true));
        effect
    }

    /// A lane's worker is loaded and warmed up.
    pub(super) fn loaded(&mut self, lane: usize, report: LoadReport, now: Instant) {
        let vitals = report.vitals;
        let undisturbed = self.changes_at_start.get(lane) == Some(&self.changes);
        self.lanes[lane].loaded(report, undisturbed, now);
        let started = self.lanes[lane].started();
        if let Some(breaker) = &mut self.breaker {
            breaker.warmed_up(started);
            if !breaker.is_fresh(started) {
                self.lanes[lane].retire(true);
            }
        }
        self.read(vitals, now);
    }

    /// The engine reported an error for a chunk; a sick device does so for each. Returns the end
    /// that this amounts to, if it does.
    pub(super) fn errs(&mut self, lane: usize, message: &str) -> Option<Ending> {
        let is_tried = self.breaker.as_ref()?.phase() == breaker::Phase::Trial;
        let errors = self.lanes[lane].count_error();
        (is_tried || errors >= MOST_ERRORS)
            .then(|| Ending { kind: EndKind::EngineErrors, detail: message.to_owned() })
    }

    /// A chunk succeeded on a lane. Returns whether the device has returned by it.
    pub(super) fn succeeded(&mut self, lane: usize, now: Instant) -> bool {
        let started = self.lanes[lane].started();
        let returned = self.breaker.as_mut().is_some_and(|b| b.succeeded(started, now));
        if returned {
            self.journal.returns += 1;
            self.journal.note(EventKind::Returned, None, "recovered", "used again");
        }
        returned
    }

    /// What closed the device off was a chunk's fault.
    pub(super) fn forgive(&mut self, now: Instant) {
        if self.breaker.as_mut().is_some_and(|breaker| breaker.forgive(now)) {
            self.journal.note(EventKind::Returned, None, "forgiven", "a chunk was to blame");
        }
    }

    /// Unloads and replaces what should be, and lets the breaker's time pass. `wanted` tells
    /// whether a chunk of a model waits.
    pub(super) fn tend(
        &mut self,
        settings: &Settings,
        wanted: impl Fn(&str) -> bool,
        now: Instant,
    ) {
        if self.breaker.as_mut().is_some_and(|breaker| breaker.tick(now)) {
            tracing::info!(device.id = %self.info.id, "trying the device again");
        }
        let room = self.room(now);
        for lane in &mut self.lanes {
            lane.kill_if_stalled(now);
            lane.stop_if_retired();
            let is_wanted = wanted(&lane.model.name);
            let relaxed = !is_wanted && lane.relax(room, now);
            let worn_out = lane.worn_out(settings.recycle_after, is_wanted);
            if let Some(reason) = worn_out.or(relaxed.then_some("memory is free again")) {
                self.journal.note(EventKind::Recycled, Some(&lane.model.name), reason, "");
                lane.retire(true);
            } else if let Some(limit) = lane.idle_limit(settings.unload_after)
                && !is_wanted
                && lane.is_idle_for(limit, now)
            {
                let reason = if lane.stands_down { "replaced" } else { "idle" };
                self.journal.note(EventKind::Unloaded, Some(&lane.model.name), reason, "");
                lane.retire(false);
            } else if lane.stands_down && !is_wanted {
                lane.wait_no_more();
            }
        }
    }

    /// Unloads the model that was not used for longest, if `lane` lacks room and that may help.
    pub(super) fn make_room(&mut self, lane: usize, wanted: impl Fn(&str) -> bool, now: Instant) {
        let is_coming = |lane: &Lane| lane.has_process() && !lane.is_ready();
        if !self.could_fit(lane, now) || self.lanes.iter().any(is_coming) {
            return;
        }
        let idle = self
            .lanes
            .iter_mut()
            .filter(|other| other.is_idle_for(EVICTABLE_AFTER, now) && !wanted(&other.model.name));
        if let Some(other) = idle.min_by_key(|lane| lane.last_used()) {
            self.journal.note(EventKind::Unloaded, Some(&other.model.name), "evicted", "");
            other.retire(false);
        }
    }

    /// Whether a lane without room would have some if idle models were unloaded.
    fn could_fit(&self, lane: usize, now: Instant) -> bool {
        let idle = self.lanes.iter().filter(|other| other.is_idle_for(Duration::ZERO, now));
        let idle = idle.map(Lane::reserved_bytes).fold(0, u64::saturating_add);
        let lane = &self.lanes[lane];
        lane.has_no_room() && lane.smallest_bytes() <= self.room(now).saturating_add(idle)
    }

    /// Why no chunk should wait for a lane; `None` if there is hope.
    pub(super) fn hopeless(&self, lane: usize, now: Instant) -> Option<String> {
        let could_fit = self.could_fit(lane, now);
        let lane = &self.lanes[lane];
        let is_failing = |breaker: &Breaker| {
            breaker.strikes() >= HOPELESS_STRIKES && breaker.phase() != breaker::Phase::Closed
        };
        if self.breaker.as_ref().is_some_and(is_failing) && !lane.is_ready() {
            return Some(format!("{} has failed repeatedly", self.info.id));
        }
        if lane.has_no_room() && !could_fit {
            return Some(format!("{} has not enough memory for it", self.info.id));
        }
        lane.hopeless(now).map(str::to_owned)
    }

    /// Why a lane takes no chunk now, in a word; `None` if it does.
    pub(super) fn why_out(&self, lane: usize) -> Option<&'static str> {
        let lane = &self.lanes[lane];
        if let Some(cause) = self.breaker.as_ref().and_then(Breaker::cause) {
            return Some(cause.as_str());
        }
        match () {
            () if lane.is_ready() => None,
            () if lane.has_no_room() => Some(NO_ROOM),
            () if lane.is_off() => Some("unloaded"),
            () => Some(lane.last_end().map_or("starting", EndKind::as_str)),
        }
    }

    /// The times after `now` at which something must be done here even if nothing is heard.
    pub(super) fn deadline(&self, settings: &Settings, now: Instant) -> Option<Instant> {
        let opens = match self.breaker.as_ref().map(Breaker::phase) {
            Some(breaker::Phase::Open { until }) => Some(until),
            _ => None,
        };
        let lanes = self.lanes.iter().filter_map(|lane| lane.deadline(settings.unload_after));
        // A model that lacks room may have it once another has been idle for long enough.
        let is_short = self.lanes.iter().any(Lane::has_no_room);
        let evictable = self.lanes.iter().filter(|lane| is_short && lane.is_ready());
        let evictable = evictable.map(|lane| lane.last_used() + EVICTABLE_AFTER);
        lanes.chain(opens).chain(evictable).filter(|at| *at > now).min()
    }
}
