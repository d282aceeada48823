//! What is found to run on, and why not: real probes of a fake driver, and programs that are none.

use std::fs;
use std::time::{Duration, Instant};

use auris_core::device::{Backend, DeviceInfo};
use auris_core::probe::{Unavailable, UnavailableCause};
use auris_scheduler::supervisor::WorkerProgram;
use auris_scheduler::supervisor::detect::{driver_report, probe, report};

use super::fake_driver::{is_real_one_installed, library_path, program, settings};
use super::harness::{self, PATIENCE};

/// Long enough for a process to start, short enough to wait for one that hangs.
const SHORT: Duration = Duration::from_millis(1500);

async fn found(variables: &[(&str, &str)]) -> Result<Vec<DeviceInfo>, Unavailable> {
    probe(&program(&settings(variables)), PATIENCE).await
}

async fn cause(variables: &[(&str, &str)]) -> UnavailableCause {
    found(variables).await.unwrap_err().cause
}

/// A program that is a line of shell.
fn shell(script: &str) -> WorkerProgram {
    WorkerProgram { path: "/bin/sh".into(), arguments: ["-c", script].map(Into::into).to_vec() }
}

#[tokio::test]
async fn every_gpu_is_listed_with_what_identifies_it() {
    let devices = found(&[("CUDA_FAKE_COUNT", "2"), ("CUDA_FAKE_MEMORY", "4294967296")]).await;
    let devices = devices.unwrap();
    assert_eq!(devices.len(), 2);
    for (index, device) in (0..).zip(&devices) {
        assert_eq!(device.id.as_str(), format!("cuda:{index}"));
        assert_eq!(device.backend, Backend::Cuda);
        assert_eq!(device.name, format!("Fake GPU {index}"));
        assert_eq!(device.index, Some(index));
        assert_eq!(device.memory_total_bytes, 4 << 30);
        assert_eq!(device.memory_free_bytes, 4 << 30);
        assert_eq!(device.compute_capability.as_deref(), Some("8.6"));
        let uuid = format!("GPU-fa000000-0000-0000-0000-00000000000{index}");
        assert_eq!(device.uuid, Some(uuid));
    }
    let devices = found(&[("CUDA_FAKE_FREE", "1000")]).await.unwrap();
    assert_eq!(devices[0].memory_free_bytes, 1000);
}

#[tokio::test]
async fn a_uuid_stays_when_devices_are_hidden_or_reordered() {
    let devices =
        found(&[("CUDA_FAKE_COUNT", "3"), ("CUDA_VISIBLE_DEVICES", "2,0")]).await.unwrap();
    let seen: Vec<_> = devices.iter().map(|device| (device.index, device.name.as_str())).collect();
    assert_eq!(seen, [(Some(0), "Fake GPU 2"), (Some(1), "Fake GPU 0")]);
    assert!(devices[0].uuid.as_ref().unwrap().ends_with("02"), "{devices:?}");
}

#[tokio::test]
async fn each_code_of_the_driver_has_its_cause_and_its_fix() {
    for (code, name, fix) in [
        (2, "out-of-memory", "smaller"),
        (3, "driver-unavailable", "nvidia-smi"),
        (34, "driver-stub", "stubs"),
        (35, "driver-too-old", "update the NVIDIA driver"),
        (46, "driver-unavailable", "nvidia-smi"),
        (100, "no-device", ""),
        (101, "invalid-device", "nvidia-smi -L"),
        (209, "no-kernel", "architecture"),
        (803, "driver-mismatch", "reboot"),
        (804, "forward-compat", "remove cuda-compat"),
        (999, "driver-unavailable", "nvidia-smi"),
        (12345, "driver-error", "nvidia-smi"),
    ] {
        let told = found(&[("CUDA_FAKE_INIT", &code.to_string())]).await.unwrap_err();
        assert_eq!((told.cause.into_str(), told.code), (name, Some(code)), "{told}");
        assert!(told.fix.contains(fix), "{fix:?} is missing: {told}");
        assert!(told.to_string().contains(&format!("CUDA error {code}")), "{told}");
        assert!(!told.is_permanent(), "{told}");
    }
}

#[tokio::test]
async fn hidden_devices_are_reported_from_missing_ones() {
    for value in ["", "-1", "nonsense"] {
        let told = found(&[("CUDA_VISIBLE_DEVICES", value)]).await.unwrap_err();
        assert_eq!(
            (told.cause, told.code),
            (UnavailableCause::Hidden, Some(100)),
            "{value:?}: {told}"
        );
        assert!(told.to_string().contains(&format!("`{value}`")), "{told}");
    }
    let seventh = found(&[("CUDA_VISIBLE_DEVICES", "7")]).await.unwrap_err();
    assert_eq!(seventh.cause, UnavailableCause::NoDevice, "{seventh}");
    assert!(seventh.detail.contains("CUDA_VISIBLE_DEVICES is `7`"), "{seventh}");
    assert_eq!(cause(&[("CUDA_FAKE_COUNT", "0")]).await, UnavailableCause::NoDevice);
}

#[tokio::test]
async fn a_driver_that_hangs_is_given_up_in_time() {
    let started = Instant::now();
    let program = program(&settings(&[("CUDA_FAKE_INIT", "hang")]));
    let told = probe(&program, SHORT).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::InitHangs, "{told}");
    assert!(started.elapsed() >= SHORT);
    assert!(started.elapsed() < SHORT + Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_driver_that_aborts_costs_the_probe_alone() {
    let told = found(&[("CUDA_FAKE_INIT", "abort")]).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::InitAborts, "{told}");
    assert!(told.detail.contains("SIGABRT"), "{told}");
    assert!(told.detail.contains("an assertion in the driver failed"), "{told}");
}

#[tokio::test]
async fn a_driver_that_comes_back_is_seen_by_the_next_probe() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let variables = [("CUDA_FAKE_FILE", file.to_str().unwrap()), ("CUDA_FAKE_INIT", "0")];
    fs::write(&file, "999\n").unwrap();
    assert_eq!(cause(&variables).await, UnavailableCause::DriverUnavailable);
    fs::write(&file, "0").unwrap();
    assert_eq!(found(&variables).await.unwrap().len(), 1);
    fs::write(&file, "46").unwrap();
    assert_eq!(cause(&variables).await, UnavailableCause::DriverUnavailable);
    fs::remove_file(&file).unwrap();
    assert_eq!(found(&variables).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_driver_is_reported_from_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let program = program(&[("LD_LIBRARY_PATH".to_owned(), path)]);
    if !is_real_one_installed() {
        let told = probe(&program, PATIENCE).await.unwrap_err();
        assert_eq!(told.cause, UnavailableCause::NoDriver, "{told}");
        assert!(told.detail.contains("libcuda.so.1"), "{told}");
    }
    // As container engines leave behind when the host's driver was upgraded.
    fs::write(folder.path().join("libcuda.so.1"), "").unwrap();
    let told = probe(&program, PATIENCE).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::DriverBroken, "{told}");
    assert!(told.detail.contains("file too short"), "{told}");
    // A library without the functions of a driver is none.
    let fake = library_path().join("libcuda.so.1");
    let compile = ["-shared", "-DcuInit=other", "-fPIC", "-o"];
    let output = folder.path().join("libcuda.so.1");
    let source = harness::repository("tests/fixtures/fake_libcuda.c");
    let status = std::process::Command::new("cc").args(compile).args([&output, &source]).status();
    assert!(status.unwrap().success() && fake.exists());
    let told = probe(&program, PATIENCE).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::DriverBroken, "{told}");
    assert!(told.detail.contains("cuInit"), "{told}");
}

#[tokio::test]
async fn the_report_names_the_copy_of_the_driver_that_was_asked() {
    let report = report(&program(&settings(&[])), PATIENCE).await.unwrap();
    assert_eq!(report.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(report.driver_cuda.unwrap().to_string(), "12.8");
    let loaded: Vec<_> = report.drivers.iter().filter(|driver| driver.loaded).collect();
    assert_eq!(loaded.len(), 1, "{report:?}");
    assert_eq!(loaded[0].path, library_path().join("libcuda.so.1"));
}

#[tokio::test]
async fn a_library_is_tried_on_its_own() {
    let program = program(&settings(&[("CUDA_FAKE_COUNT", "2")]));
    let ask = async |name: &str| {
        driver_report(&program, &library_path().join(name), PATIENCE).await.unwrap()
    };
    let cuda = ask("libcuda.so.1").await;
    assert_eq!(cuda.driver_version.as_deref(), Some("12.8"));
    assert_eq!(cuda.devices, ["Fake GPU 0", "Fake GPU 1"]);
    let nvml = ask("libnvidia-ml.so.1").await;
    assert_eq!(nvml.driver_version.as_deref(), Some("570.86.10"));
    assert_eq!(nvml.unavailable, None);
    let missing = ask("libcuda.so.1.none").await.unavailable.unwrap();
    assert_eq!(missing.cause, UnavailableCause::NoDriver, "{missing}");
}

#[tokio::test]
async fn the_engine_for_the_cpu_offers_the_cpu() {
    let program = WorkerProgram { path: harness::program("auris-worker"), arguments: Vec::new() };
    let devices = probe(&program, PATIENCE).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].id.as_str(), devices[0].backend), ("cpu", Backend::Cpu));
}

#[tokio::test]
async fn a_program_that_is_missing_or_of_another_release_stays_so() {
    let missing =
        WorkerProgram { path: "/nowhere/auris-worker-cuda".into(), arguments: Vec::new() };
    let told = probe(&missing, PATIENCE).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::ProgramMissing, "{told}");
    assert!(told.is_permanent() && told.detail.contains("/nowhere/auris-worker-cuda"), "{told}");

    let other = shell(r#"echo '{"protocol":9999,"version":"9.9.9","more":[]}'"#);
    let told = probe(&other, PATIENCE).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::OtherRelease, "{told}");
    assert!(told.is_permanent() && told.detail.contains("auris 9.9.9"), "{told}");
    assert!(told.fix.contains("from the same release"), "{told}");
}

#[tokio::test]
async fn what_is_no_probe_is_reported_from_what_cannot_start() {
    let echo = WorkerProgram { path: "/bin/echo".into(), arguments: vec!["hello".into()] };
    for (program, cause, words) in [
        (echo, UnavailableCause::BadProbe, "hello --probe"),
        (shell("exit 0"), UnavailableCause::BadProbe, "status 0"),
        (shell("echo no such option >&2; exit 2"), UnavailableCause::BadProbe, "no such option"),
        (shell("printf '{\"protocol\":'; exit 3"), UnavailableCause::BadProbe, "status 3"),
        (shell("head -c 3000000 /dev/zero"), UnavailableCause::BadProbe, "instead of an answer"),
        (
            shell("echo libcublas.so.12: cannot open shared object file >&2; exit 127"),
            UnavailableCause::LibraryMissing,
            "libcublas.so.12",
        ),
        (shell("kill -SEGV $$"), UnavailableCause::InitAborts, "SIGSEGV"),
        (shell("kill -KILL $$"), UnavailableCause::InitAborts, "signal 9"),
    ] {
        let told = probe(&program, PATIENCE).await.unwrap_err();
        assert_eq!(told.cause, cause, "{program:?}: {told}");
        assert!(told.detail.contains(words), "{words:?} is missing: {told}");
        assert!(!told.is_permanent(), "{told}");
    }
    let no_program = WorkerProgram { path: "/dev/null".into(), arguments: Vec::new() };
    let told = probe(&no_program, PATIENCE).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::ProgramBroken, "{told}");
}

#[tokio::test]
async fn a_program_that_ignores_everything_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let ids = folder.path().join("ids");
    let script = format!(
        "trap '' TERM INT HUP; sleep 1000 & echo $$ $! >{}; echo waiting >&2; wait; sleep 1000",
        ids.display()
    );
    let told = probe(&shell(&script), SHORT).await.unwrap_err();
    assert_eq!(told.cause, UnavailableCause::InitHangs, "{told}");
    assert!(told.detail.contains("its last message: waiting"), "{told}");
    let ids = fs::read_to_string(ids).unwrap();
    let started = Instant::now();
    for id in ids.split_whitespace() {
        // The orphan is collected by somebody else.
        let lives = || {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        while lives() {
            assert!(started.elapsed() < PATIENCE, "process {id} is left over");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_probe_that_nobody_waits_for_ends_by_itself() {
    let mut command = std::process::Command::new(harness::program("auris-fake-worker"));
    command.args(["none", "--probe"]);
    command.envs(settings(&[("CUDA_FAKE_INIT", "hang")]));
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert!(!child.wait().unwrap().success());
}
