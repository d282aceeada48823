//! `auris-worker --probe`: finds out what this program can run on.
//!
//! The driver is queried before ggml, because it reports what is wrong, while ggml ends the process
//! or, for most reasons, silently lists nothing. The devices reported as usable are ggml's own
//! list, since the engine uses that.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::driver::{self, CudaDriver, DriverError, DriverGpu};
use super::{BACKEND, cpu_features, ggml};
use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::ipc::PROTOCOL_VERSION;
use auris_core::probe::{
    self, CUDA_DRIVER, CpuReport, CudaBuild, CudaVersion, DriverReport, GpuEnvironment, HostKind,
    ProbeReport, Unavailable, UnavailableCause, library_candidates,
};

/// Returns what the engine of this build can use.
pub fn report(environment: &GpuEnvironment) -> ProbeReport {
    match BACKEND {
        Backend::Cpu => {
            assemble(BACKEND, CudaBuild::default(), None, Ok(vec![probe::cpu()]), environment)
        }
        Backend::Cuda => gpu_report(ggml::build(), |gpus| as_engine_lists(&gpus), environment),
    }
}

/// Whether this CPU can run the engine. Queries no driver.
pub fn cpu_report() -> CpuReport {
    CpuReport {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        missing_instructions: cpu_features::missing_instructions(),
    }
}

/// Returns the CUDA driver's list, for a program without kernels of its own.
pub fn driver_devices(environment: &GpuEnvironment) -> ProbeReport {
    gpu_report(CudaBuild::default(), |gpus| Ok(as_driver_lists(gpus)), environment)
}

fn gpu_report(
    build: CudaBuild,
    list: impl FnOnce(Vec<DriverGpu>) -> Result<Vec<DeviceInfo>, Unavailable>,
    environment: &GpuEnvironment,
) -> ProbeReport {
    let answer = driver::query_cuda(OsStr::new(CUDA_DRIVER));
    let cuda = answer.cuda;
    let found = checked(answer, &build, environment).and_then(list);
    assemble(Backend::Cuda, build, cuda, found, environment)
}

fn assemble(
    backend: Backend,
    build: CudaBuild,
    driver_cuda: Option<CudaVersion>,
    found: Result<Vec<DeviceInfo>, Unavailable>,
    environment: &GpuEnvironment,
) -> ProbeReport {
    // A device without kernels in this build would end every worker. It is removed only now, so
    // that the indexes stay right.
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

/// Returns the report of the library at `path`: a CUDA driver, or NVML by its file name.
pub fn driver_report(path: PathBuf, environment: &GpuEnvironment) -> DriverReport {
    let place = HostKind::here();
    let (driver_version, gpus) = if driver::is_cuda(path.as_os_str()) {
        let CudaDriver { cuda, gpus } = driver::query_cuda(path.as_os_str());
        (cuda.map(|cuda| cuda.to_string()), gpus)
    } else {
        match driver::query_nvml(path.as_os_str()) {
            Ok(version) => (Some(version), Ok(Vec::new())),
            Err(error) => (None, Err(error)),
        }
    };
    let (devices, unavailable) = match gpus {
        Ok(gpus) => (gpus.into_iter().map(|gpu| gpu.name).collect(), None),
        Err(error) => (Vec::new(), Some(explain(error, environment, place))),
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

fn checked(
    answer: CudaDriver,
    build: &CudaBuild,
    environment: &GpuEnvironment,
) -> Result<Vec<DriverGpu>, Unavailable> {
    let place = HostKind::here();
    let gpus = answer.gpus.map_err(|error| explain(error, environment, place))?;
    if let Some((needed, has)) = newer(build.cuda, answer.cuda) {
        let detail = format!("it runs CUDA {has}, and this program is built with CUDA {needed}");
        return Err(Unavailable::new(UnavailableCause::DriverTooOld, detail, place).with_code(35));
    }
    let supports = |gpu: &DriverGpu| {
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
        return Err(Unavailable::new(UnavailableCause::NoKernel, detail, place).with_code(209));
    }
    Ok(gpus)
}

/// Both versions, if the program's CUDA has a newer major version than the driver's.
fn newer(
    build: Option<CudaVersion>,
    driver: Option<CudaVersion>,
) -> Option<(CudaVersion, CudaVersion)> {
    build.zip(driver).filter(|(build, driver)| build.major() > driver.major())
}

fn explain(error: DriverError, environment: &GpuEnvironment, place: HostKind) -> Unavailable {
    match error {
        DriverError::NotFound(words) => Unavailable::new(UnavailableCause::NoDriver, words, place),
        DriverError::NotLoaded(words) => {
            Unavailable::new(UnavailableCause::DriverBroken, words, place)
        }
        DriverError::Code { call, code } => {
            let visible = environment.cuda_visible_devices.as_deref();
            let cause = match UnavailableCause::of_cuda(code) {
                UnavailableCause::NoDevice if environment.hides_devices() => {
                    UnavailableCause::Hidden
                }
                cause => cause,
            };
            let shown = |value: &str| value.chars().take(80).collect::<String>();
            let detail = match (cause, visible) {
                (UnavailableCause::Hidden, Some(value)) => format!("it is `{}`", shown(value)),
                (UnavailableCause::NoDevice | UnavailableCause::InvalidDevice, Some(value)) => {
                    format!("{call}, CUDA_VISIBLE_DEVICES is `{}`", shown(value))
                }
                _ => call.to_owned(),
            };
            Unavailable::new(cause, detail, place).with_code(code)
        }
    }
}

fn as_driver_lists(gpus: Vec<DriverGpu>) -> Vec<DeviceInfo> {
    let info = |(index, gpu): (u32, DriverGpu)| DeviceInfo {
        id: DeviceId::indexed(Backend::Cuda, index),
        backend: Backend::Cuda,
        name: gpu.name,
        memory_total_bytes: gpu.memory_total_bytes,
        memory_free_bytes: gpu.memory_total_bytes,
        index: Some(index),
        uuid: gpu.uuid,
        compute_capability: gpu.compute_capability,
    };
    (0..).zip(gpus).map(info).collect()
}

/// ggml's list, completed with the driver's details. Both use CUDA's indexes.
fn as_engine_lists(gpus: &[DriverGpu]) -> Result<Vec<DeviceInfo>, Unavailable> {
    let listed = ggml::gpus();
    if listed.is_empty() {
        let detail = "the driver lists GPUs, and the engine none";
        return Err(Unavailable::new(UnavailableCause::DriverError, detail, HostKind::here()));
    }
    let info = |(index, listed): (u32, ggml::GgmlDevice)| {
        let gpu = gpus.get(index as usize);
        let (memory_free_bytes, memory_total_bytes) = listed.memory();
        DeviceInfo {
            id: DeviceId::indexed(Backend::Cuda, index),
            backend: Backend::Cuda,
            name: listed.name(),
            memory_total_bytes,
            memory_free_bytes,
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

    fn gpu(capability: &str) -> DriverGpu {
        DriverGpu {
            name: "GPU".to_owned(),
            uuid: None,
            memory_total_bytes: 1 << 30,
            compute_capability: Some(capability.to_owned()),
        }
    }

    #[test]
    fn an_unusable_driver_or_gpu_is_reported_before_ggml_runs() {
        let build = CudaBuild {
            cuda: Some(CudaVersion(12_080)),
            architectures: Some("75-real;86-real".to_owned()),
        };
        let check = |driver, capabilities: &[&str]| {
            let gpus = Ok(capabilities.iter().map(|capability| gpu(capability)).collect());
            let answer = CudaDriver { cuda: Some(CudaVersion(driver)), gpus };
            checked(answer, &build, &GpuEnvironment::default()).map_err(|error| error.cause)
        };
        assert_eq!(check(11_080, &["8.6"]), Err(UnavailableCause::DriverTooOld));
        assert!(check(12_000, &["8.6"]).is_ok(), "the same major version runs");
        assert_eq!(check(12_080, &["6.1", "9.0"]), Err(UnavailableCause::NoKernel));
        assert_eq!(check(12_080, &["6.1", "8.6"]).unwrap().len(), 2, "indexes stay");
    }

    #[test]
    fn a_device_that_is_not_shown_is_no_missing_device() {
        let cause = |visible: Option<&str>| {
            let cuda_visible_devices = visible.map(str::to_owned);
            let environment = GpuEnvironment { cuda_visible_devices, ..GpuEnvironment::default() };
            let error = DriverError::Code { call: "cuInit", code: 100 };
            let reason = explain(error, &environment, HostKind::default());
            (reason.cause, reason.detail)
        };
        assert_eq!(cause(None), (UnavailableCause::NoDevice, "cuInit".to_owned()));
        assert_eq!(cause(Some("-1")), (UnavailableCause::Hidden, "it is `-1`".to_owned()));
        let (seventh, detail) = cause(Some("7"));
        assert_eq!(seventh, UnavailableCause::NoDevice);
        assert!(detail.contains("CUDA_VISIBLE_DEVICES is `7`"), "{detail}");
    }
}
