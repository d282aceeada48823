//! Why a device cannot be used: the name, meaning and fix of each class.
//!
//! These texts exist only here. The codes are those in `cuda.h` of CUDA 12 and 13, where the driver
//! and the runtime use the same numbers for startup errors.

use serde::{Deserialize, Serialize};

use super::host_kind::{HostKind, Wsl};

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum UnavailableCause {
    /// There is no `libcuda.so.1`.
    NoDriver,
    /// The driver library exists, but cannot be loaded.
    DriverBroken,
    /// The library is the stub that programs are linked against.
    DriverStub,
    /// The program was built for a newer CUDA.
    DriverTooOld,
    /// The driver sees no device.
    NoDevice,
    /// `CUDA_VISIBLE_DEVICES` hides every device.
    Hidden,
    /// The driver refuses the device.
    InvalidDevice,
    /// The library and the kernel module differ.
    DriverMismatch,
    /// cuda-compat is used with a device that it does not support.
    ForwardCompat,
    /// The driver does not respond, or all devices are taken.
    DriverUnavailable,
    /// Any other code.
    DriverError,
    /// The program has no kernels for the device.
    NoKernel,
    /// There is not even enough memory for the driver itself.
    OutOfMemory,
    /// Querying the driver never returns.
    InitHangs,
    /// Querying the driver ends the process.
    InitAborts,
    /// The program is not installed.
    ProgramMissing,
    /// The program exists, but cannot be started.
    ProgramBroken,
    /// A library that the program is linked to is missing.
    LibraryMissing,
    /// The program is from another release.
    OtherRelease,
    /// The program's output is not a probe's answer.
    BadProbe,
}

impl UnavailableCause {
    /// The class of a CUDA result other than success.
    pub fn of_cuda(code: i32) -> Self {
        match code {
            2 => Self::OutOfMemory,
            34 => Self::DriverStub,
            35 => Self::DriverTooOld,
            100 => Self::NoDevice,
            101 => Self::InvalidDevice,
            209 => Self::NoKernel,
            803 => Self::DriverMismatch,
            804 => Self::ForwardCompat,
            3 | 46 | 999 => Self::DriverUnavailable,
            _ => Self::DriverError,
        }
    }

    /// What it means, as the start of a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::NoDriver => "no NVIDIA driver is found here",
            Self::DriverBroken => "the NVIDIA driver's library cannot be loaded",
            Self::DriverStub => "the driver's library is the stub for linking, not a driver",
            Self::DriverTooOld => "the NVIDIA driver is too old for this program's CUDA",
            Self::NoDevice => "the NVIDIA driver sees no GPU",
            Self::Hidden => "CUDA_VISIBLE_DEVICES hides every GPU",
            Self::InvalidDevice => "the NVIDIA driver refuses the GPU",
            Self::DriverMismatch => {
                "the NVIDIA driver's library and its kernel module are of different versions"
            }
            Self::ForwardCompat => "cuda-compat libraries are used on a GPU that they are not for",
            Self::DriverUnavailable => "the NVIDIA driver is there and cannot start its GPUs",
            Self::DriverError => "the NVIDIA driver reports an error",
            Self::NoKernel => "this program was not built for the architecture of any GPU here",
            Self::OutOfMemory => "the GPU has no memory left for the driver's own needs",
            Self::InitHangs => "the NVIDIA driver does not answer",
            Self::InitAborts => "asking the NVIDIA driver ends the process that asks",
            Self::ProgramMissing => "the program for GPUs is not installed",
            Self::ProgramBroken => "the program for GPUs cannot be started",
            Self::LibraryMissing => "a library of the program for GPUs is missing",
            Self::OtherRelease => "the program for GPUs is of another release",
            Self::BadProbe => "the program for GPUs does not answer as it should",
        }
    }

    /// How to fix it in `place`.
    pub fn fix(self, place: HostKind) -> &'static str {
        match self {
            Self::NoDriver => no_driver(place),
            Self::DriverBroken if place.container => {
                "recreate the container: an upgrade of the host's driver takes the library away \
                 from running ones; else update the NVIDIA Container Toolkit"
            }
            Self::DriverBroken => "install the driver again; its files are damaged or incomplete",
            Self::DriverStub => {
                "take the `stubs` folder of the CUDA toolkit out of the loader's path"
            }
            Self::DriverTooOld if place.wsl.is_some() => {
                "update the NVIDIA driver in Windows, or use the image for CUDA 12"
            }
            Self::DriverTooOld => {
                "update the NVIDIA driver (CUDA 12 needs 525, better 550, or newer; CUDA 13 needs \
                 580), or use the image for CUDA 12"
            }
            Self::NoDevice => no_device(place),
            Self::Hidden => {
                "unset CUDA_VISIBLE_DEVICES, or set it to the indexes to use, such as 0"
            }
            Self::InvalidDevice => {
                "compare CUDA_VISIBLE_DEVICES with `nvidia-smi -L`; after a change of GPUs or of \
                 MIG restart the container or the machine"
            }
            Self::DriverMismatch => {
                "reboot if the driver was upgraded, and take cuda-compat folders out of \
                 LD_LIBRARY_PATH"
            }
            Self::ForwardCompat => {
                "remove cuda-compat, or take its folder out of LD_LIBRARY_PATH: it is for data \
                 centre GPUs only; update the driver instead"
            }
            Self::DriverUnavailable | Self::DriverError | Self::InitHangs | Self::InitAborts => {
                revive(place)
            }
            Self::NoKernel => {
                "build or install auris-worker-cuda for the GPU's architecture, or use the CPU"
            }
            Self::OutOfMemory => {
                "end other programs on the GPU (`nvidia-smi` lists them), or use a smaller or \
                 quantised model"
            }
            Self::ProgramMissing => {
                "install auris-worker-cuda beside auris, or use the GPU image; without it the CPU is used"
            }
            Self::ProgramBroken => "install auris-worker-cuda again, built for this machine",
            Self::LibraryMissing => {
                "install the CUDA runtime libraries that it names (cudart and cuBLAS), or use the \
                 GPU image"
            }
            Self::OtherRelease | Self::BadProbe => {
                "install auris and auris-worker-cuda from the same release"
            }
        }
    }
}

fn no_driver(place: HostKind) -> &'static str {
    match (place.container, place.wsl) {
        (_, Some(Wsl::One)) => "WSL 1 has no GPUs: run `wsl --set-version <distro> 2` in Windows",
        (true, _) => {
            "start the container with a GPU (`docker compose --profile gpu up`, or `docker run \
             --gpus all`); the host needs the NVIDIA driver and, outside of Docker Desktop, the \
             NVIDIA Container Toolkit"
        }
        (false, Some(Wsl::Two)) => {
            "install the NVIDIA driver in Windows, not in WSL, and run `wsl --update` and `wsl \
             --shutdown`; if /usr/lib/wsl/lib has libcuda.so.1, run `sudo ldconfig`"
        }
        (false, None) => "install the NVIDIA driver if the machine has an NVIDIA GPU",
    }
}

fn no_device(place: HostKind) -> &'static str {
    match (place.container, place.wsl) {
        (_, Some(Wsl::One)) => "WSL 1 has no GPUs: run `wsl --set-version <distro> 2` in Windows",
        (true, _) => {
            "reserve a GPU for the container: `docker compose --profile gpu up`, or `docker run \
             --gpus all`; recreate it if the GPU went away while it ran"
        }
        (false, Some(Wsl::Two)) => {
            "look whether Windows shows the GPU (`nvidia-smi` there), then `wsl --shutdown`"
        }
        (false, None) => "look whether `nvidia-smi` lists the GPU, and whether it sits firmly",
    }
}

fn revive(place: HostKind) -> &'static str {
    match (place.container, place.wsl) {
        (true, _) => {
            "recreate the container; if `nvidia-smi` fails on the host, too, restart the driver \
             there (`sudo nvidia-modprobe -u`, or reboot)"
        }
        (false, Some(_)) => "run `wsl --shutdown` in Windows; update the NVIDIA driver there",
        (false, None) => {
            "run `nvidia-smi` on the host; if it fails, too: `sudo nvidia-modprobe -u`, after a \
             suspend `sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm`, at last reboot"
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn the_name_in_json_is_the_name_in_headers() {
        for cause in UnavailableCause::VARIANTS {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.into_str());
        }
    }

    #[test]
    fn the_fix_for_a_missing_driver_fits_the_place() {
        let place = |container, wsl| HostKind { container, wsl };
        for (place, words) in [
            (place(false, None), "install the NVIDIA driver"),
            (place(true, None), "Container Toolkit"),
            (place(true, Some(Wsl::Two)), "--profile gpu"),
            (place(false, Some(Wsl::Two)), "in Windows"),
            (place(false, Some(Wsl::One)), "wsl --set-version <distro> 2"),
        ] {
            let fix = UnavailableCause::NoDriver.fix(place);
            assert!(fix.contains(words), "{place:?}: {fix}");
        }
    }
}
