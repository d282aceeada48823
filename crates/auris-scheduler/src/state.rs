//! The scheduler's state, owned by one task, and its commands.
//!
//! Time and workers are passed in, so that a simulation can drive it. `dispatch` decides what runs,
//! `events` handles the workers' events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::{mpsc, oneshot};

use super::admission::AdmissionControl;
use super::caller::Caller;
use super::device::{Launch, ManagedDevice};
use super::instance::{ModelInstance, WorkerId};
use super::plan::{DevicePlan, ModelPlan, Settings, UnusedDeviceKind};
use super::quarantine::Remembered;
use super::queue::{FairQueue, RequestId};
use super::running::ScheduledChunk;
use super::snapshot::Snapshot;
use super::{ChunkError, ChunkReply, ChunkRequest, Refusal, SchedulerCommand};
use crate::supervisor::WorkerEvent;
use auris_core::metrics as names;

const IDLE: Duration = Duration::from_secs(3600);

/// The wait when chunks wait although there are free places.
const RECONSIDER: Duration = Duration::from_secs(1);

/// More rounds per tick than there are instances.
const MAX_ROUNDS_PER_TICK: usize = 1_000;

pub(super) struct SchedulerState {
    pub(super) settings: Settings,
    pub(super) devices: Vec<ManagedDevice>,
    pub(super) queue: FairQueue<ScheduledChunk>,
    /// Chunks that crash CPU workers, and those that crash only GPU workers.
    pub(super) quarantine: Remembered,
    pub(super) gpu_crashers: Remembered,
    pub(super) unused: Vec<UnusedDeviceKind>,
    /// The models that every device may load, most important first.
    models: Vec<ModelPlan>,
    /// Callers that wait until a model can be used.
    waiting_for: Vec<(String, oneshot::Sender<()>)>,
    /// Models that ran elsewhere in this tick because a GPU had no room for them.
    pub(super) short_of_room: Vec<String>,
    launch: Launch,
    admission: AdmissionControl,
    next_request: RequestId,
    draining: Option<Vec<oneshot::Sender<()>>>,
    /// The total slots of all devices, for callers that decide how much to submit.
    slots: Arc<AtomicUsize>,
    ticked_at: Instant,
    /// Places chunks by the simple score that the simulation compares with.
    #[cfg(test)]
    pub(super) by_load: bool,
}

impl SchedulerState {
    pub(super) fn new(
        settings: Settings,
        launch: Launch,
        slots: Arc<AtomicUsize>,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            devices: Vec::new(),
            queue: FairQueue::default(),
            quarantine: Remembered::default(),
            gpu_crashers: Remembered::default(),
            unused: Vec::new(),
            models: Vec::new(),
            waiting_for: Vec::new(),
            short_of_room: Vec::new(),
            launch,
            admission: AdmissionControl::new(settings.capacity),
            next_request: 0,
            draining: None,
            slots,
            ticked_at: now,
            #[cfg(test)]
            by_load: false,
        }
    }

    /// Runs until every handle is dropped.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<SchedulerCommand>,
        mut events: mpsc::Receiver<(WorkerId, WorkerEvent)>,
    ) {
        let mut changed = true;
        loop {
            if changed {
                self.tick(Instant::now());
            }
            changed = tokio::select! {
                biased; // progress events before the timer that takes their absence for a hang
                Some((id, event)) = events.recv() => self.on_event(id, event, Instant::now()),
                command = commands.recv() => match command {
                    Some(command) => self.handle(command, Instant::now()),
                    None => return,
                },
                () = tokio::time::sleep_until(self.deadline().into()) => true,
            }
        }
    }

    /// Does everything that is due or has become possible.
    pub(super) fn tick(&mut self, now: Instant) {
        self.ticked_at = now;
        let is_wanted = |model: &str| self.queue.has_chunks_for(model);
        for device in &mut self.devices {
            device.maintain(&self.settings, is_wanted, now);
        }
        // A chunk that waits for a model to load is reconsidered if the load turns out to be
        // impossible. Each round starts or rules out a worker.
        for _ in 0..MAX_ROUNDS_PER_TICK {
            for (index, device) in self.devices.iter_mut().enumerate() {
                device.start_workers(index, &mut self.launch, now);
            }
            self.refuse_unrecoverable(now);
            if !self.place_chunks(now) {
                break;
            }
        }
        self.report_usable(now);
        self.end_if_drained();
    }

    /// When the next tick is due if nothing happens until then.
    pub(super) fn deadline(&self) -> Instant {
        let devices = self.devices.iter();
        let deadlines = devices.filter_map(|d| d.deadline(&self.settings, self.ticked_at));
        // A chunk that waits beside a free place does so on an estimate, which time may prove
        // wrong.
        let is_patient =
            self.queue.len() > 0 && self.devices.iter().any(ManagedDevice::has_free_place);
        let latest = self.ticked_at + if is_patient { RECONSIDER } else { IDLE };
        deadlines.min().unwrap_or(latest).min(latest)
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = &ModelInstance> {
        self.devices.iter().flat_map(|device| &device.instances)
    }

    /// Executes a command. Returns whether something may have become possible because of it.
    pub(super) fn handle(&mut self, command: SchedulerCommand, now: Instant) -> bool {
        match command {
            SchedulerCommand::Admit { caller, reply } => {
                if let Err(Ok(request_id)) = reply.send(counted(self.admit(&caller))) {
                    self.release(request_id); // the caller left before the answer
                }
            }
            SchedulerCommand::AdmitBackground { reply } => {
                if let Err(Ok(request_id)) = reply.send(counted(self.admit_background())) {
                    self.release(request_id);
                }
            }
            SchedulerCommand::Measure { request_id, seconds, reply } => {
                self.update_speed();
                let answer = self.admission.measure(request_id, seconds);
                if answer.is_ok() {
                    self.queue.add_request(request_id, seconds);
                }
                let _ = reply.send(counted(answer));
            }
            SchedulerCommand::Arrive { request_id, seconds } => {
                self.admission.arrive(request_id, seconds);
                return false;
            }
            SchedulerCommand::Charge { request_id, seconds } => {
                self.admission.set(request_id, seconds);
                return false;
            }
            SchedulerCommand::Submit { request_id, chunk, reply } => {
                self.submit(request_id, chunk, reply, now);
            }
            SchedulerCommand::RunAhead { chunk, result, reply } => {
                let request_id = self.run_ahead(chunk, result, now);
                if let Err(Some(request_id)) = reply.send(request_id) {
                    self.release(request_id);
                }
            }
            SchedulerCommand::Release { request_id } => self.release(request_id),
            SchedulerCommand::AddDevices { plans } => self.add_devices(plans, now),
            SchedulerCommand::AddModels { plans } => self.add_models(plans, now),
            SchedulerCommand::WhenUsable { model, reply } => self.waiting_for.push((model, reply)),
            SchedulerCommand::RetireModel { model } => {
                for device in &mut self.devices {
                    device.retire_model(&model);
                }
                self.models.retain(|plan| plan.name != model);
            }
            SchedulerCommand::Unused { backends } => self.unused = backends,
            SchedulerCommand::Snapshot { reply } => {
                let _ = reply.send(self.snapshot(now));
                return false;
            }
            SchedulerCommand::Drain { done } => self.draining.get_or_insert_default().push(done),
        }
        gauge!(names::BACKLOG_SECONDS).set(self.admission.seconds());
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
            let mut device = ManagedDevice::new(plan, seed, now);
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

    fn report_usable(&mut self, now: Instant) {
        let devices = &self.devices;
        let is_usable = |model: &str| {
            let places =
                devices.iter().filter_map(|device| Some((device, device.instance_of(model)?)));
            let places: Vec<(&ManagedDevice, usize)> = places.collect();
            let recoverable: Vec<&ModelInstance> = places
                .iter()
                .filter(|(device, index)| device.unrecoverable(*index, now).is_none())
                .map(|(device, index)| &device.instances[*index])
                .collect();
            // A model that is off is loaded by the first chunk for it.
            let are_off = recoverable.iter().all(|instance| instance.is_off());
            places.iter().any(|(device, index)| device.instances[*index].is_ready())
                || are_off && (places.is_empty() || !recoverable.is_empty())
        };
        for (_, reply) in self.waiting_for.extract_if(.., |(model, _)| is_usable(model)) {
            let _ = reply.send(());
        }
    }

    fn submit(
        &mut self,
        request_id: RequestId,
        request: ChunkRequest,
        reply: oneshot::Sender<ChunkReply>,
        now: Instant,
    ) {
        if self.instances().all(|instance| instance.model.name != request.model) {
            let reason = "no device loads it".to_owned();
            let _ = reply.send(Err(ChunkError::Unavailable { model: request.model, reason }));
            return;
        }
        if self.quarantine.holds(&request) {
            counter!(names::QUARANTINE_REFUSALS).increment(1);
            let _ = reply.send(Err(ChunkError::Quarantined));
            return;
        }
        let mut chunk = ScheduledChunk::new(request_id, request, reply, now);
        if self.gpu_crashers.holds(&chunk.request) {
            chunk.history.avoid_gpus();
            chunk.crashed_gpu_before = true;
        }
        if let Err(chunk) = self.queue.push(request_id, chunk.seconds(), chunk) {
            let _ = chunk.reply.send(Err(ChunkError::ShutDown));
        }
    }

    /// Runs a chunk as a request of its own, if a slot has nothing better to do.
    fn run_ahead(
        &mut self,
        request: ChunkRequest,
        reply: oneshot::Sender<ChunkReply>,
        now: Instant,
    ) -> Option<RequestId> {
        self.tick(now); // waiting chunks go first
        let is_idle = |device: &ManagedDevice| {
            let instance = device.instance_of(&request.model);
            instance.is_some_and(|instance| device.instances[instance].is_ready())
                && device.busy_slots() < device.usable_slots()
        };
        if self.queue.len() > 0 || !self.devices.iter().any(is_idle) {
            return None;
        }
        let request_id = self.admit_background().ok()?;
        self.submit(request_id, request, reply, now);
        self.tick(now);
        let runs = self.instances().any(|instance| instance.runs(request_id));
        if !runs {
            self.release(request_id);
        }
        runs.then_some(request_id)
    }

    fn admit(&mut self, caller: &Caller) -> Result<RequestId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        self.update_speed();
        let request_id = self.next_request;
        self.admission.admit(request_id, caller)?;
        self.next_request += 1;
        Ok(request_id)
    }

    fn admit_background(&mut self) -> Result<RequestId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        let request_id = self.next_request;
        self.queue.add_request(request_id, f64::INFINITY);
        self.next_request += 1;
        Ok(request_id)
    }

    fn update_speed(&mut self) {
        let speeds = self.devices.iter().map(|device| {
            let ready = device.instances.iter().filter(|instance| instance.is_ready());
            let slowest = ready.map(|instance| instance.speed.speed()).reduce(f64::min);
            slowest.unwrap_or(1.0) * device.usable_slots() as f64
        });
        self.admission.set_speed(speeds.sum());
    }

    fn release(&mut self, request_id: RequestId) {
        self.admission.release(request_id);
        self.queue.remove_request(request_id);
        for instance in self.instances() {
            instance.cancel(request_id);
        }
    }

    fn end_if_drained(&mut self) {
        if self.admission.requests() == 0
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
            backlog_seconds: self.admission.seconds(),
            requests: self.admission.requests(),
            quarantined_chunks: self.quarantine.len(),
            draining: self.draining.is_some(),
        }
    }
}

fn counted<T>(answer: Result<T, Refusal>) -> Result<T, Refusal> {
    if let Err(refusal) = &answer {
        counter!(names::REFUSALS, "reason" => refusal.into_str()).increment(1);
    }
    answer
}
