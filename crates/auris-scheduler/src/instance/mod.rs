//! An instance: one model on one device, with the life cycle of its worker process.
//!
//! `running` holds the chunks that run on the worker, `worker_size` decides how large it is.

use std::time::{Duration, Instant, SystemTime};

use super::plan::{ModelPlan, Settings};
use super::running::{RunningChunk, RunningChunks};
use super::speed::SpeedEstimate;
use super::worker_size::{self, WorkerSize};
use crate::supervisor::{ExitKind, WorkerExit, WorkerHandle};
use auris_core::device::DeviceInfo;
use auris_core::ipc::{ChunkId, LoadReport, LoadSpec, WorkerStats};

/// The longest wait after a kill from outside, which says nothing about the worker.
const KILLED_RESTART_DELAY: Duration = Duration::from_secs(1);

/// The wait of a model that fits at no size beside the other models of its device.
const CROWDED_DELAY: Duration = Duration::from_secs(60);

/// The stall limit of a chunk is at least this many warm-ups. Between two progress events is at
/// most one encoder pass, and a warm-up includes one.
const STALL_PER_WARM_UP: u32 = 10;

/// Longer warm-up times are not believed.
const LONGEST_WARM_UP_SECONDS: f64 = 3600.0;

/// Out-of-memory failures within this time count for advice.
pub(super) const ADVICE_TIME: Duration = Duration::from_secs(600);

mod outlook;
mod wear;
mod work;

#[derive(Debug, Clone, Copy, PartialEq)]
enum InstancePhase {
    /// No worker, and none is needed.
    Off,
    /// No worker until `until`.
    Waiting { until: Instant },
    /// No worker, because the device lacks the memory.
    NoRoom,
    /// The worker is loading the model.
    Starting { since: Instant },
    /// The worker takes chunks.
    Ready,
    /// The worker finishes its chunks and takes no more; it is replaced afterwards if `replaced`.
    Retiring { replaced: bool },
    /// The input of the worker is closed.
    Stopping { replaced: bool },
    /// The worker is being killed; nothing is sent to it any more.
    Killed,
}

/// Which worker an event comes from: device and instance in the plan, and the worker's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkerId {
    pub(super) device: usize,
    pub(super) instance: usize,
    pub(super) worker: u64,
}

#[derive(Debug)]
pub(super) struct ModelInstance {
    pub(super) model: ModelPlan,
    pub(super) running: RunningChunks,
    pub(super) speed: SpeedEstimate,
    /// Other models have replaced it: it is unloaded as soon as it is no longer needed.
    pub(super) superseded: bool,
    phase: InstancePhase,
    worker: Option<WorkerHandle>,
    next_chunk: ChunkId,
    /// The worker sizes from largest to smallest, and the first one to try.
    steps: Vec<WorkerSize>,
    step: usize,
    /// The largest number of slots, and whether a variant may replace the model.
    slots: usize,
    swap_variants: bool,
    pub(super) worker_size: WorkerSize,
    stall: Duration,
    base_stall: Duration,
    report: Option<LoadReport>,
    /// Seconds of the last load, including the warm-up.
    load_seconds: Option<f64>,
    stats: WorkerStats,
    /// The device memory that the worker took, if nothing else took or freed any meanwhile.
    measured_bytes: Option<u64>,
    workers_started: u64,
    /// When the current or last worker was started.
    pub(super) started: Instant,
    worker_chunks: u64,
    pub(super) last_used: Instant,
    /// Failures since the last finished chunk.
    failures: u32,
    /// Engine errors since the last finished chunk.
    errors: u32,
    /// Consecutive starts that failed on their own, and that were killed.
    pub(super) failed_starts: u32,
    killed_starts: u32,
    /// When a worker was last ready, or when the first one was due.
    last_ready: Instant,
    bad_model: bool,
    last_failure: Option<(WorkerExit, SystemTime)>,
    /// The kind of the last failure, until another worker is loaded.
    pub(super) last_end: Option<ExitKind>,
    ooms: Vec<Instant>,
}

impl ModelInstance {
    /// `warm` loads the model before the first request for it.
    pub(super) fn new(
        model: ModelPlan,
        slots: usize,
        warm: bool,
        is_gpu: bool,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        // Other programs use the CPU's memory, too: no model is swapped there for lack of it.
        let swap_variants = settings.swap_variants && is_gpu;
        let steps = worker_size::steps(&model, slots, swap_variants);
        Self {
            running: RunningChunks::default(),
            speed: SpeedEstimate::new(is_gpu),
            superseded: false,
            phase: if warm { InstancePhase::Waiting { until: now } } else { InstancePhase::Off },
            worker: None,
            next_chunk: 0,
            step: 0,
            worker_size: steps[0],
            steps,
            slots,
            swap_variants,
            stall: settings.stall,
            base_stall: settings.stall,
            report: None,
            load_seconds: None,
            stats: WorkerStats::default(),
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

    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.phase, InstancePhase::Waiting { until } if until <= now)
    }

    /// The largest worker size that fits into `room` bytes. If none fits, the instance waits for
    /// room.
    pub(super) fn fit(&mut self, room: u64) -> Option<WorkerSize> {
        let worker_size = worker_size::fit(&self.model, &self.steps[self.step..], room);
        if worker_size.is_none() {
            self.phase = InstancePhase::NoRoom;
        }
        worker_size
    }

    /// Starts a worker of that size. `launch` receives its number and load spec.
    pub(super) fn start(
        &mut self,
        worker_size: WorkerSize,
        info: &DeviceInfo,
        threads: usize,
        now: Instant,
        launch: impl FnOnce(u64, LoadSpec) -> WorkerHandle,
    ) {
        self.workers_started += 1;
        self.worker_chunks = 0;
        self.worker_size = worker_size;
        let model = worker_size.file(&self.model).to_owned();
        let spec = LoadSpec {
            model,
            gpu_index: info.index,
            gpu_uuid: info.uuid.clone(),
            slots: worker_size.slots,
            threads,
            whole_windows: self.model.whole_windows,
        };
        self.worker = Some(launch(self.workers_started, spec));
        self.report = None;
        self.measured_bytes = None;
        self.started = now;
        self.errors = 0;
        self.phase = InstancePhase::Starting { since: now };
    }

    /// Requests that the model be loaded, because a chunk needs it.
    pub(super) fn wake(&mut self, now: Instant) {
        if self.phase == InstancePhase::Off {
            self.last_used = now;
            self.phase = InstancePhase::Waiting { until: now };
        }
    }

    /// Postpones the next start until a chunk needs the model.
    pub(super) fn cancel_wait(&mut self) {
        if matches!(self.phase, InstancePhase::Waiting { .. } | InstancePhase::NoRoom) {
            self.phase = InstancePhase::Off;
        }
    }

    /// Whether `worker` is the current one; events of earlier workers are ignored.
    pub(super) fn is_current(&self, worker: u64) -> bool {
        self.has_process() && self.workers_started == worker
    }

    /// Records that the model is loaded. `undisturbed`: nothing else on the device took or freed
    /// memory meanwhile.
    pub(super) fn loaded(&mut self, report: LoadReport, undisturbed: bool, now: Instant) {
        if !matches!(self.phase, InstancePhase::Starting { .. }) {
            return; // it is being stopped
        }
        self.phase = InstancePhase::Ready;
        self.failed_starts = 0;
        self.killed_starts = 0;
        self.bad_model = false;
        self.last_end = None;
        self.last_used = now;
        self.measured_bytes = report.device_bytes.filter(|_| undisturbed);
        // Do not trust the worker's figure.
        let warm_up = report.warm_up_seconds.clamp(0.0, LONGEST_WARM_UP_SECONDS);
        let warm_up = Duration::try_from_secs_f64(warm_up).unwrap_or_default();
        self.stall = self.base_stall.max(warm_up * STALL_PER_WARM_UP);
        self.speed.learn_warm_up(warm_up.as_secs_f64(), now);
        self.stats = report.stats;
        self.load_seconds = Some((report.load_seconds + report.warm_up_seconds).max(0.0));
        self.report = Some(report);
    }

    /// Records that the worker failed. Returns the chunks it was running, last one first, or `None`
    /// if it was stopped. `shared`: another model is loaded on the device.
    pub(super) fn ended(
        &mut self,
        exit: &WorkerExit,
        shared: bool,
        now: Instant,
    ) -> Option<Vec<RunningChunk>> {
        self.worker = None;
        let was_starting = matches!(self.phase, InstancePhase::Starting { .. });
        if let InstancePhase::Stopping { replaced } = self.phase {
            self.phase =
                if replaced { InstancePhase::Waiting { until: now } } else { InstancePhase::Off };
            return None;
        }
        match exit.kind {
            _ if !was_starting => self.last_ready = now,
            ExitKind::Killed => self.killed_starts += 1,
            // This limit is long; do not make chunks wait for it three times.
            ExitKind::StartTimeout => self.failed_starts = outlook::MAX_FAILED_STARTS,
            _ => self.failed_starts += 1,
        }
        self.bad_model = exit.kind == ExitKind::BadModel;
        self.failures += 1;
        if exit.kind == ExitKind::OutOfMemory {
            self.ooms.retain(|at| now.duration_since(*at) < ADVICE_TIME);
            self.ooms.push(now);
        }
        let shrunk = exit.kind == ExitKind::OutOfMemory && self.shrink();
        // Only a new file can fix a bad one.
        let failures = if self.bad_model { u32::MAX } else { self.failures };
        let delay = match exit.kind {
            ExitKind::Killed => wear::restart_delay(failures).min(KILLED_RESTART_DELAY),
            // Each attempt takes memory that the other models may need.
            ExitKind::OutOfMemory if shared && !shrunk => CROWDED_DELAY,
            _ => wear::restart_delay(failures),
        };
        self.phase = InstancePhase::Waiting { until: now + delay };
        self.last_failure = Some((exit.clone(), SystemTime::now()));
        self.last_end = Some(exit.kind);
        Some(self.running.take_all())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == InstancePhase::Ready
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, InstancePhase::Starting { .. })
    }

    /// Whether a process may hold memory for it.
    pub(super) fn has_process(&self) -> bool {
        !matches!(
            self.phase,
            InstancePhase::Off | InstancePhase::Waiting { .. } | InstancePhase::NoRoom
        )
    }

    /// Whether the instance is idle without a worker, though it could have one.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.phase, InstancePhase::Off | InstancePhase::NoRoom)
    }

    pub(super) fn has_no_room(&self) -> bool {
        self.phase == InstancePhase::NoRoom
    }

    /// Bytes of device memory reserved for its process.
    pub(super) fn reserved_bytes(&self) -> u64 {
        if !self.has_process() {
            return 0;
        }
        self.measured_bytes.unwrap_or(0).max(self.worker_size.bytes(&self.model))
    }

    pub(super) fn largest_worker_size(&self) -> WorkerSize {
        self.steps[0]
    }

    /// The largest size that its next worker may have.
    pub(super) fn next_worker_size(&self) -> Option<WorkerSize> {
        self.steps.get(self.step).copied()
    }

    /// Bytes that its smallest worker would take.
    pub(super) fn smallest_bytes(&self) -> u64 {
        let one = |step: &WorkerSize| WorkerSize { slots: 1, ..*step }.bytes(&self.model);
        self.steps[self.step..].iter().map(one).min().unwrap_or(u64::MAX)
    }

    /// The number of smaller variants that it may still fall back to.
    pub(super) fn variants(&self) -> usize {
        self.steps.iter().filter(|step| step.variant.is_some()).count()
    }

    /// Out-of-memory failures within the last [`ADVICE_TIME`].
    pub(super) fn recent_ooms(&self, now: Instant) -> usize {
        self.ooms.iter().filter(|at| now.duration_since(**at) < ADVICE_TIME).count()
    }

    /// Lets the worker finish its chunks, then stops it.
    pub(super) fn retire(&mut self, replaced: bool) {
        if self.phase == InstancePhase::Ready {
            self.phase = InstancePhase::Retiring { replaced };
            self.stop_if_retired();
        }
    }

    /// Stops a retired worker once its last chunk is finished.
    pub(super) fn stop_if_retired(&mut self) {
        if let InstancePhase::Retiring { replaced } = self.phase
            && self.running.is_empty()
        {
            self.worker = None; // closing its input ends it
            self.phase = InstancePhase::Stopping { replaced };
        }
    }
}
