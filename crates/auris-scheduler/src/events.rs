//! Handles the workers' events and their effect on chunks.

use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use super::breaker::Effect;
use super::device::ManagedDevice;
use super::event_log::EventKind;
use super::instance::WorkerId;
use super::reason::{EventReason, FallbackReason};
use super::retry::{ChunkAttempt, RetryDecision};
use super::running::{RunningChunk, ScheduledChunk};
use super::state::SchedulerState;
use super::{ChunkDone, ChunkError};
use crate::supervisor::{ExitKind, WorkerEvent, WorkerExit};
use auris_core::ipc::{Event, FailureKind, LoadReport, Work, WorkerStats};
use auris_core::metrics as names;

impl SchedulerState {
    /// Handles an event. Returns whether something may have become possible because of it.
    pub(super) fn on_event(&mut self, id: WorkerId, event: WorkerEvent, now: Instant) -> bool {
        if !self.devices[id.device].instances[id.instance].is_current(id.worker) {
            return false;
        }
        match event {
            WorkerEvent::Loaded(report) => {
                self.worker_loaded(id, report, now);
                true
            }
            WorkerEvent::Chunk(event) => self.on_chunk_event(id, event, now),
            WorkerEvent::Ended(exit) => {
                self.worker_ended(id, &exit, now);
                true
            }
        }
    }

    fn worker_loaded(&mut self, id: WorkerId, report: LoadReport, now: Instant) {
        let device = &mut self.devices[id.device];
        let instance = &mut device.instances[id.instance];
        tracing::info!(
            device.id = %device.info.id,
            model = instance.worker_size.name(&instance.model),
            slots = instance.worker_size.slots,
            load_ms = (report.load_seconds * 1e3) as u64,
            warm_up_ms = (report.warm_up_seconds * 1e3) as u64,
            device_bytes = report.device_bytes,
            "model ready"
        );
        device.loaded(id.instance, report, now);
    }

    /// Same as [`on_event`](Self::on_event).
    fn on_chunk_event(&mut self, place: WorkerId, event: Event, now: Instant) -> bool {
        let instance = &mut self.devices[place.device].instances[place.instance];
        match event {
            Event::Progress { id } => {
                instance.running.progress(id, now);
                false
            }
            Event::Segment { id, segment } => {
                if let Some(running) = instance.running.progress(id, now) {
                    running.segments.push(segment);
                }
                false
            }
            Event::Languages { id, probabilities } => {
                if let Some(running) = instance.running.progress(id, now) {
                    running.languages = probabilities;
                }
                false
            }
            Event::Done { id, inference_seconds, stats } => {
                if let Some(running) = instance.done(id, stats, now) {
                    self.chunk_done(place, running, inference_seconds, stats, now);
                }
                true
            }
            Event::Failed { id, failure } => {
                let alone = instance.running.len() == 1;
                if let Some(running) = instance.running.remove(id)
                    && failure.kind != FailureKind::Cancelled
                {
                    let kind = FallbackReason::Engine(failure.kind);
                    let mut chunk = running.chunk;
                    let attempt = self.attempt(place, alone);
                    let decision = chunk.history.after_error(failure.kind, attempt);
                    self.add_lost_time(place.device, now.duration_since(running.started));
                    self.requeue_or_fail(place, chunk, decision, kind, &failure.message, now);
                    self.record_device_error(place, &failure.message, now);
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
        running: RunningChunk,
        inference_seconds: f64,
        stats: WorkerStats,
        now: Instant,
    ) {
        let device = &mut self.devices[place.device];
        device.read(stats, now);
        if device.succeeded(place.instance, now) {
            tracing::info!(device.id = %device.info.id, "the device is used again");
            counter!(names::RETURNS, "device" => device.info.id.to_string()).increment(1);
        }
        let instance = &mut device.instances[place.instance];
        let model = instance.worker_size.name(&instance.model).to_owned();
        let labels = [("device", device.info.id.to_string()), ("model", model.clone())];
        let RunningChunk { chunk, fallback, started, segments, languages, .. } = running;
        // A detection says nothing about the speed of transcription.
        if chunk.request.work != Work::Detect {
            instance.speed.learn(chunk.seconds(), inference_seconds, now);
            histogram!(names::AUDIO_SECONDS, &labels).record(chunk.seconds());
        }
        histogram!(names::INFERENCE_SECONDS, &labels).record(inference_seconds);
        let queue_time = started.duration_since(chunk.arrived);
        histogram!(names::QUEUE_SECONDS).record(queue_time);
        let stands_in = chunk.request.stands_in.map(|reason| reason.into_str());
        if let Some(reason) = stands_in {
            counter!(names::MODEL_FALLBACKS, "model" => model.clone(), "reason" => reason)
                .increment(1);
        }
        let [device_label, model_label] = labels;
        counter!(names::CHUNKS, &[device_label, model_label, ("outcome", "done".to_owned())])
            .increment(1);
        let (info, is_cpu) = (device.info.clone(), device.is_cpu());
        // From now on, leave to the CPU what a GPU cannot do and the CPU can.
        if is_cpu && chunk.history.gpu_crashes > 0 {
            self.gpu_crashers.add(&chunk.request);
        }
        if is_cpu && chunk.history.gpu_crashes > 1 {
            self.forgive(&chunk, now);
        }
        // The receiver is gone if the client has left.
        let _ = chunk.reply.send(Ok(ChunkDone {
            segments,
            languages,
            device: info.id,
            backend: info.backend,
            model,
            fallback_reason: stands_in
                .map(str::to_owned)
                .or(fallback.map(|reason| reason.to_string())),
            queue_time,
            inference_time: Duration::try_from_secs_f64(inference_seconds).unwrap_or_default(),
        }));
    }

    /// Handles an error reported by the engine. After too many errors, the device is left alone.
    fn record_device_error(&mut self, place: WorkerId, message: &str, now: Instant) {
        let device = &mut self.devices[place.device];
        if let Some(exit) = device.record_error(place.instance, message) {
            let effect = device.failed(place.instance, &exit, false, now);
            log_effect(&self.devices[place.device], effect, &exit);
        }
    }

    fn worker_ended(&mut self, id: WorkerId, exit: &WorkerExit, now: Instant) {
        let device = &mut self.devices[id.device];
        let shared = device.is_shared(id.instance);
        let instance = &mut device.instances[id.instance];
        let while_starting = instance.is_starting();
        let (reserved, worker_size) = (instance.reserved_bytes(), instance.worker_size);
        let ended = instance.ended(exit, shared, now);
        device.reclaim(reserved);
        let Some(running) = ended else { return };
        let instance = &device.instances[id.instance];
        let model = instance.model.name.clone();
        tracing::warn!(device.id = %device.info.id, model, reason = %exit.kind, "{}", exit.detail);
        counter!(
            names::WORKER_FAILURES,
            "device" => device.info.id.to_string(),
            "model" => model.clone(),
            "reason" => exit.kind.into_str()
        )
        .increment(1);
        if let Some(next) = instance.next_worker_size().filter(|next| *next != worker_size) {
            let detail = format!("{} slots of {}", next.slots, next.name(&instance.model));
            tracing::warn!(device.id = %device.info.id, model, "short of memory: continuing with {detail}");
            device.event_log.record(
                EventKind::Shrunk,
                Some(&model),
                EventReason::Exit(exit.kind),
                detail,
            );
        }
        let effect = device.failed(id.instance, exit, while_starting, now);
        log_effect(device, effect, exit);
        if let Some(advice) = device.advice(&self.settings, now) {
            tracing::warn!(device.id = %device.info.id, "{advice}");
        }
        let attempt = self.attempt(id, running.len() == 1);
        for running in running {
            let mut chunk = running.chunk;
            if effect != Effect::None {
                chunk.opened.push(id.device);
            }
            let decision = chunk.history.after_end(exit.kind, attempt);
            self.add_lost_time(id.device, now.duration_since(running.started));
            self.requeue_or_fail(
                id,
                chunk,
                decision,
                FallbackReason::Exit(exit.kind),
                &exit.detail,
                now,
            );
        }
    }

    fn attempt(&self, place: WorkerId, alone: bool) -> ChunkAttempt {
        ChunkAttempt { device: place.device, is_cpu: self.devices[place.device].is_cpu(), alone }
    }

    pub(super) fn add_lost_time(&mut self, device: usize, time: Duration) {
        let device = &mut self.devices[device];
        device.event_log.add_lost_time(time);
        gauge!(names::LOST_SECONDS, "device" => device.info.id.to_string())
            .set(device.event_log.seconds_lost);
    }

    /// Undoes the consequences for devices that a chunk caused.
    fn forgive(&mut self, chunk: &ScheduledChunk, now: Instant) {
        for device in &chunk.opened {
            self.devices[*device].forgive(now);
        }
    }

    /// Requeues a chunk or fails it.
    fn requeue_or_fail(
        &mut self,
        place: WorkerId,
        mut chunk: ScheduledChunk,
        decision: RetryDecision,
        kind: FallbackReason,
        detail: &str,
        now: Instant,
    ) {
        let device = self.devices[place.device].info.id.to_string();
        if decision == RetryDecision::Retry {
            counter!(names::RETRIES, "device" => device, "reason" => kind.to_string()).increment(1);
            chunk.failed = Some((place.device, now));
            self.queue.put_back(chunk.request_id, chunk.seconds(), chunk);
            return;
        }
        let is_to_blame = decision == RetryDecision::Quarantine
            || kind == FallbackReason::Exit(ExitKind::Stalled);
        if is_to_blame {
            self.forgive(&chunk, now);
        }
        let outcome = if decision == RetryDecision::Quarantine { "quarantined" } else { "failed" };
        counter!(names::CHUNKS, "device" => device, "model" => chunk.request.model.clone(),
                 "outcome" => outcome)
        .increment(1);
        if decision == RetryDecision::Quarantine {
            tracing::warn!("a chunk crashed two workers; it is refused from now on");
            self.quarantine.add(&chunk.request);
            let _ = chunk.reply.send(Err(ChunkError::Quarantined));
        } else {
            let _ = chunk.reply.send(Err(ChunkError::Failed { reason: detail.to_owned() }));
        }
    }
}

/// Logs what a failure did to the device.
fn log_effect(device: &ManagedDevice, effect: Effect, exit: &WorkerExit) {
    if effect == Effect::ProbeFailed {
        counter!(names::PROBE_FAILURES, "device" => device.info.id.to_string()).increment(1);
    }
    if effect != Effect::None {
        tracing::warn!(device.id = %device.info.id, reason = %exit.kind, "the device is left alone for a while");
    }
}
