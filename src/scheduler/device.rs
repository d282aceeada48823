//! A device in use: its slots, and a lane for each of its models.

use super::lane::{Chunk, Lane};
use super::placement::{self, Candidate};
use super::snapshot::DeviceStatus;
use crate::device::DeviceInfo;
use crate::supervisor::WorkerProgram;

/// See the module.
pub(super) struct Device {
    pub(super) info: DeviceInfo,
    pub(super) program: WorkerProgram,
    pub(super) slots: usize,
    pub(super) lanes: Vec<Lane>,
}

impl Device {
    /// How many chunks run here.
    pub(super) fn busy_slots(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running.len()).sum()
    }

    /// Whether some chunk could start here now.
    pub(super) fn has_room(&self) -> bool {
        self.busy_slots() < self.slots && self.lanes.iter().any(Lane::is_ready)
    }

    pub(super) fn status(&self) -> DeviceStatus {
        DeviceStatus {
            info: self.info.clone(),
            slots: self.slots,
            busy_slots: self.busy_slots(),
            models: self.lanes.iter().map(Lane::status).collect(),
        }
    }
}

/// The device and lane to run `chunk` on now.
pub(super) fn find_place(devices: &[Device], chunk: &Chunk) -> Option<(usize, usize)> {
    let candidate = |(index, device): (usize, &Device)| {
        let of_model = |lane: &Lane| lane.model == chunk.request.model;
        let lane_index = device.lanes.iter().position(of_model)?;
        let lane = &device.lanes[lane_index];
        let free = device.busy_slots() < device.slots && lane.may_join(chunk);
        let waits = device.lanes.iter().filter_map(Lane::first_free_seconds);
        Some(Candidate {
            place: (index, lane_index),
            ready: lane.is_ready(),
            free,
            wait_seconds: if free { 0.0 } else { waits.reduce(f64::min).unwrap_or(0.0) },
            speed: lane.speed(),
        })
    };
    let candidates: Vec<Candidate> = devices.iter().enumerate().filter_map(candidate).collect();
    placement::place(&candidates, chunk.seconds())
}
