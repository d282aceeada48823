//! The GPU that a model is loaded on: its position in ggml's list, its memory, and whether the
//! model was really placed there.
//!
//! If there is no such GPU, whisper.cpp 1.8.3 computes on the CPU without an error. Neither this
//! module nor ggml can detect a broken driver: ggml ends the process on any CUDA error.

use std::ffi::OsStr;

use nvml_wrapper::Nvml;

use super::load_log::{self, Weights};
use auris_worker::GpuUsage;

use crate::driver;
use crate::ggml::{self, GgmlDevice};
use auris_core::ipc::{Failure, FailureKind};
use auris_core::probe::CUDA_DRIVER;

/// If a model is on the GPU, at least this share of it is. Not half: for a quantisation whose rows
/// the GPU cannot look up, whisper.cpp leaves the token embeddings in the host's memory, and they
/// are half of a tiny model.
const LEAST_PART: f64 = 0.25;

#[derive(Debug)]
pub(super) struct Gpu {
    device: GgmlDevice,
    /// Its free memory when it was found, in bytes.
    free_at_first: u64,
    /// Where its utilisation is read.
    meter: Option<Meter>,
}

/// A GPU as seen by NVML, NVIDIA's management library.
#[derive(Debug)]
struct Meter {
    nvml: Nvml,
    pci_address: String,
}

impl Gpu {
    /// The current index of the GPU with `uuid`, or else `index`. The driver lists GPUs in the
    /// order of ggml, and a GPU that disappears shifts the others.
    ///
    /// # Errors
    /// `WrongDevice` if the driver lists GPUs, but not this one.
    pub(super) fn locate(index: u32, uuid: Option<&str>) -> Result<u32, Failure> {
        let Some(uuid) = uuid else { return Ok(index) };
        // A driver that does not respond is reported later, when the GPU is looked up.
        let Ok(gpus) = driver::query_cuda(OsStr::new(CUDA_DRIVER)).gpus else { return Ok(index) };
        let position = gpus.iter().position(|gpu| gpu.uuid.as_deref() == Some(uuid));
        position.and_then(|position| u32::try_from(position).ok()).ok_or_else(|| {
            wrong_device(format!("{uuid} is not among the GPUs that the driver lists any more"))
        })
    }

    /// Finds the GPU that whisper.cpp uses for `gpu_device = index`.
    ///
    /// This is the first call to the driver. It creates the process's context on the device, a few
    /// hundred megabytes that [`Self::taken_bytes`] does not count.
    ///
    /// # Errors
    /// `WrongDevice` if there is no such GPU.
    pub(super) fn find(index: u32) -> Result<Self, Failure> {
        let gpus = ggml::gpus();
        let Some(device) = gpus.get(index as usize).copied() else {
            return Err(wrong_device(format!("GPU {index} is requested: {}", why(gpus.len()))));
        };
        Ok(Self { device, free_at_first: device.memory().0, meter: Meter::new(device) })
    }

    /// Checks that a model whose file has `file_bytes` is in this GPU's memory.
    ///
    /// # Errors
    /// `WrongDevice` if it is not.
    pub(super) fn check_placement(&self, file_bytes: u64) -> Result<(), Failure> {
        let weights = load_log::weights();
        let (taken, buffer) = (self.taken_bytes(), self.device.buffer_name());
        if is_placed(&buffer, &weights, taken, file_bytes) {
            return Ok(());
        }
        let places: Vec<String> = weights
            .iter()
            .map(|weights| format!("{} MB in {}", weights.bytes / 1_000_000, weights.buffer))
            .collect();
        let places = if places.is_empty() { "unknown".to_owned() } else { places.join(", ") };
        Err(wrong_device(format!(
            "the model is not in the memory of {buffer}, of which {} MB were taken; its weights: {places}",
            taken / 1_000_000,
        )))
    }
}

impl GpuUsage for Gpu {
    fn free_bytes(&self) -> u64 {
        self.device.memory().0
    }

    /// How far the free memory has dropped since the GPU was found. This includes what other
    /// processes have taken or freed since then.
    fn taken_bytes(&self) -> u64 {
        self.free_at_first.saturating_sub(self.free_bytes())
    }

    /// The driver does not report it under WSL2 or for a part of a divided GPU.
    fn utilisation_percent(&self) -> Option<u8> {
        self.meter.as_ref()?.utilisation_percent()
    }
}

impl Meter {
    fn new(device: GgmlDevice) -> Option<Self> {
        let pci_address = device.pci_address()?;
        match Nvml::init() {
            Ok(nvml) => Some(Self { nvml, pci_address }),
            Err(error) => {
                tracing::debug!("the GPU's utilisation is not known: {error}");
                None
            }
        }
    }

    fn utilisation_percent(&self) -> Option<u8> {
        let device = self.nvml.device_by_pci_bus_id(self.pci_address.as_str()).ok()?;
        let percent = device.utilization_rates().ok()?.gpu;
        u8::try_from(percent.min(100)).ok()
    }
}

/// Whether a model is in the memory that ggml calls `buffer`. By the log; if a new version
/// words it differently, by the drop in free memory.
fn is_placed(buffer: &str, weights: &[Weights], taken_bytes: u64, file_bytes: u64) -> bool {
    let bytes = |buffer: &str| -> u64 {
        weights.iter().filter(|weights| weights.buffer == buffer).map(|weights| weights.bytes).sum()
    };
    let (there, all) = if weights.is_empty() {
        (taken_bytes, file_bytes)
    } else {
        (bytes(buffer), weights.iter().map(|weights| weights.bytes).sum())
    };
    there > 0 && there as f64 >= LEAST_PART * all as f64
}

fn wrong_device(message: String) -> Failure {
    Failure::new(FailureKind::WrongDevice, message)
}

fn why(listed: usize) -> String {
    if cfg!(not(feature = "cuda")) {
        return "this program is built without the engine for GPUs".to_owned();
    }
    if listed > 0 {
        return format!("the engine sees {listed}, counted from 0; is CUDA_VISIBLE_DEVICES set?");
    }
    match load_log::last_error() {
        // CUDA uses this message when there is no driver at all, too.
        Some(error) if error.contains("driver version is insufficient") => {
            format!("the engine sees none: {error}, or there is no driver")
        }
        Some(error) => format!("the engine sees none: {error}"),
        None => "the engine sees none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(buffer: &str, megabytes: u64) -> Weights {
        Weights { buffer: buffer.to_owned(), bytes: megabytes * 1_000_000 }
    }

    #[test]
    fn the_host_is_no_gpu() {
        assert!(ggml::devices().any(|device| !device.is_gpu()), "the host's CPU is a device");
        assert!(!ggml::devices().any(|device| device.buffer_name().is_empty()));
    }

    #[test]
    fn the_placement_is_what_the_log_says() {
        let check = |weights: &[Weights]| is_placed("CUDA0", weights, 77_000_000, 77_000_000);
        assert!(check(&[weights("CUDA0", 77)]));
        assert!(check(&[weights("CPU", 40), weights("CUDA0", 37)]), "embeddings on the host");
        assert!(!check(&[weights("CPU", 77)]), "a neighbour took the memory");
        assert!(!check(&[weights("CUDA1", 77)]));
        assert!(!check(&[weights("CPU", 76), weights("CUDA0", 1)]));
    }

    #[test]
    fn without_a_log_the_memory_decides() {
        let check = |taken, file| is_placed("CUDA0", &[], taken, file);
        assert!(check(80, 77));
        assert!(!check(0, 77));
        assert!(!check(0, 0));
    }

    #[test]
    fn a_missing_gpu_is_reported() {
        let failure = Gpu::find(4_000).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongDevice);
        assert!(failure.message.starts_with("GPU 4000 is requested: "), "{failure}");
    }
}
