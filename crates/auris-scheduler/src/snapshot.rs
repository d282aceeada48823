//! The scheduler's report about itself.

use std::time::SystemTime;

use super::event_log::EventLog;
use super::plan::UnusedDeviceKind;
use crate::supervisor::{ExitKind, WorkerExit};
use auris_core::device::DeviceInfo;

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub devices: Vec<DeviceStatus>,
    /// Kinds of devices that are not used.
    pub unused: Vec<UnusedDeviceKind>,
    pub queued_chunks: usize,
    /// Seconds of audio that wait or run.
    pub backlog_seconds: f64,
    /// The number of requests that are accepted and not finished.
    pub requests: usize,
    /// The number of chunks that are refused because they crashed workers.
    pub quarantined_chunks: usize,
    /// Whether new requests are refused because the server is shutting down.
    pub draining: bool,
}

#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// What detection found out about it.
    pub info: DeviceInfo,
    pub slots: usize,
    pub busy_slots: usize,
    pub breaker: BreakerStatus,
    /// The driver's utilisation, from 0 to 100.
    pub utilisation_percent: Option<u8>,
    /// Its free memory as far as known, in bytes; `None` for the CPU.
    pub memory_free_bytes: Option<u64>,
    pub memory_reserved_bytes: Option<u64>,
    /// What to change so that it runs out of memory less often.
    pub advice: Option<String>,
    pub event_log: EventLog,
    pub models: Vec<ModelStatus>,
}

/// Whether a device may be used.
#[derive(Debug, Clone, Copy, PartialEq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum BreakerStatus {
    /// The device is used.
    Closed,
    /// The device failed and is left alone for a while.
    Open {
        /// Seconds until it is tried again.
        retry_in_seconds: f64,
        /// How a worker failed.
        reason: ExitKind,
    },
    /// The device failed and is being tried again.
    HalfOpen {
        /// How a worker failed.
        reason: ExitKind,
    },
}

#[derive(Debug, Clone)]
pub struct ModelStatus {
    pub name: String,
    /// What is loaded for it: the model itself, or a smaller variant; `None` if nothing is loaded.
    pub loaded: Option<String>,
    /// The number of chunks that its worker runs at once; 0 without a worker.
    pub slots: usize,
    pub state: ModelState,
    /// Whether it is multilingual; unknown until the first load.
    pub multilingual: Option<bool>,
    /// The memory of its worker after loading, in bytes.
    pub resident_bytes: Option<u64>,
    /// The device memory that its worker took, in bytes, as measured.
    pub device_bytes: Option<u64>,
    /// The device memory that its next worker is expected to take, in bytes.
    pub needed_bytes: u64,
    /// Seconds that reading the model took.
    pub load_seconds: Option<f64>,
    /// Seconds of audio that a slot transcribes per second, as measured.
    pub speed: Option<f64>,
    pub workers_started: u64,
    pub chunks: u64,
    pub audio_seconds: f64,
    /// Its last worker failure.
    pub last_failure: Option<(WorkerExit, SystemTime)>,
}

/// Whether a model can be used on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum ModelState {
    /// A worker is loading it.
    Starting,
    /// Loaded and warmed up.
    Ready,
    /// Its worker exited; another will be started soon.
    Restarting,
    /// It is not needed; the next chunk for it loads it.
    Unloaded,
    /// The device lacks the memory for it.
    NoRoom,
    /// It cannot be loaded; `last_failure` is the reason. Loading is retried from time to time.
    Unavailable,
}

impl Snapshot {
    /// Whether a device can run `model` now, or after loading it as it did before.
    pub fn is_ready(&self, model: &str) -> bool {
        self.models(model).any(|status| match status.state {
            ModelState::Ready => true,
            ModelState::Unloaded => status.load_seconds.is_some(),
            _ => false,
        })
    }

    /// The model's state on each device that should run it.
    pub fn models<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a ModelStatus> {
        self.devices
            .iter()
            .flat_map(|device| &device.models)
            .filter(move |status| status.name == model)
    }
}
