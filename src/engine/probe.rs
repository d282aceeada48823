//! `worker --probe`: finds out what this program can run on, once, and ends.
//!
//! The driver is asked before ggml is: it tells what is wrong, while ggml ends the process or, for
//! most reasons, silently lists nothing. What is reported as usable is ggml's own list, since that
//! is what the engine will use.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::driver::{self, Answer, Gpu, Trouble};
use super::{EngineKind, ggml};
use crate::device::{Backend, DeviceId, DeviceInfo};
use crate::ipc::PROTOCOL_VERSION;
use crate::probe::{
    self, CUDA_DRIVER, Cause, CudaBuild, CudaVersion, DriverReport, GpuEnvironment, Place,
    ProbeReport, Unavailable, library_candidates,
};

/// What the engine of `kind` in a program for `backend` can use.
///
/// The fake engine "runs" on whatever the CUDA driver lists, in every program.
pub fn report(kind: &EngineKind, backend: Backend, environment: &GpuEnvironment) -> ProbeReport {
    let fake = matches!(kind, EngineKind::Fake(_));
    let backend = if fake { Backend::Cuda } else { backend };
    let (build, driver_cuda, found) = match backend {
        Backend::Cpu => (CudaBuild::default(), None, Ok(vec![probe::cpu()])),
        Backend::Cuda => {
            let build = if fake { CudaBuild::default() } else { ggml::build() };
            let answer = driver::ask_cuda(OsStr::new(CUDA_DRIVER));
            let cuda = answer.cuda;
            let found = checked(answer, &build, environment).and_then(|gpus| {
                if fake { Ok(as_driver_lists(gpus, environment)) } else { as_engine_lists(&gpus) }
            });
            (build, cuda, found)
        }
    };
    // One that this build has no kernels for ends every worker; it kept its place for the indexes.
    let has_kernels = |device: &DeviceInfo| {
        let capability = device.compute_capability.as_deref();
        capability.and_then(|capability| build.supports(capability)).unwrap_or(true)
    };
    let (devices, unavailable) = match found {
        Ok(devices) => (devices.into_iter().filter(has_kernels).collect(), None),
        Err(unavailable) => (Vec::new(), Some(unavailable)),
    };
    let loaded = driver::loaded_file(Path::new(CUDA_DRIVER));
    let mut drivers =
        library_candidates(Path::new("/"), CUDA_DRIVER, environment.library_path.as_deref());
    for candidate in &mut drivers {
        candidate.loaded = loaded.is_some() && candidate.file == loaded;
    }
    ProbeReport {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend,
        build,
        driver_cuda,
        devices,
        unavailable,
        drivers,
    }
}

/// What the library at `path` says: a CUDA driver, or NVML by its file name.
pub fn driver_report(path: PathBuf, environment: &GpuEnvironment) -> DriverReport {
    let place = Place::here();
    let (driver_version, gpus) = if driver::is_cuda(path.as_os_str()) {
        let Answer { cuda, gpus } = driver::ask_cuda(path.as_os_str());
        (cuda.map(|cuda| cuda.to_string()), gpus)
    } else {
        match driver::ask_nvml(path.as_os_str()) {
            Ok(version) => (Some(version), Ok(Vec::new())),
            Err(trouble) => (None, Err(trouble)),
        }
    };
    let (devices, unavailable) = match gpus {
        Ok(gpus) => (gpus.into_iter().map(|gpu| gpu.name).collect(), None),
        Err(trouble) => (Vec::new(), Some(explain(trouble, environment, place))),
    };
    DriverReport {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        file: driver::loaded_file(&path),
        path,
        driver_version,
        devices,
        unavailable,
    }
}

/// The driver's GPUs, if this build can use them.
fn checked(
    answer: Answer,
    build: &CudaBuild,
    environment: &GpuEnvironment,
) -> Result<Vec<Gpu>, Unavailable> {
    let place = Place::here();
    let gpus = answer.gpus.map_err(|trouble| explain(trouble, environment, place))?;
    if let Some((needed, has)) = newer(build.cuda, answer.cuda) {
        let detail = format!("it runs CUDA {has}, and this program is built with CUDA {needed}");
        return Err(Unavailable::new(Cause::DriverTooOld, detail, place).with_code(35));
    }
    let supports = |gpu: &Gpu| {
        let capability = gpu.compute_capability.as_deref();
        capability.and_then(|capability| build.supports(capability)).unwrap_or(true)
    };
    if !gpus.iter().any(supports) {
        let list: Vec<String> = gpus
            .iter()
            .map(|gpu| {
                format!("{} has {}", gpu.name, gpu.compute_capability.as_deref().unwrap_or("?"))
            })
            .collect();
        let built = build.architectures.as_deref().unwrap_or("?");
        let detail = format!("{}, built for {built}", list.join(", "));
        return Err(Unavailable::new(Cause::NoKernel, detail, place).with_code(209));
    }
    Ok(gpus)
}

/// Both versions, where the program's CUDA is of a newer major version than the driver's.
fn newer(
    build: Option<CudaVersion>,
    driver: Option<CudaVersion>,
) -> Option<(CudaVersion, CudaVersion)> {
    build.zip(driver).filter(|(build, driver)| build.major() > driver.major())
}

/// A driver's trouble in words to act on.
fn explain(trouble: Trouble, environment: &GpuEnvironment, place: Place) -> Unavailable {
    match trouble {
        Trouble::NotFound(words) => Unavailable::new(Cause::NoDriver, words, place),
        Trouble::NotLoaded(words) => Unavailable::new(Cause::DriverBroken, words, place),
        Trouble::Code { call, code } => {
            let visible = environment.cuda_visible_devices.as_deref();
            let cause = match Cause::of_cuda(code) {
                Cause::NoDevice if environment.hides_devices() => Cause::Hidden,
                cause => cause,
            };
            let shown = |value: &str| value.chars().take(80).collect::<String>();
            let detail = match (cause, visible) {
                (Cause::Hidden, Some(value)) => format!("it is `{}`", shown(value)),
                (Cause::NoDevice | Cause::InvalidDevice, Some(value)) => {
                    format!("{call}, CUDA_VISIBLE_DEVICES is `{}`", shown(value))
                }
                _ => call.to_owned(),
            };
            Unavailable::new(cause, detail, place).with_code(code)
        }
    }
}

/// The driver's list as it is, for the fake engine.
fn as_driver_lists(gpus: Vec<Gpu>, environment: &GpuEnvironment) -> Vec<DeviceInfo> {
    let info = |(index, gpu): (u32, Gpu)| DeviceInfo {
        id: DeviceId::indexed(Backend::Cuda, index),
        backend: Backend::Cuda,
        name: gpu.name,
        memory_total_bytes: gpu.memory_total_bytes,
        memory_free_bytes: environment
            .fake_free_bytes
            .map_or(gpu.memory_total_bytes, |free| free.min(gpu.memory_total_bytes)),
        index: Some(index),
        uuid: gpu.uuid,
        compute_capability: gpu.compute_capability,
    };
    (0..).zip(gpus).map(info).collect()
}

/// ggml's list, with what only the driver knows. Both go by CUDA's indexes.
fn as_engine_lists(gpus: &[Gpu]) -> Result<Vec<DeviceInfo>, Unavailable> {
    let listed = ggml::gpus();
    if listed.is_empty() {
        let detail = "the driver lists GPUs, and the engine none";
        return Err(Unavailable::new(Cause::DriverError, detail, Place::here()));
    }
    let info = |(index, listed): (u32, ggml::ListedGpu)| {
        let gpu = gpus.get(index as usize);
        DeviceInfo {
            id: DeviceId::indexed(Backend::Cuda, index),
            backend: Backend::Cuda,
            name: listed.name,
            memory_total_bytes: listed.memory_total_bytes,
            memory_free_bytes: listed.memory_free_bytes,
            index: Some(index),
            uuid: gpu.and_then(|gpu| gpu.uuid.clone()),
            compute_capability: gpu.and_then(|gpu| gpu.compute_capability.clone()),
        }
    };
    Ok((0..).zip(listed).map(info).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(capability: &str) -> Gpu {
        Gpu {
            name: "GPU".to_owned(),
            uuid: None,
            memory_total_bytes: 1 << 30,
            compute_capability: Some(capability.to_owned()),
        }
    }

    #[test]
    fn a_driver_or_a_gpu_that_the_build_cannot_use_is_told_before_ggml_is_asked() {
        let build = CudaBuild {
            cuda: Some(CudaVersion(12_080)),
            architectures: Some("75-real;86-real".to_owned()),
        };
        let check = |driver, capabilities: &[&str]| {
            let gpus = Ok(capabilities.iter().map(|capability| gpu(capability)).collect());
            let answer = Answer { cuda: Some(CudaVersion(driver)), gpus };
            checked(answer, &build, &GpuEnvironment::default()).map_err(|error| error.cause)
        };
        assert_eq!(check(11_080, &["8.6"]), Err(Cause::DriverTooOld));
        assert!(check(12_000, &["8.6"]).is_ok(), "the same major version runs");
        assert_eq!(check(12_080, &["6.1", "9.0"]), Err(Cause::NoKernel));
        assert_eq!(check(12_080, &["6.1", "8.6"]).unwrap().len(), 2, "indexes stay");
    }

    #[test]
    fn a_device_that_is_not_shown_is_no_missing_device() {
        let cause = |visible: Option<&str>| {
            let cuda_visible_devices = visible.map(str::to_owned);
            let environment = GpuEnvironment { cuda_visible_devices, ..GpuEnvironment::default() };
            let trouble = Trouble::Code { call: "cuInit", code: 100 };
            let told = explain(trouble, &environment, Place::default());
            (told.cause, told.detail)
        };
        assert_eq!(cause(None), (Cause::NoDevice, "cuInit".to_owned()));
        assert_eq!(cause(Some("-1")), (Cause::Hidden, "it is `-1`".to_owned()));
        let (seventh, detail) = cause(Some("7"));
        assert_eq!(seventh, Cause::NoDevice);
        assert!(detail.contains("CUDA_VISIBLE_DEVICES is `7`"), "{detail}");
    }
}
