//! Vocabulary of devices: what can run a model, and what is known about it.
//!
//! Plain data, shared by the server and its workers. How a device is found is
//! in `supervisor`, what it is doing in `scheduler`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of engine program that drives a device.
///
/// The order is the order of preference: the first that works is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// NVIDIA GPUs, by the program `auris-cuda`.
    Cuda,
    /// The host's processor, by this program itself.
    Cpu,
}

impl Backend {
    /// The name used in ids, headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A device's name in this installation: `cpu`, or a backend and an index such as `cuda:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// The host's processor. There is one.
    pub fn cpu() -> Self {
        Self("cpu".to_owned())
    }

    /// The device of `backend` that its engine lists at `index`, counted from 0.
    pub fn indexed(backend: Backend, index: u32) -> Self {
        Self(format!("{backend}:{index}"))
    }

    /// The id as it stands in headers and logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an engine reports about a device that it can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its name in this installation.
    pub id: DeviceId,
    /// The engine that drives it.
    pub backend: Backend,
    /// The name that the driver or the processor gives itself.
    pub name: String,
    /// All of its memory, in bytes.
    pub memory_total_bytes: u64,
    /// The memory that was free when it was asked, in bytes.
    pub memory_free_bytes: u64,
    /// Its index in the engine's own list; `None` is the host's processor.
    pub index: Option<u32>,
    /// The name that stays the same when devices are added or hidden, such as
    /// `GPU-5c89d5ab-…`; `None` where there is none.
    pub uuid: Option<String>,
    /// The CUDA architecture, such as `8.6`; `None` for what is no CUDA device.
    pub compute_capability: Option<String>,
}
