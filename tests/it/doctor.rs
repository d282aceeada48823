//! `auris doctor` on machines that are well and on machines that are not: real processes, a fake
//! driver.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::fake_driver::{is_real_one_installed, settings};
use super::harness::{DEMO, Server, auris, fake, repository};

/// What doctor said.
struct Visit {
    code: i32,
    report: Value,
}

impl Visit {
    /// The checks called `id`.
    fn all(&self, id: &str) -> Vec<&Value> {
        let checks = self.report["checks"].as_array().unwrap();
        checks.iter().filter(|check| check["id"] == id).collect()
    }

    /// The first of them.
    #[track_caller]
    fn check(&self, id: &str) -> &Value {
        self.all(id).first().copied().unwrap_or_else(|| panic!("no {id}: {}", self.report))
    }

    /// Looks for `words` in a check's text.
    #[track_caller]
    fn has(&self, id: &str, level: &str, key: &str, words: &str) {
        let check = self.check(id);
        assert_eq!(check["level"], level, "{check}");
        let text = check[key].as_str().unwrap_or_default();
        assert!(text.contains(words), "{words:?} is missing: {check}");
    }
}

/// `auris doctor` on the demo model, for an address and a spool that are nobody else's.
fn command(arguments: &[&str], variables: &[(String, String)]) -> Command {
    let mut command = auris();
    command.env_remove("AURIS_LOG").env_remove("CUDA_VISIBLE_DEVICES");
    let settings =
        [("AURIS_MODELS", DEMO), ("AURIS_OFFLINE", "1"), ("AURIS_LISTEN", "127.0.0.1:0")];
    command.envs(settings).envs(variables.iter().cloned());
    command.arg("doctor").args(arguments).stdin(Stdio::null());
    command
}

fn visit(arguments: &[&str], variables: &[(String, String)]) -> Visit {
    let output = command(&[&["--json"], arguments].concat(), variables).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&output.stderr)));
    let code = output.status.code().unwrap();
    assert_eq!(report["exit_code"], code, "{report}");
    for check in report["checks"].as_array().unwrap() {
        let well = check["level"] == "PASS";
        assert_eq!(check["cause"].is_null(), well, "{check}");
        assert_eq!(check["fix"].is_null(), well, "{check}");
    }
    Visit { code, report }
}

/// On the fake driver, told what to do by `variables`.
fn fake_gpus(variables: &[(&str, &str)]) -> Visit {
    visit(&["--cuda-program", &fake("none")], &settings(variables))
}

#[test]
fn a_machine_without_a_gpu_uses_the_cpu_by_design() {
    if is_real_one_installed() {
        return;
    }
    let visit = visit(&[], &[]);
    assert_eq!(visit.code, 10, "{}", visit.report);
    visit.has("cpu-load", "PASS", "observed", "demo on cpu");
    visit.has("gpu", "PASS", "observed", "none");
    visit.has("libcuda", "WARN", "fix", "NVIDIA driver");
    visit.has("model", "PASS", "observed", "no published checksum");
    for id in
        ["os", "container", "device-nodes", "cpu-features", "threads", "port", "spool", "sandbox"]
    {
        assert_ne!(visit.check(id)["level"], "FAIL", "{}", visit.report);
    }
}

#[test]
fn the_table_has_a_line_for_each_check_and_says_what_it_means() {
    let output = command(&["--cuda-program", &fake("none")], &settings(&[])).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("\nGPUs can be used: cuda:0 Fake GPU 0 (exit status 0)\n"), "{text}");
    let (checks, _) = text.split_once("\n\n").unwrap();
    for line in checks.lines() {
        let well = line.starts_with("PASS  ");
        assert!(well || line.starts_with("WARN  ") || line.starts_with("FAIL  "), "{line}");
        assert_eq!(line.contains("  cause: ") && line.contains("  fix: "), !well, "{line}");
    }
    assert!(checks.contains("\nPASS  gpu-load        demo on cuda:0 Fake GPU 0: loaded"), "{text}");
}

#[test]
fn a_gpu_that_works_is_reported_with_everything_about_it() {
    let visit = fake_gpus(&[("CUDA_FAKE_COUNT", "2")]);
    assert_eq!(visit.code, 0, "{}", visit.report);
    visit.has("libcuda", "PASS", "observed", "CUDA 12.8, Fake GPU 0, Fake GPU 1");
    visit.has("nvml", "PASS", "observed", "driver 570.86.10");
    visit.has("driver-version", "PASS", "observed", "570.86.10");
    visit.has("gpu", "PASS", "observed", "cuda:0 Fake GPU 0, cuda:1 Fake GPU 1, CUDA 12.8");
    visit.has("memory", "PASS", "observed", "cuda:0: 8.00 GiB of 8.00 GiB free");
    assert_eq!(visit.all("gpu-load").len(), 2);
    assert_eq!(visit.report["verdict"], "gpu");
}

#[test]
fn each_trouble_of_a_driver_has_its_line_its_cause_its_fix_and_its_exit_status() {
    let page = fs::read_to_string(repository("docs/gpu-troubleshooting.md")).unwrap();
    for (init, cause, fix) in [
        ("2", "no memory left", "end other programs"),
        ("12", "reports an error", "nvidia-smi"),
        ("34", "stub", "out of the loader's path"),
        ("35", "too old", "update the NVIDIA driver"),
        ("100", "sees no GPU", ""),
        ("101", "refuses the GPU", "nvidia-smi -L"),
        ("803", "different versions", "reboot"),
        ("804", "cuda-compat", "remove cuda-compat"),
        ("999", "cannot start", "nvidia-smi"),
        ("abort", "ends the process", "nvidia-smi"),
    ] {
        let visit = fake_gpus(&[("CUDA_FAKE_INIT", init)]);
        assert_eq!(visit.code, 20, "{init}: {}", visit.report);
        let line = format!("  cause: {}  fix: ", visit.check("libcuda")["cause"].as_str().unwrap());
        assert!(page.contains(&line), "{line} is not in docs/gpu-troubleshooting.md");
        for id in ["libcuda", "gpu"] {
            visit.has(id, "FAIL", "cause", cause);
            visit.has(id, "FAIL", "fix", fix);
        }
        visit.has("cpu-load", "PASS", "observed", "demo on cpu");
        assert!(visit.all("gpu-load").is_empty(), "{}", visit.report);
    }
}

#[test]
fn a_driver_that_hangs_is_reported_in_time() {
    let visit = fake_gpus(&[("CUDA_FAKE_INIT", "hang")]);
    assert_eq!(visit.code, 20, "{}", visit.report);
    visit.has("libcuda", "FAIL", "cause", "does not answer");
    visit.has("gpu", "FAIL", "cause", "does not answer");
}

#[test]
fn hidden_devices_are_reported_with_the_variable() {
    let visit = fake_gpus(&[("CUDA_VISIBLE_DEVICES", "-1")]);
    assert_eq!(visit.code, 20, "{}", visit.report);
    visit.has("visible-devices", "FAIL", "fix", "unset CUDA_VISIBLE_DEVICES");
    visit.has("gpu", "FAIL", "cause", "CUDA_VISIBLE_DEVICES hides every GPU");
}

#[test]
fn a_gpu_that_cannot_load_a_model_is_broken() {
    for (fault, cause) in [("load-oom", "out of memory"), ("abort", "")] {
        let visit = visit(&["--cuda-program", &fake(fault)], &settings(&[]));
        // The warm-up of the fake engine runs no chunk.
        let (level, code) = if cause.is_empty() { ("PASS", 0) } else { ("FAIL", 20) };
        assert_eq!(visit.code, code, "{}", visit.report);
        visit.has("gpu-load", level, "cause", cause);
    }
}

#[test]
fn a_gpu_that_is_demanded_must_be_there() {
    if is_real_one_installed() {
        return;
    }
    let visit = visit(&["--device", "cuda"], &[]);
    assert_eq!(visit.code, 20, "{}", visit.report);
    visit.has("gpu", "FAIL", "fix", "install auris-worker-cuda");
}

#[test]
fn an_unwanted_gpu_is_only_listed() {
    let mut variables = settings(&[("CUDA_FAKE_INIT", "999")]);
    let broken = visit(&["--cuda-program", &fake("none"), "--device", "cpu"], &variables);
    assert_eq!(broken.code, 10, "{}", broken.report);
    broken.has("libcuda", "WARN", "cause", "cannot start");
    broken.has("gpu", "PASS", "observed", "none, as configured");
    variables = settings(&[]);
    assert_eq!(visit(&["--cuda-program", &fake("none"), "--no-gpu"], &variables).code, 10);
}

#[test]
fn what_keeps_the_service_from_working_at_all_is_reported_apart() {
    let damaged = tempfile::tempdir().unwrap();
    fs::copy(DEMO, damaged.path().join("ggml-tiny.bin")).unwrap();
    let folder = damaged.path().to_str().unwrap().to_owned();
    let damaged = visit(&["--models", "tiny"], &[("AURIS_MODELS_DIR".into(), folder)]);
    assert_eq!(damaged.code, 30, "{}", damaged.report);
    damaged.has("model", "FAIL", "cause", "delete it");
    let spool = visit(&["--spool-dir", "/nowhere"], &[]);
    assert_eq!(spool.code, 30, "{}", spool.report);
    spool.has("spool", "FAIL", "fix", "--spool-dir");
    let engine = visit(&["--cpu-program", &fake("load-bad")], &[]);
    assert_eq!(engine.code, 30, "{}", engine.report);
    engine.has("cpu-load", "FAIL", "cause", "bad magic");
}

#[test]
fn a_missing_model_is_a_warning_since_the_bundled_one_stands_in() {
    let variables = [("AURIS_MODELS_DIR".into(), "/nowhere".into())];
    let missing = visit(&["--models", "tiny", "--cpu-program", &fake("none")], &variables);
    assert_ne!(missing.code, 30, "{}", missing.report);
    missing.has("model", "WARN", "cause", "base-q8_0 stands in");
    missing.has("model", "WARN", "fix", "at /nowhere/ggml-tiny.bin");
    assert!(missing.report.to_string().contains("SHA-256 matches"), "{}", missing.report);
    missing.has("cpu-load", "PASS", "observed", "base-q8_0 on cpu");
}

#[tokio::test]
async fn a_running_auris_is_asked_about_its_devices() {
    let server = Server::fake("none", &[]).await;
    let address = server.address.to_string();
    let mut command = auris();
    command.args(["doctor", "--json", "--models", DEMO, "--offline", "--listen", &address]);
    let output = command.env("http_proxy", "http://127.0.0.1:1").output().unwrap();
    let visit = Visit { code: 0, report: serde_json::from_slice(&output.stdout).unwrap() };
    visit.has("port", "PASS", "observed", "taken by a running auris");
    visit.has("server-device", "PASS", "observed", "cpu is ready");
}

#[test]
fn a_port_in_use_is_a_warning() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let visit = visit(&["--listen", &address], &[]);
    visit.has("port", "WARN", "fix", "--listen");
    assert_ne!(visit.code, 30, "{}", visit.report);
}

#[test]
fn an_option_that_cannot_be_meant_is_refused() {
    let output = command(&["--slots", "0"], &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--slots"));
}
