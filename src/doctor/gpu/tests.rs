use super::*;
use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::ipc::PROTOCOL_VERSION;
use auris_core::probe::{CudaBuild, CudaVersion, DriverReport, GpuEnvironment, HostKind};

const AUTO: GpuExpectation = GpuExpectation { wanted: true, demanded: false, there: true };

fn reported(path: &str, file: Option<&str>, code: i32) -> LibraryReport {
    let unavailable =
        Unavailable::new(UnavailableCause::of_cuda(code), "cuInit", HostKind::default());
    Ok(DriverReport {
        protocol: PROTOCOL_VERSION,
        version: "0".to_owned(),
        path: path.into(),
        file: file.map(Into::into),
        driver_version: Some("12.8".to_owned()),
        devices: Vec::new(),
        unavailable: (code != 0).then(|| unavailable.with_code(code)),
    })
}

fn missing() -> LibraryReport {
    Err(Unavailable::new(UnavailableCause::NoDriver, "", HostKind::default()))
}

fn library(used: LibraryReport, others: Vec<(&str, LibraryReport)>) -> Library {
    let others = others.into_iter().map(|(path, report)| (path.into(), report)).collect();
    Library { used, others }
}

fn drivers(cuda: Library) -> DriverReports {
    DriverReports { cuda, nvml: library(missing(), Vec::new()), program: None }
}

fn report(build: CudaBuild, capability: &str) -> ProbeReport {
    ProbeReport {
        protocol: PROTOCOL_VERSION,
        version: "0".to_owned(),
        backend: Backend::Cuda,
        build,
        driver_cuda: Some(CudaVersion(12_080)),
        devices: vec![DeviceInfo {
            id: DeviceId::indexed(Backend::Cuda, 0),
            backend: Backend::Cuda,
            name: "GPU".to_owned(),
            memory_total_bytes: 0,
            memory_free_bytes: 0,
            index: Some(0),
            uuid: None,
            compute_capability: Some(capability.to_owned()),
        }],
        unavailable: None,
        drivers: Vec::new(),
    }
}

#[track_caller]
fn has(check: &Check, level: Severity, fix: &str) {
    assert_eq!(check.level, level, "{check:?}");
    assert!(check.fix.as_deref().unwrap_or_default().contains(fix), "{fix:?}: {check:?}");
}

#[test]
fn a_linux_driver_inside_wsl_is_detected() {
    let host =
        Host { place: HostKind { wsl: Some(Wsl::Two), container: false }, ..Host::default() };
    let linux = reported(CUDA_DRIVER, Some("/usr/lib/x86_64-linux-gnu/libcuda.so.550.1"), 100);
    let windows = reported("/usr/lib/wsl/lib/libcuda.so.1", None, 0);
    let library = library(linux, vec![("/usr/lib/wsl/lib/libcuda.so.1", windows)]);
    let check = cuda(&host, &library, AUTO);
    has(&check, Severity::Fail, "dpkg -S");
    assert!(check.cause.unwrap().contains("hides the driver of Windows"));
    let well = reported(CUDA_DRIVER, Some("/usr/lib/wsl/lib/libcuda.so.1"), 0);
    assert_eq!(cuda(&host, &self::library(well, Vec::new()), AUTO).level, Severity::Pass);
}

#[test]
fn a_copy_that_works_and_is_not_found_is_pointed_at() {
    let windows = || reported("/usr/lib/wsl/lib/libcuda.so.1", None, 0);
    let others = || vec![("/usr/lib/wsl/lib/libcuda.so.1", windows())];
    let host = Host::default();
    has(&cuda(&host, &library(missing(), others()), AUTO), Severity::Fail, "/usr/lib/wsl/lib");
    let compat = reported(CUDA_DRIVER, Some("/usr/local/cuda/compat/libcuda.so.1"), 804);
    let check = cuda(&host, &library(compat, others()), AUTO);
    has(&check, Severity::Fail, "LD_LIBRARY_PATH");
    assert!(check.cause.unwrap().contains("works and is not used"));
}

#[test]
fn a_copy_that_is_no_use_is_a_warning() {
    let broken = || vec![("/opt/libcuda.so.1", reported("/opt/libcuda.so.1", None, 803))];
    let well = reported(CUDA_DRIVER, Some("/usr/lib64/libcuda.so.1"), 0);
    let found = copies("libcuda", &library(well, broken()));
    has(&found[0], Severity::Warn, "remove it");
    assert!(found[0].observed.contains("which is not used"), "{found:?}");
    // It may be the very one that hangs.
    let hangs = Err(Unavailable::new(UnavailableCause::InitHangs, "", HostKind::default()));
    let found = copies("libcuda", &library(hangs, broken()));
    has(&found[0], Severity::Warn, "reboot");
    assert!(!found[0].observed.contains("not used"), "{found:?}");
}

#[test]
fn a_missing_driver_is_reported_as_the_place_demands() {
    for (wsl, container, fix) in [
        (None, false, "install the NVIDIA driver"),
        (None, true, "Container Toolkit"),
        (Some(Wsl::Two), false, "in Windows, not in WSL"),
        (Some(Wsl::Two), true, "--profile gpu"),
        (Some(Wsl::One), false, "wsl --set-version"),
    ] {
        let place = HostKind { wsl, container };
        let absent = Err(Unavailable::new(UnavailableCause::NoDriver, "", place));
        let host = Host { place, ..Host::default() };
        has(&cuda(&host, &library(absent, Vec::new()), AUTO), Severity::Fail, fix);
    }
    let container = HostKind { wsl: None, container: true };
    let host = Host { place: container, ..Host::default() };
    has(&nvml(&host, &library(missing(), Vec::new()), AUTO), Severity::Warn, "utility");
}

#[test]
fn without_any_sign_of_a_gpu_nothing_is_broken() {
    let none = GpuExpectation { there: false, ..AUTO };
    let found = checks(&Host::default(), &drivers(library(missing(), Vec::new())), None, none);
    assert!(found.iter().all(|check| check.level != Severity::Fail), "{found:?}");
    has(&found[0], Severity::Warn, "install the NVIDIA driver");
}

#[test]
fn a_missing_program_is_a_choice_unless_a_gpu_is_required() {
    let check = |expectation| {
        let reason = Unavailable::new(UnavailableCause::ProgramMissing, "", HostKind::default());
        let program = Some(Err(reason));
        let drivers = DriverReports { program, ..drivers(library(missing(), Vec::new())) };
        gpus(&drivers, Some(&GpuSelection::All), expectation)
    };
    assert_eq!(check(GpuExpectation { there: false, ..AUTO }).level, Severity::Pass);
    has(&check(AUTO), Severity::Warn, "install auris-worker-cuda");
    has(
        &check(GpuExpectation { demanded: true, ..AUTO }),
        Severity::Fail,
        "install auris-worker-cuda",
    );
}

#[test]
fn a_device_that_is_not_there_is_reported_with_those_that_are() {
    let program = Some(Ok(report(CudaBuild::default(), "8.6")));
    let drivers = DriverReports { program, ..drivers(library(missing(), Vec::new())) };
    let check = |select| gpus(&drivers, Some(&select), GpuExpectation { demanded: true, ..AUTO });
    let wrong = check(GpuSelection::Index(5));
    has(&wrong, Severity::Fail, "choose one");
    assert_eq!(wrong.observed, "cuda:0 GPU");
    assert_eq!(check(GpuSelection::Index(0)).observed, "cuda:0 GPU, CUDA 12.8");
}

#[test]
fn the_driver_is_compared_with_what_the_program_needs() {
    let check = |driver: &str, cuda| {
        let host = Host { kernel_module: Some(driver.to_owned()), ..Host::default() };
        let build = CudaBuild { cuda: Some(CudaVersion(cuda)), architectures: None };
        let nvml = library(missing(), Vec::new());
        driver_version(&host, &nvml, Some(&report(build, "8.6")), AUTO).level
    };
    assert_eq!(check("570.86.10", 12_080), Severity::Pass);
    assert_eq!(check("535.183.01", 12_080), Severity::Warn);
    assert_eq!(check("470.256.02", 12_080), Severity::Fail);
    assert_eq!(check("570.86.10", 13_000), Severity::Fail);
    assert_eq!(check("580.65", 13_000), Severity::Pass);
}

#[test]
fn a_gpu_without_kernels_is_reported() {
    let check = |capability| {
        let architectures = Some("75-real;86-real".to_owned());
        architecture(&report(CudaBuild { cuda: None, architectures }, capability), AUTO)
    };
    assert_eq!(check("8.6").level, Severity::Pass);
    has(&check("6.1"), Severity::Fail, "architecture");
}

#[test]
fn variables_that_keep_gpus_away_are_reported() {
    let host = |visible: Option<&str>, path: Option<&str>| {
        let environment = GpuEnvironment {
            cuda_visible_devices: visible.map(str::to_owned),
            library_path: path.map(str::to_owned),
            ..GpuEnvironment::default()
        };
        Host { environment, ..Host::default() }
    };
    has(&visible_devices(&host(Some("-1"), None), AUTO), Severity::Fail, "unset");
    assert_eq!(visible_devices(&host(Some("0"), None), AUTO).level, Severity::Pass);

    let compat = host(None, Some("/usr/local/lib:/usr/local/cuda/compat"));
    let with = |host: &Host, code| {
        compat_path(host, &drivers(library(reported(CUDA_DRIVER, None, code), Vec::new())), AUTO)
    };
    has(&with(&compat, 804), Severity::Fail, "LD_LIBRARY_PATH");
    has(&with(&compat, 0), Severity::Warn, "LD_LIBRARY_PATH");
    assert_eq!(with(&host(None, Some("/usr/lib")), 804).level, Severity::Pass);
}
