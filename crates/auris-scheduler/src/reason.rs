//! Why something happened, in the words of API responses, headers, metrics and logs.

use auris_core::ipc::FailureKind;
use auris_core::probe::UnavailableCause;

use crate::supervisor::ExitKind;

/// Why a chunk runs on another device or again, or why a kind of device is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum FallbackReason {
    /// A worker of the device failed, or the chunk's own worker.
    #[strum(transparent)]
    Exit(ExitKind),
    /// The engine reported an error for the chunk, and the worker is still alive.
    #[strum(transparent)]
    Engine(FailureKind),
    /// The probe found no usable device.
    #[strum(transparent)]
    Unavailable(UnavailableCause),
    /// The probe has not answered yet.
    NotYetKnown,
    /// There are devices, but not the requested one.
    NotSelected,
    /// The device lacks memory for the model.
    NoRoom,
    /// The model was unloaded.
    Unloaded,
    /// The model is being loaded.
    Starting,
    /// The same chunk crashed a GPU worker before, and no CPU worker.
    CrashedBefore,
}

/// Why something happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum EventReason {
    /// A worker failed.
    #[strum(transparent)]
    Exit(ExitKind),
    /// A chunk succeeded on trial.
    Recovered,
    /// A chunk was to blame for the failure.
    Forgiven,
    /// The worker has run as many chunks as it may.
    Chunks,
    /// The worker's memory has grown.
    Memory,
    /// A larger worker fits again.
    #[strum(serialize = "memory is free again")]
    MemoryFree,
    /// Other models have replaced the model.
    Replaced,
    /// The model was not used.
    Idle,
    /// Another model needed the memory.
    Evicted,
}
