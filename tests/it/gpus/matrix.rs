//! The matrix of faults. A row that fails at the start names what the driver or the worker does
//! wrong; one that fails in the middle has a GPU that worked until then.

use super::super::harness::Server;
use super::{history, metric, transcribe, until_models_are};

/// The driver's or the program's fault keeps every GPU from being used: the CPU does it, and
/// says why.
async fn check_unused(driver: &[(&str, &str)], extra: &[&str], cause: &str, words: &str) {
    let server = Server::gpu("none", driver, extra).await;
    let known = async || server.devices().await["unused"][0]["cause"] == cause;
    server.until(&format!("the cause never was {cause}"), known).await;
    let answer = transcribe(&server, 1).await;
    assert_eq!(answer.header("x-device"), Some("cpu"));
    assert_eq!(answer.header("x-fallback-reason"), Some(cause));
    let unused = &server.devices().await["unused"][0];
    assert!(unused["reason"].as_str().unwrap().contains(words), "{unused} lacks {words}");
    let counted = format!("auris_fallbacks_total{{device=\"cuda\",reason=\"{cause}\"}}");
    assert!(metric(&server.metrics().await, &counted) >= Some(1.0), "{counted} is missing");
    assert!(server.log().contains(cause), "the log does not say {cause}");
}

macro_rules! unused {
    ($($name:ident: $driver:expr, $extra:expr => $cause:literal, $words:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check_unused(&$driver, &$extra, $cause, $words).await;
        }
    )*};
}

unused! {
    a_driver_that_is_too_old: [("CUDA_FAKE_INIT", "35")], [] => "driver-too-old", "update";
    a_driver_without_devices: [("CUDA_FAKE_INIT", "100")], [] => "no-device", "no GPU";
    a_driver_that_does_not_match_the_kernel: [("CUDA_FAKE_INIT", "803")], [] => "driver-mismatch", "versions";
    compat_libraries_on_the_wrong_gpu: [("CUDA_FAKE_INIT", "804")], [] => "forward-compat", "compat";
    a_driver_that_does_not_know_why: [("CUDA_FAKE_INIT", "999")], [] => "driver-unavailable", "nvidia";
    a_driver_that_hangs: [("CUDA_FAKE_INIT", "hang")], ["--probe-seconds", "0.5"] => "init-hangs", "not answer";
    a_driver_that_aborts: [("CUDA_FAKE_INIT", "abort")], [] => "init-aborts", "ends the process";
    hidden_devices: [("CUDA_VISIBLE_DEVICES", "-1")], [] => "hidden", "CUDA_VISIBLE_DEVICES";
    no_visible_device: [("CUDA_VISIBLE_DEVICES", "")], [] => "hidden", "CUDA_VISIBLE_DEVICES";
    nonsense_for_visible_devices: [("CUDA_VISIBLE_DEVICES", "all of them")], [] => "hidden", "CUDA_VISIBLE_DEVICES";
    a_missing_program: [], ["--cuda-program", "/nowhere/auris-worker-cuda", "--device", "cuda"] => "program-missing", "not installed";
    a_program_that_is_none: [], ["--cuda-program", "/bin/echo"] => "bad-probe", "answer";
    a_program_that_only_fails: [], ["--cuda-program", "/bin/false"] => "bad-probe", "answer";
    an_index_out_of_range: [("CUDA_FAKE_COUNT", "2")], ["--device", "cuda:7"] => "not-selected", "cuda:1";
    an_unknown_uuid: [], ["--device", "cuda:GPU-00000000"] => "not-selected", "Fake GPU 0";
}

#[tokio::test]
async fn no_driver() {
    if super::super::fake_driver::is_real_one_installed() {
        return; // this machine cannot be without one
    }
    let nowhere = tempfile::tempdir().unwrap();
    let path = nowhere.path().to_str().unwrap();
    check_unused(&[("LD_LIBRARY_PATH", path)], &[], "no-driver", "driver").await;
}

/// A fault while the GPU's worker starts: the CPU does it, and says why.
async fn check_start(script: &str, extra: &[&str], reason: &str) {
    let server = Server::gpu(script, &[], extra).await;
    let failed = async || {
        let model = &server.device("cuda:0").await["models"][0];
        model["last_failure"]["reason"] == reason
    };
    server.until(&format!("the GPU never failed for {reason}"), failed).await;
    let answer = transcribe(&server, 1).await;
    assert_eq!(answer.header("x-device"), Some("cpu"), "{}", server.log());
    assert_eq!(answer.header("x-fallback-reason"), Some(reason), "{}", server.log());
    tell(&server, reason, "start").await;
}

/// A fault in the middle of a chunk: it is finished on `device`, within a second.
async fn check_middle(script: &str, reason: &str, device: &str) {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("{script},speed=20,marker={}", marker.path().display());
    let server = Server::gpu(&script, &[], &["--stall-seconds", "0.5"]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    let answer = transcribe(&server, 1).await;
    assert_eq!(answer.header("x-device"), Some(device), "{}", server.log());
    assert_eq!(answer.header("x-fallback-reason"), Some(reason), "{}", server.log());
    tell(&server, reason, "middle").await;
    let metrics = server.metrics().await;
    let delay = metric(&metrics, "auris_chunk_retry_delay_seconds_sum").unwrap();
    eprintln!("{reason}: the next attempt began {:.1} ms after the failure", delay * 1e3);
    assert!(delay < 1.0, "{delay} s from the failure to the next attempt");
    let retries = format!("auris_chunk_retries_total{{device=\"cuda:0\",reason=\"{reason}\"}}");
    assert!(metric(&metrics, &retries) >= Some(1.0), "{retries} is missing");
}

/// The reason stands in the device's history, its metrics and the log.
async fn tell(server: &Server, reason: &str, when: &str) {
    let device = server.device("cuda:0").await;
    let events = history(&device);
    if reason != "engine-error" {
        assert!(events.contains(&("failure".to_owned(), reason.to_owned())), "{when}: {events:?}");
        let counted = format!(
            "auris_worker_failures_total{{device=\"cuda:0\",model=\"demo\",reason=\"{reason}\"}}"
        );
        assert!(metric(&server.metrics().await, &counted) >= Some(1.0), "{counted} is missing");
    }
    assert!(server.log().contains(reason), "{when}: the log does not say {reason}");
}

macro_rules! start {
    ($($name:ident: $script:literal, $extra:expr => $reason:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check_start($script, &$extra, $reason).await;
        }
    )*};
}

start! {
    out_of_memory_at_load: "load-oom", [] => "out-of-memory";
    out_of_memory_at_state_creation: "state-oom", [] => "out-of-memory";
    a_load_that_hangs: "load-hang", ["--load-seconds", "0.3"] => "start-timeout";
    a_load_that_ends_up_elsewhere: "load-elsewhere", [] => "wrong-device";
    a_worker_that_prints_garbage: "garbage", [] => "protocol";
    a_worker_of_another_version: "version", [] => "protocol";
    a_model_that_the_gpu_refuses: "load-bad", [] => "bad-model";
}

macro_rules! middle {
    ($($name:ident: $script:literal => $reason:literal, $device:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            check_middle($script, $reason, $device).await;
        }
    )*};
}

middle! {
    an_abort_in_the_middle: "abort,times=1" => "aborted", "cpu";
    a_hang_in_the_middle: "hang,times=1" => "stalled", "cpu";
    an_error_in_the_middle: "error,times=1" => "engine-error", "cpu";
    a_kill_in_the_middle: "kill,times=1" => "killed", "cuda:0";
    out_of_memory_once_in_the_middle: "oom,times=1" => "out-of-memory", "cuda:0";
    out_of_memory_with_all_slots: "oom,chunk=0,over=2" => "out-of-memory", "cuda:0";
    out_of_memory_with_any_slots: "oom,chunk=0" => "out-of-memory", "cpu";
}

#[tokio::test]
async fn a_slow_gpu_is_given_less_to_do() {
    let server = Server::gpu("none,speed=1", &[], &[]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    // Nothing is known of it yet.
    assert_eq!(transcribe(&server, 1).await.header("x-device"), Some("cuda:0"));
    let answer = transcribe(&server, 2).await;
    assert_eq!(answer.header("x-device"), Some("cpu"));
    assert_eq!(answer.header("x-fallback-reason"), None, "that is a choice");
    let speed = server.device("cuda:0").await["models"][0]["speed"].as_f64().unwrap();
    assert!((0.5..=1.1).contains(&speed), "{speed}");
}
