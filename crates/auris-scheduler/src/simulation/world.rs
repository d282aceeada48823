//! Simulated devices and workers, with random faults and a clock that jumps from event to event.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::instance::WorkerId;
use crate::memory::CONTEXT_BYTES;
use crate::supervisor::{ExitKind, ToWorker, WorkerEvent, WorkerExit, WorkerHandle};
use auris_core::ipc::{ChunkId, Event, Failure, FailureKind, LoadReport, LoadSpec, WorkerStats};
use auris_core::transcript::Segment;

/// A small generator of pseudo-random numbers (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to less than 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[derive(Debug, Clone)]
pub(super) struct SimulatedDevice {
    pub(super) is_cpu: bool,
    pub(super) memory_bytes: u64,
    /// Seconds of audio that one slot transcribes per second.
    pub(super) speed: f64,
    /// The probability that an attempt fails while faults happen.
    pub(super) faults: f64,
}

/// The simulated models: file name, bytes of the weights, bytes of each state.
pub(super) const MODELS: [(&str, u64, u64); 4] = [
    ("small", 100 << 20, 100 << 20),
    ("large", 1500 << 20, 300 << 20),
    // the variant of the large model
    ("large-q", 500 << 20, 300 << 20),
    // the replacement for both
    ("bundled", 80 << 20, 150 << 20),
];

pub(super) const LOAD_LIMIT: f64 = 600.0;

/// While faults happen, one in this many chunks crashes every worker that runs it.
pub(super) const POISON_EVERY: u64 = 61;

pub(super) fn model_bytes(file: &str, slots: usize) -> u64 {
    let (_, weights, state) = MODELS.iter().find(|(name, ..)| *name == file).unwrap();
    CONTEXT_BYTES + weights + slots as u64 * state
}

struct Worker {
    commands: UnboundedReceiver<ToWorker>,
    spec: LoadSpec,
    running: BTreeMap<ChunkId, u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Happening {
    Loaded,
    Progress(ChunkId),
    Done(ChunkId, f64),
    Failed(ChunkId, FailureKind),
    Ended(ExitKind),
    /// A chunk crashes its worker, if it still runs.
    Crash(ChunkId, ExitKind),
}

type Launched = Arc<Mutex<Vec<(WorkerId, LoadSpec, UnboundedReceiver<ToWorker>)>>>;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) devices: Vec<SimulatedDevice>,
    /// The number of attempts that were made to fail on the CPU, by chunk.
    pub(super) cpu_failures: HashMap<u64, u32>,
    /// Faults happen before this time, in seconds.
    pub(super) faults_until: f64,
    pub(super) launched: Launched,
    start: Instant,
    seconds: f64,
    workers: BTreeMap<WorkerId, Worker>,
    /// What will happen, by microseconds and in the order in which it was planned.
    agenda: BTreeMap<(u64, u64), (WorkerId, Happening)>,
    planned: u64,
}

impl World {
    pub(super) fn new(seed: u64, devices: Vec<SimulatedDevice>, faults_until: f64) -> Self {
        Self {
            random: Random(seed),
            devices,
            cpu_failures: HashMap::new(),
            faults_until,
            launched: Launched::default(),
            start: Instant::now(),
            seconds: 0.0,
            workers: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
        }
    }

    pub(super) fn launch(&self) -> crate::device::Launch {
        let launched = Arc::clone(&self.launched);
        Box::new(move |id, _, spec| {
            let (handle, commands) = WorkerHandle::channel();
            launched.lock().unwrap().push((id, spec, commands));
            handle
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.seconds)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(super) fn advance_to(&mut self, seconds: f64) {
        self.seconds = self.seconds.max(seconds);
    }

    pub(super) fn seconds_of(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// When the next event is due, in seconds.
    pub(super) fn next_happening(&self) -> Option<f64> {
        self.agenda.first_key_value().map(|((micros, _), _)| *micros as f64 / 1e6)
    }

    fn plan(&mut self, id: WorkerId, after: f64, happening: Happening) {
        let micros = ((self.seconds + after.max(1e-6)) * 1e6).ceil() as u64;
        self.agenda.insert((micros, self.planned), (id, happening));
        self.planned += 1;
    }

    /// Takes the event that is due now.
    pub(super) fn happen(&mut self) -> Option<(WorkerId, WorkerEvent)> {
        let ((micros, _), (id, happening)) = self.agenda.pop_first()?;
        self.advance_to(micros as f64 / 1e6);
        let load_seconds = if self.random.chance(0.5) { 1.0 } else { 0.0 };
        let worker = self.workers.get_mut(&id)?;
        let stats = WorkerStats { resident_bytes: 1 << 20, ..WorkerStats::default() };
        let event = match happening {
            Happening::Loaded => WorkerEvent::Loaded(LoadReport {
                multilingual: true,
                load_seconds,
                warm_up_seconds: 0.0,
                device_bytes: None,
                stats,
            }),
            Happening::Progress(chunk) if worker.running.contains_key(&chunk) => {
                self.plan(id, 5.0, Happening::Progress(chunk));
                WorkerEvent::Chunk(Event::Progress { id: chunk })
            }
            Happening::Progress(_) => return None,
            Happening::Done(chunk, inference_seconds) => {
                worker.running.remove(&chunk)?;
                WorkerEvent::Chunk(Event::Done { id: chunk, inference_seconds, stats })
            }
            Happening::Failed(chunk, kind) => {
                worker.running.remove(&chunk)?;
                let failure = Failure::new(kind, "simulated");
                WorkerEvent::Chunk(Event::Failed { id: chunk, failure })
            }
            Happening::Crash(chunk, _) if !worker.running.contains_key(&chunk) => return None,
            Happening::Ended(kind) | Happening::Crash(_, kind) => {
                self.workers.remove(&id);
                WorkerEvent::Ended(WorkerExit::new(kind, "simulated"))
            }
        };
        Some((id, event))
    }

    /// Creates the workers that were started, and carries out their commands. Returns the chunks'
    /// texts as events to deliver at once.
    pub(super) fn handle(&mut self) -> Vec<(WorkerId, WorkerEvent)> {
        let launched = std::mem::take(&mut *self.launched.lock().unwrap());
        for (id, spec, commands) in launched {
            self.workers.insert(id, Worker { commands, spec, running: BTreeMap::new() });
            self.check_memory(id.device);
            let mut load = 0.5 + self.random.unit();
            let fault = self.fault(id.device);
            let happening = match fault.then(|| self.random.below(7)) {
                None => Happening::Loaded,
                Some(0) => Happening::Ended(ExitKind::OutOfMemory),
                Some(1) => {
                    load = LOAD_LIMIT; // it hangs
                    Happening::Ended(ExitKind::StartTimeout)
                }
                Some(5) => Happening::Ended(ExitKind::LoadFailed),
                Some(6) => Happening::Ended(ExitKind::BadModel),
                Some(2) => Happening::Ended(ExitKind::NotStarted),
                Some(3) => Happening::Ended(ExitKind::Killed),
                Some(_) => Happening::Ended(ExitKind::Aborted),
            };
            self.plan(id, load, happening);
        }
        let mut texts = Vec::new();
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            while let Some(worker) = self.workers.get_mut(&id) {
                match worker.commands.try_recv() {
                    Ok(ToWorker::Run { id: chunk, samples, .. }) => {
                        texts.push(self.run(id, chunk, &samples));
                    }
                    Ok(ToWorker::Cancel { id: chunk }) => {
                        self.plan(id, 0.1, Happening::Failed(chunk, FailureKind::Cancelled));
                    }
                    Ok(ToWorker::Kill { .. }) => {
                        self.plan(id, 0.01, Happening::Ended(ExitKind::Stalled));
                    }
                    Err(TryRecvError::Disconnected) => {
                        assert!(worker.running.is_empty(), "a worker was ended while it worked");
                        let (_, commands) = mpsc::unbounded_channel();
                        // The sender is gone, too; that must not count as a second exit.
                        worker.commands = commands;
                        self.plan(id, 0.05, Happening::Ended(ExitKind::Stopped));
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
        }
        texts
    }

    fn run(&mut self, id: WorkerId, chunk: ChunkId, samples: &[f32]) -> (WorkerId, WorkerEvent) {
        let number = samples[0] as u64;
        let worker = self.workers.get_mut(&id).unwrap();
        worker.running.insert(chunk, number);
        assert!(worker.running.len() <= worker.spec.slots, "more chunks than slots");
        let device = &self.devices[id.device];
        let takes = samples.len() as f64 / 16_000.0 / device.speed;
        let is_cpu = device.is_cpu;
        self.plan(id, 5.0, Happening::Progress(chunk));
        let poison = self.faults_until > 0.0 && number % POISON_EVERY == POISON_EVERY - 1;
        let fault = poison || self.fault(id.device);
        if fault && is_cpu {
            *self.cpu_failures.entry(number).or_default() += 1;
        }
        match fault.then(|| if poison { 4 } else { self.random.below(5) }) {
            None => self.plan(id, takes, Happening::Done(chunk, takes)),
            Some(0) => self.plan(id, takes / 2.0, Happening::Crash(chunk, ExitKind::OutOfMemory)),
            Some(1) => self.plan(id, takes / 2.0, Happening::Crash(chunk, ExitKind::Killed)),
            Some(2) => {
                self.plan(id, takes / 2.0, Happening::Failed(chunk, FailureKind::Engine));
            }
            Some(3) => {
                // It hangs: without progress events it is killed.
                let progress = (id, Happening::Progress(chunk));
                self.agenda.retain(|_, planned| *planned != progress);
            }
            Some(_) => self.plan(id, takes / 2.0, Happening::Crash(chunk, ExitKind::Aborted)),
        }
        let segment = Segment { text: number.to_string(), ..Segment::default() };
        (id, WorkerEvent::Chunk(Event::Segment { id: chunk, segment }))
    }

    fn fault(&mut self, device: usize) -> bool {
        let probability = self.devices[device].faults;
        self.seconds < self.faults_until && self.random.chance(probability)
    }

    /// Checks that the memory of live processes fits into the device.
    fn check_memory(&self, device: usize) {
        if self.devices[device].is_cpu {
            return;
        }
        let of_device = self.workers.iter().filter(|(id, _)| id.device == device);
        let taken: u64 = of_device
            .map(|(_, worker)| model_bytes(worker.spec.model.to_str().unwrap(), worker.spec.slots))
            .sum();
        assert!(taken <= self.devices[device].memory_bytes, "the budget of {device} is exceeded");
    }
}
