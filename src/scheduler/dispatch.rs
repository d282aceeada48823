//! What runs where, and what cannot run at all.

use std::time::Instant;

use metrics::{counter, gauge, histogram};

use super::ChunkError;
use super::device::{Device, NO_ROOM};
#[cfg(test)]
use super::placement;
use super::placement::{Board, Candidate, Offer};
use super::queue::Queue;
use super::running::Chunk;
use super::state::State;
use crate::device::Backend;
use crate::metrics as names;

/// A better device that a chunk does not run on, by its place in the plan or its kind, and why.
struct Fallback {
    device: Option<usize>,
    from: String,
    reason: String,
}

impl State {
    /// Answers the chunks that no device can run.
    pub(super) fn refuse_the_hopeless(&mut self, now: Instant) {
        let devices = &self.devices;
        let hopeless = |chunk: &Chunk| hopeless(devices, chunk, now);
        for chunk in self.queue.drain_where(|chunk| hopeless(chunk).is_some()) {
            let reason = hopeless(&chunk).unwrap_or_default();
            let model = chunk.request.model;
            let _ = chunk.reply.send(Err(ChunkError::Unavailable { model, reason }));
        }
    }

    /// Runs every chunk that should run now. Returns whether workers are to be started for others.
    pub(super) fn place_chunks(&mut self, now: Instant) -> bool {
        let mut wakes: Vec<(usize, usize)> = Vec::new();
        while self.devices.iter().any(Device::may_have_place) {
            wakes.clear();
            let devices = &self.devices;
            let mut board = board(devices, now);
            // A chunk that must run alone would wait for ever if others kept joining; so while it
            // waits, the worker that it waits for runs empty.
            let alone = self.queue.fronts().filter(|chunk| chunk.history.must_run_alone());
            let reserve = |chunk| match board.offer(&candidates(devices, chunk, now)) {
                Offer::Run(place) => Some(place),
                Offer::Wait(place) => place,
            };
            let reserved: Vec<(usize, usize)> = alone.filter_map(reserve).collect();
            let mut board = self::board(devices, now);
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
        self.tell_gauges();
        woke
    }

    fn wake(&mut self, places: &[(usize, usize)], now: Instant) -> bool {
        let mut woke = false;
        for (device, lane) in places {
            let lane = &mut self.devices[*device].lanes[*lane];
            woke |= lane.is_off();
            lane.wake(now);
        }
        woke
    }

    /// Has GPUs give up idle models for those that chunks wait for, or would have run on.
    fn make_room(&mut self, now: Instant) {
        let mut models = self.queue.models();
        models.append(&mut self.short_of_room);
        let wanted = |model: &str| models.iter().any(|other| other == model);
        for device in &mut self.devices {
            for model in &models {
                if let Some(lane) = device.lane_of(model) {
                    device.make_room(lane, wanted, now);
                }
            }
        }
    }

    fn tell_gauges(&self) {
        gauge!(names::QUEUED_CHUNKS).set(self.queue.len() as f64);
        for device in &self.devices {
            let label = [("device", device.info.id.to_string())];
            gauge!(names::BUSY_SLOTS, &label).set(device.busy_slots() as f64);
            let used = device.usable_slots() > 0;
            gauge!(names::DEVICE_USED, &label).set(f64::from(u8::from(used)));
            if let Some((free, _)) = device.memory() {
                gauge!(names::DEVICE_FREE_BYTES, &label).set(free as f64);
            }
            for lane in &device.lanes {
                let model = lane.model.name.clone();
                let labels = [("device", device.info.id.to_string()), ("model", model)];
                gauge!(names::WORKER_BYTES, &labels).set(lane.resident_bytes() as f64);
            }
        }
    }

    fn run_chunk(&mut self, mut chunk: Chunk, (device, lane): (usize, usize), now: Instant) {
        let fallback = self.fallback(&chunk, device);
        let failed = chunk.failed.take();
        if let Some((failed_on, at)) = failed {
            let delay = now.duration_since(at);
            self.lose(failed_on, delay);
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
            self.tell_fallback(fallback, &chunk, (device, lane));
            tracing::debug!(
                delay_ms = failed.map(|(_, at)| now.duration_since(at).as_millis() as u64),
                "time from the failure to the next attempt"
            );
        }
        let reason = fallback.map(|fallback| fallback.reason);
        if reason.as_deref() == Some(NO_ROOM) {
            self.short_of_room.push(chunk.request.model.clone());
        }
        self.devices[device].lanes[lane].run(chunk, reason, now);
    }

    /// The better device that `chunk` does not run on, if it runs on `device`.
    fn fallback(&self, chunk: &Chunk, device: usize) -> Option<Fallback> {
        if let Some((failed_on, reason)) = chunk.history.first_failure {
            let from = self.devices[failed_on].info.id.to_string();
            return Some(Fallback { device: Some(failed_on), from, reason: reason.to_owned() });
        }
        if !self.devices[device].is_cpu() {
            return None;
        }
        if chunk.crashed_gpu_before {
            let (from, reason) = (Backend::Cuda.to_string(), "crashed-before".to_owned());
            return Some(Fallback { device: None, from, reason });
        }
        let mut gpus = self.devices.iter().enumerate().filter(|(_, device)| !device.is_cpu());
        let out = |(index, device): (usize, &Device)| {
            let lane = device.lane_of(&chunk.request.model)?;
            Some((index, device.info.id.to_string(), device.why_out(lane)))
        };
        let gpus: Vec<_> = gpus.by_ref().filter_map(out).collect();
        if gpus.iter().any(|(_, _, reason)| reason.is_none()) {
            return None; // it is here because it will be finished earlier
        }
        if let Some((index, from, reason)) = gpus.into_iter().next() {
            let reason = reason.unwrap_or_default().to_owned();
            return Some(Fallback { device: Some(index), from, reason });
        }
        self.unused.iter().find_map(|unused| {
            let reason = unused.cause.clone()?;
            Some(Fallback { device: None, from: unused.backend.to_string(), reason })
        })
    }

    fn tell_fallback(&mut self, fallback: &Fallback, chunk: &Chunk, place: (usize, usize)) {
        let Fallback { device: from, reason, .. } = fallback;
        let target = &self.devices[place.0];
        let speed = target.lanes[place.1].pace.measured();
        let usual = from.and_then(|index| {
            let device = &self.devices[index];
            device.lanes[device.lane_of(&chunk.request.model)?].pace.measured()
        });
        // How many times slower than usual this is, as measured.
        let penalty = usual.zip(speed).map(|(usual, speed)| usual / speed.max(1e-3));
        tracing::info!(
            from = fallback.from,
            device.id = %target.info.id,
            model = chunk.request.model,
            reason,
            active = target.busy_slots() + 1,
            max = target.usable_slots(),
            utilisation_percent = target.utilisation,
            memory_free_bytes = target.memory().map(|(free, _)| free),
            penalty,
            "chunk runs on another device or again"
        );
        if *from == Some(place.0) {
            return; // again, but not elsewhere
        }
        counter!(names::FALLBACKS, "device" => fallback.from.clone(), "reason" => reason.clone())
            .increment(1);
        if let Some(index) = from {
            self.devices[*index].journal.count_fallback(reason);
        }
    }
}

impl Queue<Chunk> {
    /// The models that chunks wait for.
    pub(super) fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self.fronts().map(|c| c.request.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }
}

impl Device {
    /// Whether some chunk might start here, or have a model loaded.
    pub(super) fn may_have_place(&self) -> bool {
        let free = self.busy_slots() < self.usable_slots();
        self.lanes.iter().any(|lane| lane.is_off() || free && lane.is_ready())
    }
}

/// When each device's slots are free.
fn board(devices: &[Device], now: Instant) -> Board {
    Board::new(devices.iter().map(|device| device.slot_times(now)).collect())
}

/// Where `chunk` could run.
fn candidates(devices: &[Device], chunk: &Chunk, now: Instant) -> Vec<Candidate> {
    let candidate = |(index, device): (usize, &Device)| {
        let lane_index = device.lane_of(&chunk.request.model)?;
        let lane = &device.lanes[lane_index];
        if !chunk.history.allows(index, device.is_cpu(), lane.variants()) {
            return None;
        }
        Some(Candidate {
            place: (index, lane_index),
            ready: lane.may_run(chunk),
            wait_seconds: lane.wait_seconds(chunk, now)?,
            slots: lane.shape().slots,
            takes_seconds: lane.pace.seconds(chunk.cost_seconds(), now),
            busy: device.busy_slots() as f64 / device.slots.max(1) as f64,
            utilisation: device.utilisation,
        })
    };
    devices.iter().enumerate().filter_map(candidate).collect()
}

/// Why no device will ever run `chunk`; `None` if one may.
fn hopeless(devices: &[Device], chunk: &Chunk, now: Instant) -> Option<String> {
    let mut reason = None;
    // The processor's reason is the one that counts.
    let (cpus, gpus): (Vec<_>, Vec<_>) =
        devices.iter().enumerate().partition(|(_, device)| device.is_cpu());
    for (index, device) in cpus.into_iter().chain(gpus) {
        let Some(lane) = device.lane_of(&chunk.request.model) else { continue };
        let variants = device.lanes[lane].variants();
        if !chunk.history.allows(index, device.is_cpu(), variants) {
            continue;
        }
        reason = reason.or(Some(device.hopeless(lane, now)?));
    }
    reason
}
