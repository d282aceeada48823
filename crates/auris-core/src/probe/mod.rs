//! What a program can run on, as `auris-worker --probe` reports it, and why it cannot.
//!
//! Plain data and its wording, shared by the child that queries the driver (`auris_engine::probe`)
//! and the parent that starts it (`auris_scheduler::supervisor`). Nothing here loads a library or
//! starts a process.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::device::{Backend, DeviceInfo};

mod candidates;
mod cause;
mod cpu;
mod host_kind;

pub use candidates::{DriverCandidate, library_candidates};
pub use cause::UnavailableCause;
pub use cpu::cpu;
pub use host_kind::{HostKind, Wsl};

/// The name by which every CUDA program loads the driver. Never `libcuda.so`, which may be the stub
/// that programs are linked against.
pub const CUDA_DRIVER: &str = "libcuda.so.1";

/// The library that reports on GPUs without using them.
pub const NVML: &str = "libnvidia-ml.so.1";

/// Why a program has nothing to run on. Displays as a sentence that ends with the fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// The CUDA result, if there was one.
    pub code: Option<i32>,
    pub cause: UnavailableCause,
    /// What was observed; may be empty.
    pub detail: String,
    /// How to fix it in the place where it was observed.
    pub fix: String,
}

impl Unavailable {
    /// Includes the fix for `cause` in `place`.
    pub fn new(cause: UnavailableCause, detail: impl Into<String>, place: HostKind) -> Self {
        Self { code: None, cause, detail: detail.into(), fix: cause.fix(place).to_owned() }
    }

    /// Adds the CUDA result that caused it.
    pub fn with_code(self, code: i32) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Whether a retry cannot help because another program must be installed first.
    pub fn is_permanent(&self) -> bool {
        matches!(self.cause, UnavailableCause::ProgramMissing | UnavailableCause::OtherRelease)
    }

    /// What is wrong, without the fix.
    pub fn problem(&self) -> String {
        let code = self.code.map(|code| format!(" (CUDA error {code})")).unwrap_or_default();
        let colon = if self.detail.is_empty() { "" } else { ": " };
        format!("{}{code}{colon}{}", self.cause.meaning(), self.detail)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.fix)
    }
}

impl std::error::Error for Unavailable {}

/// A CUDA version in CUDA's own notation: 12080 is 12.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CudaVersion(pub u32);

impl CudaVersion {
    /// A driver runs programs of its own major version and of older ones.
    pub fn major(self) -> u32 {
        self.0 / 1000
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 1000 / 10)
    }
}

/// What a program's CUDA code was built for. Empty for a program without CUDA code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaBuild {
    /// The version of the CUDA runtime.
    pub cuda: Option<CudaVersion>,
    /// The architectures given to CMake, such as `75-virtual;86-real`, if known.
    pub architectures: Option<String>,
}

impl CudaBuild {
    /// Whether the program has kernels for a device of this compute capability, such as `8.6`;
    /// `None` if unknown.
    ///
    /// Machine code runs on its own major version from its own minor version on. PTX (`-virtual`,
    /// or both without a suffix) runs on everything newer.
    pub fn supports(&self, compute_capability: &str) -> Option<bool> {
        let (major, minor) = compute_capability.split_once('.')?;
        let wanted = major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?;
        let mut known = false;
        for architecture in self.architectures.as_deref()?.split([';', ',']) {
            let (number, kind) = architecture.split_once('-').unwrap_or((architecture, ""));
            let number = number.trim();
            let digits = number.trim_end_matches(char::is_alphabetic);
            let Ok(built) = digits.parse::<u32>() else { continue };
            known = true;
            let same_major = built / 10 == wanted / 10;
            let fits = match (digits == number, kind) {
                (false, _) => built == wanted, // such as 90a: only for exactly this one
                (true, "real") => same_major && built <= wanted,
                (true, _) => built <= wanted,
            };
            if fits {
                return Some(true);
            }
        }
        known.then_some(false)
    }
}

/// The line that `auris-worker --probe` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The program's [`crate::ipc::PROTOCOL_VERSION`].
    pub protocol: u32,
    pub version: String,
    pub backend: Backend,
    pub build: CudaBuild,
    /// The newest CUDA that the driver can run, if there is a driver.
    pub driver_cuda: Option<CudaVersion>,
    /// The usable devices, with the indexes of the engine's own list.
    pub devices: Vec<DeviceInfo>,
    pub unavailable: Option<Unavailable>,
    /// Every copy of the driver that was found; the copy that was queried is marked.
    pub drivers: Vec<DriverCandidate>,
}

impl ProbeReport {
    /// Returns the devices, or why there are none.
    ///
    /// # Errors
    /// The program's own reason, or a general one if it lists nothing and gives no reason.
    pub fn into_devices(self) -> Result<Vec<DeviceInfo>, Unavailable> {
        match self.unavailable {
            Some(unavailable) => Err(unavailable),
            None if self.devices.is_empty() => {
                Err(Unavailable::new(UnavailableCause::NoDevice, "", HostKind::default()))
            }
            None => Ok(self.devices),
        }
    }
}

/// The line that `auris-worker --check-cpu` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuReport {
    /// The program's [`crate::ipc::PROTOCOL_VERSION`].
    pub protocol: u32,
    pub version: String,
    /// What the engine was compiled to use and the CPU lacks.
    pub missing_instructions: Vec<String>,
}

/// The line that `auris-worker --probe-driver PATH` prints: one library, tried on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverReport {
    /// The program's [`crate::ipc::PROTOCOL_VERSION`].
    pub protocol: u32,
    pub version: String,
    /// The library that was tried: a path, or a name that the loader looks up.
    pub path: PathBuf,
    /// The file that the loader took.
    pub file: Option<PathBuf>,
    /// The CUDA version of a CUDA driver, or the driver's own version from NVML.
    pub driver_version: Option<String>,
    /// The names of the devices that the library lists.
    pub devices: Vec<String>,
    pub unavailable: Option<Unavailable>,
}

/// The environment variables that affect GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuEnvironment {
    /// `CUDA_VISIBLE_DEVICES`: which devices the driver shows, and in which order.
    pub cuda_visible_devices: Option<String>,
    /// `NVIDIA_VISIBLE_DEVICES`: which devices the container toolkit puts into a container.
    pub nvidia_visible_devices: Option<String>,
    /// `NVIDIA_DRIVER_CAPABILITIES`: which libraries it puts there.
    pub nvidia_driver_capabilities: Option<String>,
    /// `LD_LIBRARY_PATH`: where the loader looks first.
    pub library_path: Option<String>,
    /// `CUDA_CACHE_PATH`: where the driver keeps kernels that it has compiled.
    pub cuda_cache_path: Option<String>,
    /// `HOME`: where that is by default.
    pub home: Option<String>,
    /// `CUDA_MPS_PIPE_DIRECTORY`: where processes that share a GPU meet.
    pub mps_pipes: Option<String>,
}

impl GpuEnvironment {
    pub fn read() -> Self {
        // An empty value is not the same as an unset one: it hides every device. A value that is
        // not UTF-8 makes no sense to the driver either.
        let text = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            cuda_visible_devices: text("CUDA_VISIBLE_DEVICES"),
            nvidia_visible_devices: text("NVIDIA_VISIBLE_DEVICES"),
            nvidia_driver_capabilities: text("NVIDIA_DRIVER_CAPABILITIES"),
            library_path: text("LD_LIBRARY_PATH"),
            cuda_cache_path: text("CUDA_CACHE_PATH"),
            home: text("HOME"),
            mps_pipes: text("CUDA_MPS_PIPE_DIRECTORY"),
        }
    }

    /// Where the driver keeps kernels that it has compiled.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let by_default = || Some(Path::new(self.home.as_deref()?).join(".nv/ComputeCache"));
        self.cuda_cache_path.as_deref().map(PathBuf::from).or_else(by_default)
    }

    /// Whether `CUDA_VISIBLE_DEVICES` hides every device: it is set, and does not start with an
    /// index or the name of a device. CUDA shows the devices before the first invalid entry.
    pub fn hides_devices(&self) -> bool {
        self.cuda_visible_devices.as_deref().is_some_and(|value| {
            let first = value.split(',').next().unwrap_or_default().trim();
            let is_index = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
            !is_index && !first.starts_with("GPU-") && !first.starts_with("MIG-")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_displays_the_problem_and_the_fix() {
        let mismatch =
            Unavailable::new(UnavailableCause::of_cuda(803), "cuInit", HostKind::default());
        insta::assert_snapshot!(mismatch.with_code(803), @"the NVIDIA driver's library and its kernel module are of different versions (CUDA error 803): cuInit; reboot if the driver was upgraded, and take cuda-compat folders out of LD_LIBRARY_PATH");
    }

    #[test]
    fn kernels_fit_their_own_generation_and_ptx_everything_newer() {
        let supports = |architectures: &str, capability| {
            let architectures = Some(architectures.to_owned());
            CudaBuild { cuda: None, architectures }.supports(capability)
        };
        for (architectures, capability, expected) in [
            ("75-real;86-real", "8.6", Some(true)),
            ("75-real;86-real", "8.9", Some(true)),
            ("75-real;86-real", "8.0", Some(false)),
            ("75-real;86-real", "9.0", Some(false)),
            ("75-virtual", "12.0", Some(true)),
            ("86", "9.0", Some(true)),
            ("86", "7.5", Some(false)),
            ("90a-real", "9.0", Some(true)),
            ("90a-real", "10.0", Some(false)),
            ("native", "8.6", None),
            ("86", "unknown", None),
        ] {
            assert_eq!(supports(architectures, capability), expected, "{architectures}");
        }
        assert_eq!(CudaBuild::default().supports("8.6"), None);
    }

    #[test]
    fn a_variable_that_begins_with_no_device_hides_every_device() {
        for (value, hides) in [
            (None, false),
            (Some(""), true),
            (Some("-1"), true),
            (Some("none"), true),
            (Some("-1,0"), true),
            (Some("0"), false),
            (Some("1, 0"), false),
            (Some("GPU-5c89d5ab"), false),
            (Some("MIG-5c89d5ab"), false),
        ] {
            let cuda_visible_devices = value.map(str::to_owned);
            let environment = GpuEnvironment { cuda_visible_devices, ..GpuEnvironment::default() };
            assert_eq!(environment.hides_devices(), hides, "{value:?}");
        }
    }
}
