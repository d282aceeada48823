//! Assigns chunks to instances, and fails those that cannot run at all.

use std::time::Instant;

use metrics::{counter, gauge, histogram};

use super::ChunkError;
use super::breaker::Breaker;
use super::device::ManagedDevice;
#[cfg(test)]
use super::placement;
use super::placement::{Board, Candidate, Offer};
use super::queue::FairQueue;
use super::reason::FallbackReason;
use super::running::ScheduledChunk;
use super::state::SchedulerState;
use auris_core::device::Backend;
use auris_core::metrics as names;

/// The better device that a chunk does not run on, by position in the plan or by kind, and why.
struct Fallback {
    device: Option<usize>,
    from: String,
    reason: FallbackReason,
}

impl SchedulerState {
    /// Fails the chunks that no device can run.
    pub(super) fn refuse_unrecoverable(&mut self, now: Instant) {
        let devices = &self.devices;
        let unrecoverable = |chunk: &ScheduledChunk| unrecoverable(devices, chunk, now);
        for chunk in self.queue.drain_where(|chunk| unrecoverable(chunk).is_some()) {
            let reason = unrecoverable(&chunk).unwrap_or_default();
            let model = chunk.request.model;
            let _ = chunk.reply.send(Err(ChunkError::Unavailable { model, reason }));
        }
    }

    /// Starts every chunk that should run now. Returns whether workers must be started for others.
    pub(super) fn place_chunks(&mut self, now: Instant) -> bool {
        let mut wakes: Vec<(usize, usize)> = Vec::new();
        while self.devices.iter().any(ManagedDevice::has_free_place) {
            wakes.clear();
            let reserved = self.reserved_places(now);
            let devices = &self.devices;
            let mut board = board(devices, now);
            #[cfg(test)]
            let by_load = self.by_load;
            let popped = self.queue.pop(|chunk| {
                let mut candidates = candidates(devices, chunk, now);
                if !chunk.history.must_run_alone() {
                    candidates.retain(|candidate| !reserved.contains(&candidate.place));
                }
                #[cfg(test)]
                if by_load {
                    return placement::least_loaded(&candidates, &board);
                }
                match board.offer(&candidates) {
                    Offer::Run(place) => return Some(place),
                    Offer::Wait(place) => wakes.extend(place),
                }
                None
            });
            let Some((chunk, place)) = popped else { break };
            self.run_chunk(chunk, place, now);
        }
        let woke = self.wake(&wakes, now);
        self.make_room(now);
        self.update_gauges();
        woke
    }

    /// The instances of the next chunks that must run alone. They take no other chunks and drain:
    /// such a chunk would wait for ever if others kept joining.
    fn reserved_places(&self, now: Instant) -> Vec<(usize, usize)> {
        let mut alone =
            self.queue.fronts().filter(|chunk| chunk.history.must_run_alone()).peekable();
        if alone.peek().is_none() {
            return Vec::new();
        }
        let mut board = board(&self.devices, now);
        let place = |chunk| match board.offer(&candidates(&self.devices, chunk, now)) {
            Offer::Run(place) => Some(place),
            Offer::Wait(place) => place,
        };
        alone.filter_map(place).collect()
    }

    fn wake(&mut self, places: &[(usize, usize)], now: Instant) -> bool {
        let mut woke = false;
        for (device, instance) in places {
            let instance = &mut self.devices[*device].instances[*instance];
            woke |= instance.is_off();
            instance.wake(now);
        }
        woke
    }

    /// Unloads idle models from GPUs to make room for models that chunks wait for or would have
    /// used.
    fn make_room(&mut self, now: Instant) {
        let short_of_room = std::mem::take(&mut self.short_of_room);
        let is_wanted = |model: &str| {
            self.queue.has_chunks_for(model) || short_of_room.iter().any(|other| other == model)
        };
        for device in &mut self.devices {
            device.make_room(is_wanted, now);
        }
    }

    fn update_gauges(&self) {
        gauge!(names::QUEUED_CHUNKS).set(self.queue.len() as f64);
        for device in &self.devices {
            let label = [("device", device.info.id.to_string())];
            gauge!(names::BUSY_SLOTS, &label).set(device.busy_slots() as f64);
            let used = device.usable_slots() > 0;
            gauge!(names::DEVICE_USED, &label).set(f64::from(u8::from(used)));
            if let Some((free, _)) = device.memory() {
                gauge!(names::DEVICE_FREE_BYTES, &label).set(free as f64);
            }
            for instance in &device.instances {
                let model = instance.model.name.clone();
                let labels = [("device", device.info.id.to_string()), ("model", model)];
                gauge!(names::WORKER_BYTES, &labels).set(instance.resident_bytes() as f64);
            }
        }
    }

    fn run_chunk(
        &mut self,
        mut chunk: ScheduledChunk,
        (device, instance): (usize, usize),
        now: Instant,
    ) {
        let fallback = self.fallback(&chunk, device);
        let failed = chunk.failed.take();
        if let Some((failed_on, at)) = failed {
            let delay = now.duration_since(at);
            self.add_lost_time(failed_on, delay);
            histogram!(names::RETRY_DELAY_SECONDS).record(delay.as_secs_f64());
        }
        let target = &self.devices[device];
        tracing::debug!(
            device.id = %target.info.id,
            model = chunk.request.model,
            audio_seconds = chunk.seconds(),
            active = target.busy_slots() + 1,
            max = target.usable_slots(),
            utilisation_percent = target.utilisation,
            memory_free_bytes = target.memory().map(|(free, _)| free),
            "chunk placed"
        );
        if let Some(fallback) = &fallback {
            self.log_fallback(fallback, &chunk, (device, instance));
            tracing::debug!(
                delay_ms = failed.map(|(_, at)| now.duration_since(at).as_millis() as u64),
                "time from the failure to the next attempt"
            );
        }
        let reason = fallback.map(|fallback| fallback.reason);
        if reason == Some(FallbackReason::NoRoom) {
            self.short_of_room.push(chunk.request.model.clone());
        }
        self.devices[device].instances[instance].run(chunk, reason, now);
    }

    /// The better device that `chunk` does not use if it runs on `device`.
    fn fallback(&self, chunk: &ScheduledChunk, device: usize) -> Option<Fallback> {
        if let Some((failed_on, reason)) = chunk.history.first_failure {
            let from = self.devices[failed_on].info.id.to_string();
            return Some(Fallback { device: Some(failed_on), from, reason });
        }
        if !self.devices[device].is_cpu() {
            return None;
        }
        if chunk.crashed_gpu_before {
            let (from, reason) = (Backend::Cuda.to_string(), FallbackReason::CrashedBefore);
            return Some(Fallback { device: None, from, reason });
        }
        let mut first = None;
        let gpus = self.devices.iter().enumerate().filter(|(_, device)| !device.is_cpu());
        for (index, device) in gpus {
            let Some(instance) = device.instance_of(&chunk.request.model) else { continue };
            // If it takes chunks, this one runs here because it finishes earlier.
            let reason = device.unavailable_reason(instance)?;
            let from = || device.info.id.to_string();
            first = first.or_else(|| Some(Fallback { device: Some(index), from: from(), reason }));
        }
        first.or_else(|| {
            self.unused.iter().find_map(|unused| {
                let (from, reason) = (unused.backend.to_string(), unused.cause?);
                Some(Fallback { device: None, from, reason })
            })
        })
    }

    fn log_fallback(&mut self, fallback: &Fallback, chunk: &ScheduledChunk, place: (usize, usize)) {
        let Fallback { device: from, reason, .. } = fallback;
        let reason_name: &'static str = reason.into();
        let target = &self.devices[place.0];
        let speed = target.instances[place.1].speed.measured();
        let usual = from.and_then(|index| {
            let device = &self.devices[index];
            device.instances[device.instance_of(&chunk.request.model)?].speed.measured()
        });
        // How many times slower than usual this is, as measured.
        let penalty = usual.zip(speed).map(|(usual, speed)| usual / speed.max(1e-3));
        tracing::info!(
            from = fallback.from,
            device.id = %target.info.id,
            model = chunk.request.model,
            reason = reason_name,
            active = target.busy_slots() + 1,
            max = target.usable_slots(),
            utilisation_percent = target.utilisation,
            memory_free_bytes = target.memory().map(|(free, _)| free),
            penalty,
            "chunk runs on another device or again"
        );
        if *from == Some(place.0) {
            return; // a retry, but on the same device
        }
        counter!(names::FALLBACKS, "device" => fallback.from.clone(), "reason" => reason_name)
            .increment(1);
        if let Some(index) = from {
            *self.devices[*index].event_log.fallbacks.entry(*reason).or_default() += 1;
        }
    }
}

impl FairQueue<ScheduledChunk> {
    pub(super) fn has_chunks_for(&self, model: &str) -> bool {
        self.fronts().any(|chunk| chunk.request.model == model)
    }
}

impl ManagedDevice {
    /// Why an instance takes no chunk now; `None` if it takes one.
    pub(super) fn unavailable_reason(&self, instance: usize) -> Option<FallbackReason> {
        let instance = &self.instances[instance];
        if let Some(cause) = self.breaker().and_then(Breaker::cause) {
            Some(FallbackReason::Exit(cause))
        } else if instance.is_ready() {
            None
        } else if instance.has_no_room() {
            Some(FallbackReason::NoRoom)
        } else if instance.is_off() {
            Some(FallbackReason::Unloaded)
        } else {
            Some(instance.last_end.map_or(FallbackReason::Starting, FallbackReason::Exit))
        }
    }

    /// Whether a chunk might start here, or cause a model to load.
    pub(super) fn has_free_place(&self) -> bool {
        let free = self.busy_slots() < self.usable_slots();
        self.instances.iter().any(|instance| instance.is_off() || free && instance.is_ready())
    }
}

/// When each device's slots are free.
fn board(devices: &[ManagedDevice], now: Instant) -> Board {
    Board::new(devices.iter().map(|device| device.slot_times(now)).collect())
}

/// Where `chunk` could run.
fn candidates(devices: &[ManagedDevice], chunk: &ScheduledChunk, now: Instant) -> Vec<Candidate> {
    let candidate = |(index, device): (usize, &ManagedDevice)| {
        let instance_index = device.instance_of(&chunk.request.model)?;
        let instance = &device.instances[instance_index];
        if !chunk.history.allows(index, device.is_cpu(), instance.variants()) {
            return None;
        }
        Some(Candidate {
            place: (index, instance_index),
            ready: instance.may_run(chunk),
            wait_seconds: instance.wait_seconds(chunk, now)?,
            slots: instance.worker_size.slots,
            takes_seconds: instance.speed.seconds(chunk.cost_seconds(), now),
            busy: device.busy_slots() as f64 / device.slots.max(1) as f64,
            utilisation: device.utilisation,
        })
    };
    devices.iter().enumerate().filter_map(candidate).collect()
}

/// Why no device will ever run `chunk`; `None` if one may.
fn unrecoverable(
    devices: &[ManagedDevice],
    chunk: &ScheduledChunk,
    now: Instant,
) -> Option<String> {
    let mut reason = None;
    // Report the CPU's reason: it is the last resort.
    let (cpus, gpus): (Vec<_>, Vec<_>) =
        devices.iter().enumerate().partition(|(_, device)| device.is_cpu());
    for (index, device) in cpus.into_iter().chain(gpus) {
        let Some(instance) = device.instance_of(&chunk.request.model) else { continue };
        let variants = device.instances[instance].variants();
        if !chunk.history.allows(index, device.is_cpu(), variants) {
            continue;
        }
        reason = reason.or(Some(device.unrecoverable(instance, now)?));
    }
    reason
}
