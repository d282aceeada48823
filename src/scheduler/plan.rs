//! What the scheduler is given: devices, and the models that each is to run.

use std::path::PathBuf;
use std::time::Duration;

use super::admission::Capacity;
use super::memory::MemoryNeed;
use crate::device::{Backend, DeviceInfo};
use crate::supervisor::{StartLimits, WorkerProgram};

/// A device that is to be used.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// What was found out about it.
    pub info: DeviceInfo,
    /// The program that drives it.
    pub program: WorkerProgram,
    /// The most chunks that it runs at once, over all models.
    pub slots: usize,
    /// How many threads each chunk uses.
    pub threads: usize,
    /// Whether its models are loaded before anybody asks for them.
    pub warm: bool,
}

impl DevicePlan {
    /// Whether this is the processor, which is the last resort and never closed off.
    pub fn is_cpu(&self) -> bool {
        self.info.backend == Backend::Cpu
    }
}

/// A model as a device may load it.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The memory that it takes.
    pub need: MemoryNeed,
    /// Whether whole windows of 30 s are encoded also for short audio.
    pub whole_windows: bool,
    /// Quantised variants of it, the largest first.
    pub variants: Vec<Variant>,
}

/// A quantised variant of a model.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Its file, if it is installed.
    pub file: Option<PathBuf>,
    /// The memory that it takes.
    pub need: MemoryNeed,
}

/// A kind of device that should be used and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedBackend {
    /// The kind.
    pub backend: Backend,
    /// The reason in a word, if chunks that run elsewhere do so because of it; `None` where it is
    /// by choice.
    pub cause: Option<String>,
    /// The reason, and what to do about it.
    pub detail: String,
}

/// What can be configured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How much may wait.
    pub capacity: Capacity,
    /// How long a start may take.
    pub start: StartLimits,
    /// The least time without progress after which a running chunk's worker is ended. A model
    /// that was slow to warm up gets more.
    pub stall: Duration,
    /// A worker is replaced after so many chunks, once it is idle; at twice as many in any case.
    pub recycle_after: u64,
    /// A model that nobody has used for so long is unloaded; `None` is never.
    pub unload_after: Option<Duration>,
    /// Whether a smaller variant may stand in for a model that a GPU has no memory for.
    pub swap_variants: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: Capacity::default(),
            start: StartLimits::default(),
            stall: Duration::from_secs(60),
            recycle_after: 1_000,
            unload_after: None,
            swap_variants: false,
        }
    }
}
