//! What workers tell, and what becomes of their chunks.

use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::breaker::Effect;
use super::device::Device;
use super::journal::EventKind;
use super::lane::WorkerId;
use super::retry::{Attempt, Verdict};
use super::running::{Chunk, Running};
use super::state::State;
use super::{ChunkDone, ChunkError};
use crate::ipc::{Event, FailureKind, LoadReport, Vitals, Work};
use crate::metrics as names;
use crate::models::StandInReason;
use crate::supervisor::{EndKind, Ending, WorkerEvent};

impl State {
    /// Takes note of an event. Returns whether something may have become possible by it.
    pub(super) fn hear(&mut self, id: WorkerId, event: WorkerEvent, now: Instant) -> bool {
        if !self.devices[id.device].lanes[id.lane].is_current(id.worker) {
            return false;
        }
        match event {
            WorkerEvent::Loaded(report) => {
                self.worker_loaded(id, report, now);
                true
            }
            WorkerEvent::Chunk(event) => self.hear_of_chunk(id, event, now),
            WorkerEvent::Ended(ending) => {
                self.worker_ended(id, &ending, now);
                true
            }
        }
    }

    fn worker_loaded(&mut self, id: WorkerId, report: LoadReport, now: Instant) {
        let device = &mut self.devices[id.device];
        let lane = &mut device.lanes[id.lane];
        tracing::info!(
            device.id = %device.info.id,
            model = lane.shape().name(&lane.model),
            slots = lane.shape().slots,
            load_ms = (report.load_seconds * 1e3) as u64,
            warm_up_ms = (report.warm_up_seconds * 1e3) as u64,
            device_bytes = report.device_bytes,
            "model ready"
        );
        device.loaded(id.lane, report, now);
    }

    /// As [`hear`](Self::hear).
    fn hear_of_chunk(&mut self, place: WorkerId, event: Event, now: Instant) -> bool {
        let lane = &mut self.devices[place.device].lanes[place.lane];
        match event {
            Event::Progress { id } => {
                lane.running.progress(id, now);
                false
            }
            Event::Segment { id, segment } => {
                if let Some(running) = lane.running.progress(id, now) {
                    running.segments.push(segment);
                }
                false
            }
            Event::Languages { id, probabilities } => {
                if let Some(running) = lane.running.progress(id, now) {
                    running.languages = probabilities;
                }
                false
            }
            Event::Done { id, inference_seconds, vitals } => {
                if let Some(running) = lane.done(id, vitals, now) {
                    self.chunk_done(place, running, inference_seconds, vitals, now);
                }
                true
            }
            Event::Failed { id, failure } => {
                let alone = lane.running.len() == 1;
                if let Some(running) = lane.running.remove(id)
                    && failure.kind != FailureKind::Cancelled
                {
                    let kind = failure.kind.as_str();
                    let mut chunk = running.chunk;
                    let attempt = self.attempt(place, alone);
                    let verdict = chunk.history.after_error(kind, attempt);
                    self.lose(place.device, now.duration_since(running.started));
                    self.settle(place, chunk, verdict, kind, &failure.message, now);
                    self.device_errs(place, &failure.message, now);
                }
                true
            }
            Event::Hello { .. } | Event::Loaded(_) | Event::LoadFailed(_) => {
                tracing::warn!("a worker repeated its start; ignored");
                false
            }
        }
    }

    fn chunk_done(
        &mut self,
        place: WorkerId,
        running: Running,
        inference_seconds: f64,
        vitals: Vitals,
        now: Instant,
    ) {
        let device = &mut self.devices[place.device];
        device.read(vitals, now);
        if device.succeeded(place.lane, now) {
            tracing::info!(device.id = %device.info.id, "the device is used again");
            counter!(names::RETURNS, "device" => device.info.id.to_string()).increment(1);
        }
        let lane = &mut device.lanes[place.lane];
        let model = lane.shape().name(&lane.model).to_owned();
        let labels = [("device", device.info.id.to_string()), ("model", model.clone())];
        let Running { chunk, fallback, started, segments, languages, .. } = running;
        // A detection says nothing about the speed of transcription.
        if chunk.request.work != Work::Detect {
            lane.pace.learn(chunk.seconds(), inference_seconds, now);
            histogram!(names::AUDIO_SECONDS, &labels).record(chunk.seconds());
        }
        histogram!(names::INFERENCE_SECONDS, &labels).record(inference_seconds);
        let queue_time = started.duration_since(chunk.arrived);
        histogram!(names::QUEUE_SECONDS).record(queue_time);
        let stands_in = chunk.request.stands_in.map(StandInReason::as_str);
        if let Some(reason) = stands_in {
            counter!(names::MODEL_FALLBACKS, "model" => model.clone(), "reason" => reason)
                .increment(1);
        }
        let [device_label, model_label] = labels;
        counter!(names::CHUNKS, &[device_label, model_label, ("outcome", "done".to_owned())])
            .increment(1);
        let (info, is_cpu) = (device.info.clone(), device.is_cpu());
        // What the processor can do and a GPU cannot is left to the processor from now on.
        if is_cpu && chunk.history.gpu_crashes > 0 {
            self.gpu_crashers.add(&chunk.request);
        }
        if is_cpu && chunk.history.gpu_crashes > 1 {
            self.forgive(&chunk, now);
        }
        // Nobody listens when the client has left.
        let _ = chunk.reply.send(Ok(ChunkDone {
            segments,
            languages,
            device: info.id,
            backend: info.backend,
            model,
            fallback_reason: stands_in.map(str::to_owned).or(fallback),
            queue_time,
            inference_time: Duration::try_from_secs_f64(inference_seconds).unwrap_or_default(),
        }));
    }

    /// The engine reported an error: if that is one too many, the device is left alone.
    fn device_errs(&mut self, place: WorkerId, message: &str, now: Instant) {
        let device = &mut self.devices[place.device];
        if let Some(ending) = device.errs(place.lane, message) {
            let effect = device.failed(place.lane, &ending, false, now);
            tell_effect(&self.devices[place.device], effect, &ending);
        }
    }

    fn worker_ended(&mut self, id: WorkerId, ending: &Ending, now: Instant) {
        let device = &mut self.devices[id.device];
        let shared = device.is_shared(id.lane);
        let lane = &mut device.lanes[id.lane];
        let while_starting = lane.is_starting();
        let (reserved, shape) = (lane.reserved_bytes(), lane.shape());
        let ended = lane.ended(ending, shared, now);
        device.reclaim(reserved);
        let Some(running) = ended else { return };
        let lane = &device.lanes[id.lane];
        let model = lane.model.name.clone();
        tracing::warn!(device.id = %device.info.id, model, reason = %ending.kind, "{}", ending.detail);
        counter!(
            names::WORKER_FAILURES,
            "device" => device.info.id.to_string(),
            "model" => model.clone(),
            "reason" => ending.kind.as_str()
        )
        .increment(1);
        if let Some(next) = lane.next_shape().filter(|next| *next != shape) {
            let detail = format!("{} slots of {}", next.slots, next.name(&lane.model));
            tracing::warn!(device.id = %device.info.id, model, "short of memory: going on with {detail}");
            device.journal.note(EventKind::Squeezed, Some(&model), ending.kind.as_str(), detail);
        }
        let effect = device.failed(id.lane, ending, while_starting, now);
        tell_effect(device, effect, ending);
        if let Some(advice) = device.advice(&self.settings, now) {
            tracing::warn!(device.id = %device.info.id, "{advice}");
        }
        let attempt = self.attempt(id, running.len() == 1);
        for running in running {
            let mut chunk = running.chunk;
            if effect != Effect::None {
                chunk.opened.push(id.device);
            }
            let verdict = chunk.history.after_end(ending.kind, attempt);
            self.lose(id.device, now.duration_since(running.started));
            self.settle(id, chunk, verdict, ending.kind.as_str(), &ending.detail, now);
        }
    }

    fn attempt(&self, place: WorkerId, alone: bool) -> Attempt {
        Attempt { device: place.device, is_cpu: self.devices[place.device].is_cpu(), alone }
    }

    pub(super) fn lose(&mut self, device: usize, time: Duration) {
        let device = &mut self.devices[device];
        device.journal.lose(time);
        gauge!(names::LOST_SECONDS, "device" => device.info.id.to_string())
            .set(device.journal.seconds_lost);
    }

    /// Takes back what devices are suffering because of a chunk.
    fn forgive(&mut self, chunk: &Chunk, now: Instant) {
        for device in &chunk.opened {
            self.devices[*device].forgive(now);
        }
    }

    /// Queues a chunk again or gives it up.
    fn settle(
        &mut self,
        place: WorkerId,
        mut chunk: Chunk,
        verdict: Verdict,
        kind: &'static str,
        reason: &str,
        now: Instant,
    ) {
        let device = self.devices[place.device].info.id.to_string();
        if verdict == Verdict::Retry {
            counter!(names::RETRIES, "device" => device, "reason" => kind).increment(1);
            chunk.failed = Some((place.device, now));
            self.queue.put_back(chunk.job, chunk.seconds(), chunk);
            return;
        }
        let is_to_blame = verdict == Verdict::Quarantine || kind == EndKind::Stalled.as_str();
        if is_to_blame {
            self.forgive(&chunk, now);
        }
        let outcome = if verdict == Verdict::Quarantine { "quarantined" } else { "failed" };
        counter!(names::CHUNKS, "device" => device, "model" => chunk.request.model.clone(),
                 "outcome" => outcome)
        .increment(1);
        if verdict == Verdict::Quarantine {
            tracing::warn!("a chunk crashed two workers; it is refused from now on");
            self.quarantine.add(&chunk.request);
            let _ = chunk.reply.send(Err(ChunkError::Quarantined));
        } else {
            let _ = chunk.reply.send(Err(ChunkError::Failed { reason: reason.to_owned() }));
        }
    }
}

/// Tells what a failure did to the device.
fn tell_effect(device: &Device, effect: Effect, ending: &Ending) {
    if effect == Effect::ProbeFailed {
        counter!(names::PROBE_FAILURES, "device" => device.info.id.to_string()).increment(1);
    }
    if effect != Effect::None {
        tracing::warn!(device.id = %device.info.id, reason = %ending.kind, "the device is left alone for a while");
    }
}
