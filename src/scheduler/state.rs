//! The scheduler's state, which one task owns, and what it is told from outside.
//!
//! Time and workers come in from outside as well, so that a simulation can drive it: `dispatch`
//! decides what runs, `events` hears from the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::{mpsc, oneshot};

use super::admission::Ledger;
use super::caller::{Attempt, Caller};
use super::device::{Device, Launch};
use super::lane::{Lane, WorkerId};
use super::plan::{DevicePlan, ModelPlan, Settings, UnusedBackend};
use super::quarantine::Remembered;
use super::queue::{JobId, Queue};
use super::running::Chunk;
use super::snapshot::Snapshot;
use super::{ChunkDone, ChunkError, ChunkRequest, Command, Refusal};
use crate::metrics as names;
use crate::supervisor::WorkerEvent;

/// The wait when nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// The wait when chunks wait although there are places.
const RECONSIDER: Duration = Duration::from_secs(1);

/// More rounds of a turn than there are lanes.
const MOST_ROUNDS: usize = 1_000;

/// See the module.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) devices: Vec<Device>,
    pub(super) queue: Queue<Chunk>,
    /// Chunks that crash workers of the processor, and those of GPUs only.
    pub(super) quarantine: Remembered,
    pub(super) gpu_crashers: Remembered,
    pub(super) unused: Vec<UnusedBackend>,
    /// What every device may load, the most important first.
    models: Vec<ModelPlan>,
    /// Who waits until a model can be used.
    waiting_for: Vec<(String, oneshot::Sender<()>)>,
    /// Models that ran elsewhere in this turn because a GPU had no room for them.
    pub(super) short_of_room: Vec<String>,
    launch: Launch,
    ledger: Ledger,
    next_job: JobId,
    draining: Option<Vec<oneshot::Sender<()>>>,
    /// The slots of all devices, for those who want to know how much to submit.
    slots: Arc<AtomicUsize>,
    turned_at: Instant,
    /// Places chunks by the simple score that the simulation compares with.
    #[cfg(test)]
    pub(super) by_load: bool,
}

impl State {
    pub(super) fn new(
        settings: Settings,
        launch: Launch,
        slots: Arc<AtomicUsize>,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            devices: Vec::new(),
            queue: Queue::default(),
            quarantine: Remembered::default(),
            gpu_crashers: Remembered::default(),
            unused: Vec::new(),
            models: Vec::new(),
            waiting_for: Vec::new(),
            short_of_room: Vec::new(),
            launch,
            ledger: Ledger::new(settings.capacity),
            next_job: 0,
            draining: None,
            slots,
            turned_at: now,
            #[cfg(test)]
            by_load: false,
        }
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut events: mpsc::UnboundedReceiver<(WorkerId, WorkerEvent)>,
    ) {
        let mut changed = true;
        loop {
            if changed {
                self.turn(Instant::now());
            }
            changed = tokio::select! {
                biased; // signs of life before the timer that takes their absence for a hang
                Some((id, event)) = events.recv() => self.hear(id, event, Instant::now()),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command, Instant::now()),
                    None => return,
                },
                () = tokio::time::sleep_until(self.deadline().into()) => true,
            }
        }
    }

    /// Does everything that has become due or possible.
    pub(super) fn turn(&mut self, now: Instant) {
        self.turned_at = now;
        let waiting = self.queue.models();
        let wanted = |model: &str| waiting.iter().any(|other| other == model);
        for device in &mut self.devices {
            device.tend(&self.settings, wanted, now);
        }
        // Who is told to wait for a model that is to be loaded is asked again when that turns out
        // to be impossible; each round starts or rules out a worker.
        for _ in 0..MOST_ROUNDS {
            self.start_workers(now);
            self.refuse_the_hopeless(now);
            if !self.place_chunks(now) {
                break;
            }
        }
        self.tell_usable(now);
        self.end_if_drained();
    }

    /// When to take the next turn if nothing happens until then.
    pub(super) fn deadline(&self) -> Instant {
        let devices = self.devices.iter();
        let deadlines = devices.filter_map(|d| d.deadline(&self.settings, self.turned_at));
        // Who waits beside a free place does so on an estimate, which time may prove wrong.
        let is_patient = self.queue.len() > 0 && self.devices.iter().any(Device::may_have_place);
        let latest = self.turned_at + if is_patient { RECONSIDER } else { IDLE };
        deadlines.min().unwrap_or(latest).min(latest)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.devices.iter().flat_map(|device| &device.lanes)
    }

    fn start_workers(&mut self, now: Instant) {
        for (index, device) in self.devices.iter_mut().enumerate() {
            device.start_workers(index, &mut self.launch, now);
        }
    }

    /// Carries out a command. Returns whether something may have become possible by it.
    pub(super) fn obey(&mut self, command: Command, now: Instant) -> bool {
        match command {
            Command::Admit { caller, attempt, reply } => {
                let answer = counted(self.admit(&caller, attempt, now));
                if let Err(Ok(job)) = reply.send(answer) {
                    self.release(job, now); // the caller left before the answer
                }
            }
            Command::AdmitKept { reply } => {
                if let Err(Ok(job)) = reply.send(counted(self.admit_kept())) {
                    self.release(job, now);
                }
            }
            Command::Measure { job, seconds, reply } => {
                self.expect();
                let answer = self.ledger.measure(job, seconds, now);
                if answer.is_ok() {
                    self.queue.add_job(job, seconds);
                }
                let _ = reply.send(counted(answer));
            }
            Command::Charge { job, seconds } => {
                self.ledger.set(job, seconds, now);
                return false;
            }
            Command::Submit { job, chunk, reply } => self.submit(job, chunk, reply, now),
            Command::RunAhead { chunk, result, reply } => {
                let job = self.run_ahead(chunk, result, now);
                if let Err(Some(job)) = reply.send(job) {
                    self.release(job, now);
                }
            }
            Command::Release { job } => self.release(job, now),
            Command::AddDevices { plans } => self.add_devices(plans, now),
            Command::AddModels { plans } => self.add_models(plans, now),
            Command::WhenUsable { model, reply } => self.waiting_for.push((model, reply)),
            Command::StandDown { model } => {
                for device in &mut self.devices {
                    device.stand_down(&model);
                }
                self.models.retain(|plan| plan.name != model);
            }
            Command::Unused { backends } => self.unused = backends,
            Command::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(now));
                return false;
            }
            Command::Drain { done } => self.draining.get_or_insert_default().push(done),
        }
        gauge!(names::BACKLOG_SECONDS).set(self.ledger.seconds());
        true
    }

    fn add_devices(&mut self, plans: Vec<DevicePlan>, now: Instant) {
        for plan in plans {
            if self.devices.iter().any(|device| device.info.id == plan.info.id) {
                continue;
            }
            let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            tracing::info!(device.id = %plan.info.id, device.name = plan.info.name,
                           slots = plan.slots, models = ?names, "device in use");
            let seed = self.devices.len() as u64;
            self.slots.fetch_add(plan.slots, Ordering::Relaxed);
            let mut device = Device::new(plan, seed, now);
            for model in &self.models {
                device.add_model(model.clone(), &self.settings, now);
            }
            self.devices.push(device);
        }
    }

    fn add_models(&mut self, plans: Vec<ModelPlan>, now: Instant) {
        for plan in plans {
            if self.models.iter().any(|known| known.name == plan.name) {
                continue;
            }
            for device in &mut self.devices {
                device.add_model(plan.clone(), &self.settings, now);
            }
            self.models.push(plan);
        }
    }

    /// Answers those who wait for a model.
    fn tell_usable(&mut self, now: Instant) {
        let devices = &self.devices;
        let is_usable = |model: &str| {
            let lanes = || {
                let all = devices.iter().flat_map(|device| {
                    device.lanes.iter().enumerate().map(move |(index, lane)| (device, index, lane))
                });
                all.filter(|(.., lane)| lane.model.name == model)
            };
            let is_hopeless = |device: &Device, index| device.hopeless(index, now).is_some();
            // A cold one is loaded by the first chunk that asks for it.
            let nothing_comes =
                lanes().all(|(device, index, lane)| lane.is_off() || is_hopeless(device, index));
            let is_lost = lanes().next().is_some()
                && lanes().all(|(device, index, _)| is_hopeless(device, index));
            lanes().any(|(.., lane)| lane.is_ready()) || (nothing_comes && !is_lost)
        };
        for (_, reply) in self.waiting_for.extract_if(.., |(model, _)| is_usable(model)) {
            let _ = reply.send(());
        }
    }

    fn submit(
        &mut self,
        job: JobId,
        request: ChunkRequest,
        reply: oneshot::Sender<Result<ChunkDone, ChunkError>>,
        now: Instant,
    ) {
        if self.lanes().all(|lane| lane.model.name != request.model) {
            let reason = "no device loads it".to_owned();
            let _ = reply.send(Err(ChunkError::Unavailable { model: request.model, reason }));
            return;
        }
        if self.quarantine.holds(&request) {
            counter!(names::QUARANTINE_REFUSALS).increment(1);
            let _ = reply.send(Err(ChunkError::Quarantined));
            return;
        }
        let mut chunk = Chunk::new(job, request, reply, now);
        if self.gpu_crashers.holds(&chunk.request) {
            chunk.history.avoid_gpus();
            chunk.crashed_gpu_before = true;
        }
        if let Err(chunk) = self.queue.push(job, chunk.seconds(), chunk) {
            let _ = chunk.reply.send(Err(ChunkError::ShutDown));
        }
    }

    /// Runs a chunk for a request of its own, if a slot has nothing better to do.
    fn run_ahead(
        &mut self,
        request: ChunkRequest,
        reply: oneshot::Sender<Result<ChunkDone, ChunkError>>,
        now: Instant,
    ) -> Option<JobId> {
        self.turn(now); // who was there before goes first
        let is_idle = |device: &Device| {
            let lane = device.lane_of(&request.model).map(|lane| &device.lanes[lane]);
            lane.is_some_and(Lane::is_ready) && device.busy_slots() < device.usable_slots()
        };
        if self.queue.len() > 0 || !self.devices.iter().any(is_idle) {
            return None;
        }
        let job = self.admit_kept().ok()?;
        self.submit(job, request, reply, now);
        self.turn(now);
        let runs = self.lanes().any(|lane| lane.runs(job));
        if !runs {
            self.release(job, now);
        }
        runs.then_some(job)
    }

    fn admit(&mut self, caller: &Caller, attempt: Attempt, now: Instant) -> Result<JobId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        self.expect();
        let job = self.next_job;
        self.ledger.admit(job, caller, attempt, now)?;
        self.next_job += 1;
        Ok(job)
    }

    fn admit_kept(&mut self) -> Result<JobId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        let job = self.next_job;
        self.queue.add_job(job, f64::INFINITY);
        self.next_job += 1;
        Ok(job)
    }

    /// Tells the ledger what the devices should do, by the paces that were measured.
    fn expect(&mut self) {
        let speeds = self.devices.iter().map(|device| {
            let ready = device.lanes.iter().filter(|lane| lane.is_ready());
            let slowest = ready.map(|lane| lane.pace.speed()).reduce(f64::min);
            slowest.unwrap_or(1.0) * device.usable_slots() as f64
        });
        let speed = speeds.sum();
        self.ledger.expect(speed, self.devices.iter().map(Device::usable_slots).sum());
    }

    fn release(&mut self, job: JobId, now: Instant) {
        self.ledger.release(job, now);
        self.queue.remove_job(job);
        for lane in self.lanes() {
            lane.cancel(job);
        }
    }

    fn end_if_drained(&mut self) {
        if self.ledger.jobs() == 0
            && let Some(waiting) = &mut self.draining
        {
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            devices: self.devices.iter().map(|device| device.status(&self.settings, now)).collect(),
            unused: self.unused.clone(),
            queued_chunks: self.queue.len(),
            backlog_seconds: self.ledger.seconds(),
            requests: self.ledger.jobs(),
            quarantined_chunks: self.quarantine.len(),
            draining: self.draining.is_some(),
        }
    }
}

/// Counts a refusal.
fn counted<T>(answer: Result<T, Refusal>) -> Result<T, Refusal> {
    if let Err(refusal) = &answer {
        let reason = match refusal {
            Refusal::Full { .. } => "full",
            Refusal::Share { .. } => "share",
            Refusal::Draining => "draining",
        };
        counter!(names::REFUSALS, "reason" => reason).increment(1);
    }
    answer
}
