//! What the scheduler tells about itself.

use std::time::SystemTime;

use crate::device::DeviceInfo;

/// The state of everything at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every device of the plan.
    pub devices: Vec<DeviceStatus>,
    /// Chunks that wait.
    pub queued_chunks: usize,
    /// Seconds of audio that wait or run.
    pub backlog_seconds: f64,
    /// Requests that are accepted and not finished.
    pub requests: usize,
    /// Whether new requests are refused because the server is about to end.
    pub draining: bool,
}

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// What was found out about it.
    pub info: DeviceInfo,
    /// How many chunks it can run at once.
    pub slots: usize,
    /// How many it is running.
    pub busy_slots: usize,
    /// Its models.
    pub models: Vec<ModelStatus>,
}

/// One model on one device, which is one worker.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    /// The model's name.
    pub name: String,
    /// Whether it can be used.
    pub state: ModelState,
    /// Whether it knows more than English; unknown until it was loaded once.
    pub multilingual: Option<bool>,
    /// The memory of its worker after loading, in bytes.
    pub resident_bytes: Option<u64>,
    /// Seconds of reading the model.
    pub load_seconds: Option<f64>,
    /// Seconds of audio that a slot does in a second, as measured.
    pub speed: Option<f64>,
    /// Workers started so far.
    pub workers_started: u64,
    /// Chunks finished.
    pub chunks: u64,
    /// Seconds of audio in them.
    pub audio_seconds: f64,
    /// How the last worker that ended badly did, in a class and in words, and when.
    pub last_failure: Option<(String, String, SystemTime)>,
}

/// Whether a model can be used on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// A worker is loading it.
    Starting,
    /// Loaded and warmed up.
    Ready,
    /// Its worker ended; another is started soon.
    Restarting,
    /// It cannot be loaded; `last_failure` says why. It is tried again from time to time.
    Unavailable,
}

impl ModelState {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Snapshot {
    /// Whether some device can run `model` now.
    pub fn is_ready(&self, model: &str) -> bool {
        self.models(model).any(|status| status.state == ModelState::Ready)
    }

    /// The model's state on every device that is to run it.
    pub fn models<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a ModelStatus> {
        self.devices
            .iter()
            .flat_map(|device| &device.models)
            .filter(move |status| status.name == model)
    }
}
