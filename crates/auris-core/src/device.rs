//! Devices: what can run a model, and what is known about it.
//!
//! Plain data, shared by the server and its workers. `auris_scheduler::supervisor` detects devices;
//! `auris_scheduler` tracks what they are doing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of engine program that drives a device.
///
/// Ordered by preference: the first that works is used.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Backend {
    /// NVIDIA GPUs, by the program `auris-worker-cuda`.
    Cuda,
    /// The host's CPU, by the program `auris-worker`.
    Cpu,
}

/// A device's name in this installation: `cpu`, or a backend and an index such as `cuda:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// The host's CPU. There is one.
    pub fn cpu() -> Self {
        Self("cpu".to_owned())
    }

    /// The device of `backend` that its engine lists at `index`, counted from 0.
    pub fn indexed(backend: Backend, index: u32) -> Self {
        Self(format!("{backend}:{index}"))
    }

    /// The id as written in headers and logs.
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
    pub name: String,
    /// All of its memory, in bytes.
    pub memory_total_bytes: u64,
    /// The memory that was free at detection, in bytes.
    pub memory_free_bytes: u64,
    /// Its index in the engine's own list; `None` for the host's CPU.
    pub index: Option<u32>,
    /// An identifier that stays the same when devices are added or hidden, such as
    /// `GPU-5c89d5ab-…`; `None` if there is none.
    pub uuid: Option<String>,
    /// The CUDA architecture, such as `8.6`; `None` if it is not a CUDA device.
    pub compute_capability: Option<String>,
}
