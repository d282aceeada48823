//! One model on one device: its worker's life from start to end.
//!
//! What runs on the worker is in `running`, how large it is made in `shape`.

use std::time::{Duration, Instant, SystemTime};

use super::pace::Pace;
use super::plan::{ModelPlan, Settings};
use super::running::{Running, RunningChunks};
use super::shape::{self, Shape};
use crate::device::DeviceInfo;
use crate::ipc::{ChunkId, LoadReport, LoadSpec, Vitals};
use crate::supervisor::{self, EndKind, Ending, WorkerHandle};

/// The longest wait after a kill from outside, which says nothing about the worker.
const KILLED_RESTART_DELAY: Duration = Duration::from_secs(1);

/// The wait of a model that fits in no shape beside the others of its device.
const CROWDED_DELAY: Duration = Duration::from_secs(60);

/// A chunk may be silent for at least as long as this many warm-ups. Between two signs of life
/// is at most one encoder pass, and the warm-up has one.
const STALL_PER_WARM_UP: u32 = 10;

/// No worker is believed to have warmed up for longer.
const LONGEST_WARM_UP_SECONDS: f64 = 3600.0;

/// Lacks of memory within this time are counted for advice.
pub(super) const ADVICE_TIME: Duration = Duration::from_secs(600);

mod outlook;
mod wear;
mod work;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No worker, and none is wanted.
    Off,
    /// No worker until then.
    Waiting { until: Instant },
    /// No worker, because the device has no memory for one.
    NoRoom,
    /// A worker loads the model.
    Starting { since: Instant },
    /// It takes chunks.
    Ready,
    /// It finishes its chunks, takes no more, and is then replaced or not.
    Retiring { replaced: bool },
    /// It was asked to end.
    Stopping { replaced: bool },
    /// It is being killed; nothing is sent to it any more.
    Killed,
}

/// Which worker an event is from: the place in the plan and the worker's number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerId {
    pub(super) device: usize,
    pub(super) lane: usize,
    pub(super) worker: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) model: ModelPlan,
    pub(super) running: RunningChunks,
    pub(super) pace: Pace,
    /// Other models have taken its place: it is unloaded as soon as nobody needs it.
    pub(super) stands_down: bool,
    phase: Phase,
    worker: Option<WorkerHandle>,
    next_chunk: ChunkId,
    /// From the largest shape to the smallest, and the first that is tried.
    steps: Vec<Shape>,
    step: usize,
    /// The largest number of slots, and whether a variant may stand in.
    slots: usize,
    swap_variants: bool,
    /// The present or last worker's.
    shape: Shape,
    stall: Duration,
    base_stall: Duration,
    report: Option<LoadReport>,
    /// What the last load took, warm-up included.
    load_seconds: Option<f64>,
    vitals: Vitals,
    /// The device memory that the worker took, if nothing else took or gave any meanwhile.
    measured_bytes: Option<u64>,
    workers_started: u64,
    /// When the present or last worker was started.
    started: Instant,
    worker_chunks: u64,
    last_used: Instant,
    /// Bad ends since the last finished chunk.
    failures: u32,
    /// Errors that the engine reported since the last finished chunk.
    errors: u32,
    /// Starts in a row that failed by themselves, and that were killed.
    failed_starts: u32,
    killed_starts: u32,
    /// When a worker was last ready, or the first one was to start.
    last_ready: Instant,
    bad_model: bool,
    last_failure: Option<(Ending, SystemTime)>,
    /// Its kind, until another worker is loaded.
    last_end: Option<EndKind>,
    ooms: Vec<Instant>,
}

impl Lane {
    /// `warm` has the model loaded before anybody asks for it.
    pub(super) fn new(
        model: ModelPlan,
        slots: usize,
        warm: bool,
        is_gpu: bool,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        // The processor's memory is the system's to give: no model is swapped for want of it there.
        let swap_variants = settings.swap_variants && is_gpu;
        let steps = shape::steps(&model, slots, swap_variants);
        Self {
            running: RunningChunks::default(),
            pace: Pace::new(is_gpu),
            stands_down: false,
            phase: if warm { Phase::Waiting { until: now } } else { Phase::Off },
            worker: None,
            next_chunk: 0,
            step: 0,
            shape: steps[0],
            steps,
            slots,
            swap_variants,
            stall: settings.stall,
            base_stall: settings.stall,
            report: None,
            load_seconds: None,
            vitals: Vitals::default(),
            measured_bytes: None,
            workers_started: 0,
            started: now,
            worker_chunks: 0,
            last_used: now,
            failures: 0,
            errors: 0,
            failed_starts: 0,
            killed_starts: 0,
            last_ready: now,
            bad_model: false,
            last_failure: None,
            last_end: None,
            ooms: Vec::new(),
            model,
        }
    }

    /// Whether a worker is to be started now, as far as the lane is concerned.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Waiting { until } if until <= now)
    }

    /// The largest worker that it would start in `room` bytes; without one it waits for room.
    pub(super) fn fit(&mut self, room: u64) -> Option<Shape> {
        let shape = shape::fit(&self.model, &self.steps[self.step..], room);
        if shape.is_none() {
            self.phase = Phase::NoRoom;
        }
        shape
    }

    /// Has a worker of that shape started. `launch` is given its number and what it is to load.
    pub(super) fn start(
        &mut self,
        shape: Shape,
        info: &DeviceInfo,
        threads: usize,
        now: Instant,
        launch: impl FnOnce(u64, LoadSpec) -> WorkerHandle,
    ) {
        self.workers_started += 1;
        self.worker_chunks = 0;
        self.shape = shape;
        let model = shape.file(&self.model).to_owned();
        let spec = LoadSpec {
            model,
            gpu_index: info.index,
            gpu_uuid: info.uuid.clone(),
            slots: shape.slots,
            threads,
            whole_windows: self.model.whole_windows,
        };
        self.worker = Some(launch(self.workers_started, spec));
        self.report = None;
        self.measured_bytes = None;
        self.started = now;
        self.errors = 0;
        self.phase = Phase::Starting { since: now };
    }

    /// Wants the model loaded, now that somebody needs it.
    pub(super) fn wake(&mut self, now: Instant) {
        if self.phase == Phase::Off {
            self.last_used = now;
            self.phase = Phase::Waiting { until: now };
        }
    }

    /// Starts no worker before somebody needs the model.
    pub(super) fn wait_no_more(&mut self) {
        if matches!(self.phase, Phase::Waiting { .. } | Phase::NoRoom) {
            self.phase = Phase::Off;
        }
    }

    /// Whether `worker` is the present one; events of earlier ones are void.
    pub(super) fn is_current(&self, worker: u64) -> bool {
        self.has_process() && self.workers_started == worker
    }

    /// The model is loaded. `undisturbed` is whether nothing else on the device took or gave back
    /// memory meanwhile.
    pub(super) fn loaded(&mut self, report: LoadReport, undisturbed: bool, now: Instant) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return; // it is being ended
        }
        self.phase = Phase::Ready;
        self.failed_starts = 0;
        self.killed_starts = 0;
        self.bad_model = false;
        self.last_end = None;
        self.last_used = now;
        self.measured_bytes = report.device_bytes.filter(|_| undisturbed);
        // Whatever a worker claims.
        let warm_up = report.warm_up_seconds.clamp(0.0, LONGEST_WARM_UP_SECONDS);
        let warm_up = Duration::try_from_secs_f64(warm_up).unwrap_or_default();
        self.stall = self.base_stall.max(warm_up * STALL_PER_WARM_UP);
        self.pace.learn_warm_up(warm_up.as_secs_f64(), now);
        self.vitals = report.vitals;
        self.load_seconds = Some((report.load_seconds + report.warm_up_seconds).max(0.0));
        self.report = Some(report);
    }

    /// The worker is gone, badly. Returns what it was running, the last chunk first. `None` if it
    /// was asked to end. `shared` is whether another model is loaded on the device.
    pub(super) fn ended(
        &mut self,
        ending: &Ending,
        shared: bool,
        now: Instant,
    ) -> Option<Vec<Running>> {
        self.worker = None;
        let was_starting = matches!(self.phase, Phase::Starting { .. });
        if let Phase::Stopping { replaced } = self.phase {
            self.phase = if replaced { Phase::Waiting { until: now } } else { Phase::Off };
            return None;
        }
        match ending.kind {
            _ if !was_starting => self.last_ready = now,
            EndKind::Killed => self.killed_starts += 1,
            // Its limit is long; nobody is kept waiting for it three times.
            EndKind::StartTimeout => self.failed_starts = outlook::HOPELESS_STARTS,
            _ => self.failed_starts += 1,
        }
        self.bad_model = ending.kind == EndKind::BadModel;
        self.failures += 1;
        if ending.kind == EndKind::OutOfMemory {
            self.ooms.retain(|at| now.duration_since(*at) < ADVICE_TIME);
            self.ooms.push(now);
        }
        let squeezed = ending.kind == EndKind::OutOfMemory && self.squeeze();
        // Only a new file can mend a bad one.
        let failures = if self.bad_model { u32::MAX } else { self.failures };
        let delay = match ending.kind {
            EndKind::Killed => supervisor::restart_delay(failures).min(KILLED_RESTART_DELAY),
            // Each attempt takes memory that the others may need.
            EndKind::OutOfMemory if shared && !squeezed => CROWDED_DELAY,
            _ => supervisor::restart_delay(failures),
        };
        self.phase = Phase::Waiting { until: now + delay };
        self.last_failure = Some((ending.clone(), SystemTime::now()));
        self.last_end = Some(ending.kind);
        Some(self.running.take_all())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether a process may hold memory for it.
    pub(super) fn has_process(&self) -> bool {
        !matches!(self.phase, Phase::Off | Phase::Waiting { .. } | Phase::NoRoom)
    }

    /// Whether nothing runs or is loaded, though it could be.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.phase, Phase::Off | Phase::NoRoom)
    }

    pub(super) fn has_no_room(&self) -> bool {
        self.phase == Phase::NoRoom
    }

    pub(super) fn failed_starts(&self) -> u32 {
        self.failed_starts
    }

    /// How its last worker ended badly, if none is loaded since.
    pub(super) fn last_end(&self) -> Option<EndKind> {
        self.last_end
    }

    /// Bytes of device memory that are promised to its process.
    pub(super) fn reserved_bytes(&self) -> u64 {
        if !self.has_process() {
            return 0;
        }
        self.measured_bytes.unwrap_or(0).max(self.shape.bytes(&self.model))
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Its size when memory is plenty.
    pub(super) fn largest_shape(&self) -> Shape {
        self.steps[0]
    }

    /// The largest shape that its next worker may have.
    pub(super) fn next_shape(&self) -> Option<Shape> {
        self.steps.get(self.step).copied()
    }

    /// What its smallest worker would take, in bytes.
    pub(super) fn smallest_bytes(&self) -> u64 {
        let one = |step: &Shape| Shape { slots: 1, ..*step }.bytes(&self.model);
        self.steps[self.step..].iter().map(one).min().unwrap_or(u64::MAX)
    }

    /// How many smaller variants it may still turn to.
    pub(super) fn variants(&self) -> usize {
        self.steps.iter().filter(|step| step.variant.is_some()).count()
    }

    /// Lacks of memory in the last [`ADVICE_TIME`].
    pub(super) fn recent_ooms(&self, now: Instant) -> usize {
        self.ooms.iter().filter(|at| now.duration_since(**at) < ADVICE_TIME).count()
    }

    /// When its present or last worker was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Has the worker finish its chunks and end.
    pub(super) fn retire(&mut self, replaced: bool) {
        if self.phase == Phase::Ready {
            self.phase = Phase::Retiring { replaced };
            self.stop_if_retired();
        }
    }

    /// Ends a retired worker once its last chunk is finished.
    pub(super) fn stop_if_retired(&mut self) {
        if let Phase::Retiring { replaced } = self.phase
            && self.running.is_empty()
        {
            self.worker = None; // the end of its input ends it
            self.phase = Phase::Stopping { replaced };
        }
    }
}
