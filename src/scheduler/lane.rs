//! One model on one device: its worker and the chunks that run there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::queue::JobId;
use super::retry::History;
use super::snapshot::{ModelState, ModelStatus};
use super::{ChunkDone, ChunkError, ChunkRequest};
use crate::ipc::{ChunkId, LoadReport, LoadSpec, Work};
use crate::language::Language;
use crate::supervisor::{self, EndKind, Ending, StartLimits};
use crate::supervisor::{WorkerEvent, WorkerHandle, WorkerProgram};
use crate::transcript::Segment;

/// Failed starts in a row after which waiting chunks are told rather than kept waiting.
const HOPELESS_STARTS: u32 = 3;

/// The same for starts that were killed from outside, if no worker was ready for so long either.
/// A few kills may be an operator's; the kernel kills every start for lack of memory.
const HOPELESS_KILLS: u32 = 8;
const HOPELESS_KILLS_TIME: Duration = Duration::from_secs(60);

/// The longest wait after a kill from outside, which says nothing about the worker.
const KILLED_RESTART_DELAY: Duration = Duration::from_secs(1);

/// A chunk may be silent for at least as long as this many warm-ups. Between two signs of life
/// is at most one encoder pass, and the warm-up has one.
const STALL_PER_WARM_UP: u32 = 10;

/// What is assumed of a slot until it has been measured, in seconds of audio a second.
const ASSUMED_SPEED: f64 = 2.0;

/// The weight of the newest measurement in the running mean of the speed.
const SPEED_WEIGHT: f64 = 0.2;

/// A chunk from its arrival to its result.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) job: JobId,
    pub(super) request: ChunkRequest,
    pub(super) reply: oneshot::Sender<Result<ChunkDone, ChunkError>>,
    pub(super) arrived: Instant,
    pub(super) history: History,
}

impl Chunk {
    /// Its length in seconds of audio.
    pub(super) fn seconds(&self) -> f64 {
        self.request.samples.len() as f64 / 16_000.0
    }
}

/// A chunk on a worker.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) chunk: Chunk,
    pub(super) started: Instant,
    pub(super) last_progress: Instant,
    pub(super) segments: Vec<Segment>,
    pub(super) languages: Vec<(Language, f32)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No worker until then.
    Waiting {
        until: Instant,
    },
    Starting,
    Ready,
    /// It is being killed; nothing is sent to it any more.
    Ending,
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
    pub(super) model: String,
    spec: LoadSpec,
    phase: Phase,
    worker: Option<WorkerHandle>,
    pub(super) running: BTreeMap<ChunkId, Running>,
    next_chunk: ChunkId,
    stall: Duration,
    base_stall: Duration,
    report: Option<LoadReport>,
    speed: Option<f64>,
    workers_started: u64,
    /// Bad ends since the last finished chunk.
    failures: u32,
    /// Starts in a row that failed by themselves, and that were killed.
    failed_starts: u32,
    killed_starts: u32,
    /// When a worker was last ready, or the first one was to start.
    last_ready: Instant,
    bad_model: bool,
    last_failure: Option<(Ending, SystemTime)>,
    chunks: u64,
    audio_seconds: f64,
}

impl Lane {
    pub(super) fn new(model: String, spec: LoadSpec, stall: Duration, now: Instant) -> Self {
        Self {
            model,
            spec,
            phase: Phase::Waiting { until: now },
            worker: None,
            running: BTreeMap::new(),
            next_chunk: 0,
            stall,
            base_stall: stall,
            report: None,
            speed: None,
            workers_started: 0,
            failures: 0,
            failed_starts: 0,
            killed_starts: 0,
            last_ready: now,
            bad_model: false,
            last_failure: None,
            chunks: 0,
            audio_seconds: 0.0,
        }
    }

    /// Starts a worker if it is time to. Its events are marked with `id` and the worker's number.
    pub(super) fn start_if_due(
        &mut self,
        (device, lane): (usize, usize),
        program: &WorkerProgram,
        limits: StartLimits,
        events: &mpsc::UnboundedSender<(WorkerId, WorkerEvent)>,
    ) {
        let Phase::Waiting { until } = self.phase else { return };
        if until > Instant::now() {
            return;
        }
        self.workers_started += 1;
        let id = WorkerId { device, lane, worker: self.workers_started };
        let wrap = move |event| (id, event);
        self.worker =
            Some(supervisor::start(program, self.spec.clone(), limits, events.clone(), wrap));
        self.phase = Phase::Starting;
    }

    /// Whether `worker` is the present one; events of earlier ones are void.
    pub(super) fn is_current(&self, worker: u64) -> bool {
        self.worker.is_some() && self.workers_started == worker
    }

    pub(super) fn loaded(&mut self, report: LoadReport) {
        self.phase = Phase::Ready;
        self.failed_starts = 0;
        self.killed_starts = 0;
        self.bad_model = false;
        let warm_up = Duration::try_from_secs_f64(report.warm_up_seconds).unwrap_or_default();
        self.stall = self.base_stall.max(warm_up * STALL_PER_WARM_UP);
        self.report = Some(report);
    }

    /// The worker is gone. Returns what it was running, the last chunk first.
    pub(super) fn ended(&mut self, ending: Ending) -> Vec<Running> {
        self.worker = None;
        match ending.kind {
            _ if self.phase != Phase::Starting => {}
            EndKind::Killed => self.killed_starts += 1,
            // Its limit is long; nobody is kept waiting for it three times.
            EndKind::StartTimeout => self.failed_starts = HOPELESS_STARTS,
            _ => self.failed_starts += 1,
        }
        self.bad_model = ending.kind == EndKind::BadModel;
        self.failures += 1;
        // Only a new file can mend a bad one.
        let failures = if self.bad_model { u32::MAX } else { self.failures };
        let delay = match ending.kind {
            EndKind::Killed => supervisor::restart_delay(failures).min(KILLED_RESTART_DELAY),
            _ => supervisor::restart_delay(failures),
        };
        if self.phase != Phase::Starting {
            self.last_ready = Instant::now();
        }
        self.phase = Phase::Waiting { until: Instant::now() + delay };
        self.last_failure = Some((ending, SystemTime::now()));
        std::mem::take(&mut self.running).into_values().rev().collect()
    }

    /// Why no chunk should wait for this model here; `None` if there is hope.
    pub(super) fn hopeless(&self) -> Option<&str> {
        let hopeless = self.bad_model
            || self.failed_starts >= HOPELESS_STARTS
            || self.killed_starts >= HOPELESS_KILLS
                && self.last_ready.elapsed() >= HOPELESS_KILLS_TIME;
        let (ending, _) = self.last_failure.as_ref().filter(|_| hopeless)?;
        Some(&ending.detail)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether `chunk` may join what is running here.
    pub(super) fn may_join(&self, chunk: &Chunk) -> bool {
        let lonely = |running: &Running| running.chunk.history.must_run_alone();
        self.running.is_empty()
            || !(chunk.history.must_run_alone() || self.running.values().any(lonely))
    }

    /// Sends a chunk to the worker.
    pub(super) fn run(&mut self, chunk: Chunk) {
        let id = self.next_chunk;
        self.next_chunk += 1;
        if let Some(worker) = &self.worker {
            worker.run(id, chunk.request.work.clone(), Arc::clone(&chunk.request.samples));
        }
        let now = Instant::now();
        self.running.insert(
            id,
            Running {
                chunk,
                started: now,
                last_progress: now,
                segments: Vec::new(),
                languages: Vec::new(),
            },
        );
    }

    /// Tells the worker to stop what it does for `job`.
    pub(super) fn cancel(&self, job: JobId) {
        for (id, running) in &self.running {
            if let Some(worker) = self.worker.as_ref().filter(|_| running.chunk.job == job) {
                worker.cancel(*id);
            }
        }
    }

    /// A running chunk is alive. `None` if it is not running here.
    pub(super) fn progress(&mut self, id: ChunkId) -> Option<&mut Running> {
        let running = self.running.get_mut(&id)?;
        running.last_progress = Instant::now();
        Some(running)
    }

    /// A chunk is finished: takes it out and learns the speed.
    pub(super) fn done(&mut self, id: ChunkId, inference_seconds: f64) -> Option<Running> {
        let running = self.running.remove(&id)?;
        self.failures = 0;
        if running.chunk.request.work == Work::Detect {
            return Some(running); // says nothing about the speed of transcription
        }
        self.chunks += 1;
        let seconds = running.chunk.seconds();
        self.audio_seconds += seconds;
        let measured = seconds / inference_seconds.max(1e-6);
        self.speed = Some(match self.speed {
            Some(speed) => speed + SPEED_WEIGHT * (measured - speed),
            None => measured,
        });
        Some(running)
    }

    /// Seconds of audio that a slot does in a second.
    pub(super) fn speed(&self) -> f64 {
        self.speed.unwrap_or(ASSUMED_SPEED)
    }

    /// When the first running chunk is likely to be finished, in seconds from now.
    pub(super) fn first_free_seconds(&self) -> Option<f64> {
        self.running
            .values()
            .map(|running| {
                let expected = running.chunk.seconds() / self.speed();
                (expected - running.started.elapsed().as_secs_f64()).max(0.0)
            })
            .reduce(f64::min)
    }

    /// When something must be done here even if nothing is heard.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Starting | Phase::Ending => None,
            Phase::Ready => self.running.values().map(|r| r.last_progress + self.stall).min(),
        }
    }

    /// Ends the worker if a chunk has made no progress for too long.
    pub(super) fn kill_if_stalled(&mut self) {
        let stalled = |running: &Running| running.last_progress.elapsed() >= self.stall;
        if self.phase == Phase::Ready
            && self.running.values().any(stalled)
            && let Some(worker) = &self.worker
        {
            worker.kill(format!("the worker made no progress for {:?}", self.stall));
            self.phase = Phase::Ending;
        }
    }

    pub(super) fn status(&self) -> ModelStatus {
        let state = match self.phase {
            _ if self.hopeless().is_some() => ModelState::Unavailable,
            Phase::Ready => ModelState::Ready,
            _ if self.last_failure.is_some() => ModelState::Restarting,
            _ => ModelState::Starting,
        };
        let failure = |(ending, at): &(Ending, SystemTime)| {
            (ending.kind.to_string(), ending.detail.clone(), *at)
        };
        ModelStatus {
            name: self.model.clone(),
            state,
            multilingual: self.report.as_ref().map(|report| report.multilingual),
            resident_bytes: self.report.as_ref().map(|report| report.vitals.resident_bytes),
            load_seconds: self.report.as_ref().map(|report| report.load_seconds),
            speed: self.speed,
            workers_started: self.workers_started,
            chunks: self.chunks,
            audio_seconds: self.audio_seconds,
            last_failure: self.last_failure.as_ref().map(failure),
        }
    }
}
