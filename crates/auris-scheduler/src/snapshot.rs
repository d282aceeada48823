//! The scheduler's report about itself.

use std::time::{Instant, SystemTime};

use super::breaker::{Breaker, Phase};
use super::device::Device;
use super::event_log::EventLog;
use super::plan::{Settings, UnusedBackend};
use crate::supervisor::ExitKind;
use auris_core::device::DeviceInfo;

/// The state of everything at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every device in use.
    pub devices: Vec<DeviceStatus>,
    /// Kinds of devices that are not used.
    pub unused: Vec<UnusedBackend>,
    /// The number of waiting chunks.
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

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// What detection found out about it.
    pub info: DeviceInfo,
    /// The number of chunks that it can run at once.
    pub slots: usize,
    /// The number of chunks that it is running.
    pub busy_slots: usize,
    /// Whether it may be used.
    pub breaker: BreakerStatus,
    /// The driver's utilisation, from 0 to 100.
    pub utilisation_percent: Option<u8>,
    /// Its free memory as far as known, in bytes; `None` for the CPU.
    pub memory_free_bytes: Option<u64>,
    /// Its memory that is reserved for workers, in bytes; `None` for the CPU.
    pub memory_reserved_bytes: Option<u64>,
    /// What to change so that it runs out of memory less often.
    pub advice: Option<String>,
    /// What happened to it.
    pub event_log: EventLog,
    /// Its models.
    pub models: Vec<ModelStatus>,
}

/// Whether a device may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakerStatus {
    /// The device is used.
    Closed,
    /// The device failed and is left alone for a while.
    Open {
        /// Seconds until it is tried again.
        retry_in_seconds: f64,
        /// Why, in a word.
        reason: &'static str,
    },
    /// The device failed and is being tried again.
    HalfOpen {
        /// Why it failed, in a word.
        reason: &'static str,
    },
}

impl BreakerStatus {
    /// The name in API responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

impl Device {
    pub(super) fn status(&self, settings: &Settings, now: Instant) -> DeviceStatus {
        let cause = self.breaker().and_then(Breaker::cause);
        let reason = cause.map_or("unknown", ExitKind::as_str);
        let breaker = match self.breaker().map(Breaker::phase) {
            None | Some(Phase::Closed) => BreakerStatus::Closed,
            Some(Phase::Open { until }) => BreakerStatus::Open {
                retry_in_seconds: until.saturating_duration_since(now).as_secs_f64(),
                reason,
            },
            Some(Phase::Probing | Phase::Trial) => BreakerStatus::HalfOpen { reason },
        };
        let memory = self.memory();
        DeviceStatus {
            info: self.info.clone(),
            slots: self.slots,
            busy_slots: self.busy_slots(),
            breaker,
            utilisation_percent: self.utilisation,
            memory_free_bytes: memory.map(|(free, _)| free),
            memory_reserved_bytes: memory.map(|(_, reserved)| reserved),
            advice: self.advice(settings, now),
            event_log: self.event_log.clone(),
            models: self.instances.iter().map(|instance| instance.status(now)).collect(),
        }
    }
}

/// A model on a device, with its worker.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    /// The model's name.
    pub name: String,
    /// What is loaded for it: the model itself, or a smaller variant; `None` if nothing is loaded.
    pub loaded: Option<String>,
    /// The number of chunks that its worker runs at once; 0 without a worker.
    pub slots: usize,
    /// Whether it can be used.
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
    /// Workers started so far.
    pub workers_started: u64,
    /// Finished chunks.
    pub chunks: u64,
    /// Seconds of audio in them.
    pub audio_seconds: f64,
    /// The class, description and time of its last worker failure.
    pub last_failure: Option<(String, String, SystemTime)>,
}

/// Whether a model can be used on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// It cannot be loaded; `last_failure` says why. Loading is retried from time to time.
    Unavailable,
}

impl ModelState {
    /// The name in API responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Unloaded => "unloaded",
            Self::NoRoom => "no-room",
            Self::Unavailable => "unavailable",
        }
    }
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
