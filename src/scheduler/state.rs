//! The task that owns the scheduling state.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::{mpsc, oneshot};

use super::admission::{Caller, Ledger};
use super::device::{Device, find_place};
use super::lane::{Chunk, Lane, Running, WorkerId};
use super::queue::{JobId, Queue};
use super::retry::{History, Verdict};
use super::snapshot::Snapshot;
use super::{ChunkDone, ChunkError, ChunkRequest, Command, DevicePlan, Refusal, Settings};
use crate::device::DeviceInfo;
use crate::ipc::{Event, FailureKind, Work};
use crate::metrics as names;
use crate::supervisor::{Ending, WorkerEvent};

/// The wait when nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct State {
    settings: Settings,
    devices: Vec<Device>,
    queue: Queue<Chunk>,
    ledger: Ledger,
    next_job: JobId,
    draining: Option<Vec<oneshot::Sender<()>>>,
    events: mpsc::UnboundedReceiver<(WorkerId, WorkerEvent)>,
    event_sender: mpsc::UnboundedSender<(WorkerId, WorkerEvent)>,
}

impl State {
    pub(super) fn new(plans: Vec<DevicePlan>, settings: Settings) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let now = Instant::now();
        let lane = |(name, spec)| Lane::new(name, spec, settings.stall, now);
        let devices = plans
            .into_iter()
            .map(|plan| Device {
                info: plan.info,
                program: plan.program,
                slots: plan.slots,
                lanes: plan.models.into_iter().map(lane).collect(),
            })
            .collect();
        Self {
            settings,
            devices,
            queue: Queue::default(),
            ledger: Ledger::new(settings.capacity),
            next_job: 0,
            draining: None,
            events,
            event_sender,
        }
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut changed = true;
        loop {
            if changed {
                self.start_workers();
                self.refuse_the_hopeless();
                self.place_chunks();
                self.end_if_drained();
            }
            let deadline = self.deadline();
            changed = tokio::select! {
                biased; // signs of life before the timer that takes their absence for a hang
                Some((id, event)) = self.events.recv() => self.hear(id, event),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.end_stalled();
                    true
                }
            }
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.devices.iter().flat_map(|device| &device.lanes)
    }

    fn deadline(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        self.lanes().filter_map(Lane::deadline).min().unwrap_or(idle).min(idle)
    }

    fn start_workers(&mut self) {
        for (index, device) in self.devices.iter_mut().enumerate() {
            for (lane_index, lane) in device.lanes.iter_mut().enumerate() {
                let place = (index, lane_index);
                lane.start_if_due(place, &device.program, self.settings.start, &self.event_sender);
            }
        }
    }

    fn end_stalled(&mut self) {
        let lanes = self.devices.iter_mut().flat_map(|device| &mut device.lanes);
        lanes.for_each(Lane::kill_if_stalled);
    }

    /// Carries out a command. Returns whether something may have become possible by it.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Admit { caller, seconds, reply } => {
                let answer = self.admit(&caller, seconds);
                if let Err(refusal) = &answer {
                    let reason = match refusal {
                        Refusal::Full { .. } => "full",
                        Refusal::Share { .. } => "share",
                        Refusal::Draining => "draining",
                    };
                    counter!(names::REFUSALS, "reason" => reason).increment(1);
                }
                if let Err(Ok(job)) = reply.send(answer) {
                    self.release(job); // the caller left before the answer
                }
            }
            Command::Charge { job, seconds } => {
                self.ledger.set(job, seconds);
                return false;
            }
            Command::Submit { job, chunk: request, reply } => self.submit(job, request, reply),
            Command::Release { job } => self.release(job),
            Command::Snapshot { reply } => {
                let _ = reply.send(self.snapshot());
                return false;
            }
            Command::Drain { done } => self.draining.get_or_insert_default().push(done),
        }
        gauge!(names::BACKLOG_SECONDS).set(self.ledger.seconds());
        true
    }

    fn submit(
        &mut self,
        job: JobId,
        request: ChunkRequest,
        reply: oneshot::Sender<Result<ChunkDone, ChunkError>>,
    ) {
        if self.lanes().all(|lane| lane.model != request.model) {
            let reason = "no device loads it".to_owned();
            let _ = reply.send(Err(ChunkError::Unavailable { model: request.model, reason }));
            return;
        }
        let history = History::default();
        let chunk = Chunk { job, request, reply, arrived: Instant::now(), history };
        if let Err(chunk) = self.queue.push(job, chunk.seconds(), chunk) {
            let _ = chunk.reply.send(Err(ChunkError::ShutDown));
        }
    }

    fn admit(&mut self, caller: &Caller, seconds: f64) -> Result<JobId, Refusal> {
        if self.draining.is_some() {
            return Err(Refusal::Draining);
        }
        let speed = self.devices.iter().map(|device| {
            let speeds = device.lanes.iter().filter(|lane| lane.is_ready()).map(Lane::speed);
            speeds.reduce(f64::min).unwrap_or(1.0) * device.slots as f64
        });
        let job = self.next_job;
        self.ledger.admit(job, caller, seconds, speed.sum())?;
        self.queue.add_job(job, seconds);
        self.next_job += 1;
        Ok(job)
    }

    fn release(&mut self, job: JobId) {
        self.ledger.release(job);
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

    /// Answers the chunks whose model no device can run.
    fn refuse_the_hopeless(&mut self) {
        let mut reasons: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for lane in self.devices.iter().flat_map(|device| &device.lanes) {
            let reason = reasons.entry(&lane.model).or_insert_with(|| lane.hopeless());
            *reason = reason.and(lane.hopeless());
        }
        reasons.retain(|_, reason| reason.is_some());
        if reasons.is_empty() {
            return;
        }
        let reason_for = |chunk: &Chunk| reasons.get(chunk.request.model.as_str()).copied()?;
        for chunk in self.queue.drain_where(|chunk| reason_for(chunk).is_some()) {
            let reason = reason_for(&chunk).unwrap_or_default().to_owned();
            let model = chunk.request.model;
            let _ = chunk.reply.send(Err(ChunkError::Unavailable { model, reason }));
        }
    }

    fn place_chunks(&mut self) {
        let devices = &mut self.devices;
        while devices.iter().any(Device::has_room) {
            // A chunk that must run alone would wait for ever if others kept joining; so while
            // one waits, its model's workers run empty.
            let alone = self.queue.fronts().filter(|chunk| chunk.history.must_run_alone());
            let reserved: Vec<String> = alone.map(|chunk| chunk.request.model.clone()).collect();
            let may_run = |chunk: &Chunk| {
                chunk.history.must_run_alone() || !reserved.contains(&chunk.request.model)
            };
            let place = |chunk: &Chunk| find_place(devices, chunk).filter(|_| may_run(chunk));
            let Some((chunk, (device, lane))) = self.queue.pop(place) else { break };
            tracing::debug!(
                device.id = %devices[device].info.id,
                model = chunk.request.model,
                audio_seconds = chunk.seconds(),
                "chunk placed"
            );
            devices[device].lanes[lane].run(chunk);
        }
        gauge!(names::QUEUED_CHUNKS).set(self.queue.len() as f64);
        for device in &self.devices {
            gauge!(names::BUSY_SLOTS, "device" => device.info.id.to_string())
                .set(device.busy_slots() as f64);
        }
    }

    /// Takes note of an event. Returns whether something may have become possible by it.
    fn hear(&mut self, id: WorkerId, event: WorkerEvent) -> bool {
        let device = &mut self.devices[id.device];
        let lane = &mut device.lanes[id.lane];
        if !lane.is_current(id.worker) {
            return false;
        }
        match event {
            WorkerEvent::Loaded(report) => {
                tracing::info!(
                    device.id = %device.info.id,
                    model = lane.model,
                    load_ms = (report.load_seconds * 1e3) as u64,
                    warm_up_ms = (report.warm_up_seconds * 1e3) as u64,
                    "model ready"
                );
                lane.loaded(report);
                true
            }
            WorkerEvent::Chunk(event) => self.hear_of_chunk(id, event),
            WorkerEvent::Ended(ending) => {
                self.worker_ended(id, ending);
                true
            }
        }
    }

    /// As [`hear`](Self::hear).
    fn hear_of_chunk(&mut self, place: WorkerId, event: Event) -> bool {
        let device = &mut self.devices[place.device];
        let lane = &mut device.lanes[place.lane];
        match event {
            Event::Progress { id } => {
                lane.progress(id);
                false
            }
            Event::Segment { id, segment } => {
                if let Some(running) = lane.progress(id) {
                    running.segments.push(segment);
                }
                false
            }
            Event::Languages { id, probabilities } => {
                if let Some(running) = lane.progress(id) {
                    running.languages = probabilities;
                }
                false
            }
            Event::Done { id, inference_seconds, vitals: _ } => {
                let labels =
                    [("device", device.info.id.to_string()), ("model", lane.model.clone())];
                if let Some(running) = lane.done(id, inference_seconds) {
                    if running.chunk.request.work != Work::Detect {
                        histogram!(names::AUDIO_SECONDS, &labels).record(running.chunk.seconds());
                    }
                    histogram!(names::INFERENCE_SECONDS, &labels).record(inference_seconds);
                    finish(running, inference_seconds, &device.info);
                }
                true
            }
            Event::Failed { id, failure } => {
                if let Some(running) = lane.running.remove(&id)
                    && failure.kind != FailureKind::Cancelled
                {
                    let mut chunk = running.chunk;
                    let verdict = chunk.history.after_error(failure.kind.as_str());
                    self.settle(place, chunk, verdict, failure.kind.as_str(), failure.message);
                }
                true
            }
            Event::Hello { .. } | Event::Loaded(_) | Event::LoadFailed(_) => {
                tracing::warn!("a worker repeated its start; ignored");
                false
            }
        }
    }

    fn worker_ended(&mut self, id: WorkerId, ending: Ending) {
        let device = &mut self.devices[id.device];
        let lane = &mut device.lanes[id.lane];
        tracing::warn!(
            device.id = %device.info.id,
            model = lane.model,
            reason = %ending.kind,
            "{}",
            ending.detail
        );
        counter!(
            names::WORKER_FAILURES,
            "device" => device.info.id.to_string(),
            "model" => lane.model.clone(),
            "reason" => ending.kind.as_str()
        )
        .increment(1);
        for running in lane.ended(ending.clone()) {
            let mut chunk = running.chunk;
            let verdict = chunk.history.after_end(ending.kind);
            self.settle(id, chunk, verdict, ending.kind.as_str(), ending.detail.clone());
        }
    }

    /// Queues a chunk again or gives it up.
    fn settle(
        &mut self,
        place: WorkerId,
        chunk: Chunk,
        verdict: Verdict,
        kind: &'static str,
        reason: String,
    ) {
        let device = self.devices[place.device].info.id.to_string();
        match verdict {
            Verdict::Retry => {
                counter!(names::RETRIES, "device" => device, "reason" => kind).increment(1);
                self.queue.put_back(chunk.job, chunk.seconds(), chunk);
            }
            Verdict::GiveUp => {
                counter!(names::CHUNKS, "device" => device, "model" => chunk.request.model.clone(),
                         "outcome" => "failed")
                .increment(1);
                let _ = chunk.reply.send(Err(ChunkError::Failed { reason }));
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            devices: self.devices.iter().map(Device::status).collect(),
            queued_chunks: self.queue.len(),
            backlog_seconds: self.ledger.seconds(),
            requests: self.ledger.jobs(),
            draining: self.draining.is_some(),
        }
    }
}

/// Answers a chunk with its result.
fn finish(running: Running, inference_seconds: f64, device: &DeviceInfo) {
    let Running { chunk, started, segments, languages, .. } = running;
    let queue_time = started.duration_since(chunk.arrived);
    histogram!(names::QUEUE_SECONDS).record(queue_time);
    counter!(names::CHUNKS, "device" => device.id.to_string(),
             "model" => chunk.request.model, "outcome" => "done")
    .increment(1);
    // Nobody listens when the client has left.
    let _ = chunk.reply.send(Ok(ChunkDone {
        segments,
        languages,
        device: device.id.clone(),
        backend: device.backend,
        fallback_reason: chunk.history.first_reason,
        queue_time,
        inference_time: Duration::try_from_secs_f64(inference_seconds).unwrap_or_default(),
    }));
}
