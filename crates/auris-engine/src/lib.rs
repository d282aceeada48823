//! The engine: whisper.cpp on the CPU or a GPU, and detection of what it can run on. The only crate
//! with unsafe code; the server does not link it.

#![allow(unsafe_code)] // each use has its SAFETY comment

use auris_core::device::Backend;

pub mod allocator;
pub mod confinement;
pub mod cpu_features;
pub mod probe;
pub mod whisper;
mod driver;
mod ggml;
mod words;

/// The kind of device that this build drives.
pub const BACKEND: Backend = if cfg!(feature = "cuda") { Backend::Cuda } else { Backend::Cpu };
