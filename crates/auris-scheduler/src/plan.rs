//! The scheduler's input: devices, and the models to run on each.

use std::path::PathBuf;
use std::time::Duration;

use super::admission::Capacity;
use super::memory::MemoryNeed;
use super::reason::FallbackReason;
use crate::supervisor::{StartLimits, WorkerProgram};
use auris_core::device::{Backend, DeviceInfo};

#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// What detection found out about it.
    pub info: DeviceInfo,
    pub program: WorkerProgram,
    /// The most chunks that it runs at once, over all models.
    pub slots: usize,
    pub threads: usize,
    /// Whether its models are loaded before the first request for them.
    pub warm: bool,
}

impl DevicePlan {
    /// Whether this is the CPU, which is the last resort and is never blocked.
    pub fn is_cpu(&self) -> bool {
        self.info.backend == Backend::Cpu
    }
}

/// A model and what a device may load for it.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    pub name: String,
    pub file: PathBuf,
    /// The memory that it takes.
    pub need: MemoryNeed,
    /// Whether short audio is encoded in whole windows of 30 s, too.
    pub whole_windows: bool,
    pub variants: Vec<Variant>,
}

#[derive(Debug, Clone)]
pub struct Variant {
    pub name: String,
    /// Its file, if it is installed.
    pub file: Option<PathBuf>,
    /// The memory that it takes.
    pub need: MemoryNeed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedDeviceKind {
    pub backend: Backend,
    /// Why, if that is why chunks run elsewhere; `None` if it is by choice.
    pub cause: Option<FallbackReason>,
    /// The reason, and how to fix it.
    pub detail: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How much work may be accepted.
    pub capacity: Capacity,
    pub start: StartLimits,
    /// The minimum time without progress after which a running chunk's worker is killed. A model
    /// that was slow to warm up gets more.
    pub stall: Duration,
    /// A worker is replaced after this many chunks once it is idle; after twice as many in any
    /// case.
    pub recycle_after: u64,
    /// Idle models are unloaded after this time; `None` is never.
    pub unload_after: Option<Duration>,
    /// Whether a smaller variant may replace a model that a GPU lacks the memory for.
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
