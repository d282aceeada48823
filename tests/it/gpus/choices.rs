//! What is chosen by options, and by the memory there is.

use super::super::harness::{DEMO, Server, auris, fake, wav};
use super::{history, transcribe, until_models_are};

/// Runs `serve` with options that it must refuse, and returns what it says.
fn refusal(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = auris()
        .args(["serve", "--listen", "127.0.0.1:0", "--models", DEMO, "--offline"])
        .args(arguments)
        .envs(super::super::fake_driver::settings(variables))
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn options_that_contradict_each_other_are_reported() {
    for (variables, arguments, words) in [
        (&[][..], &["--no-gpu", "--device", "cuda"][..], "contradicts --no-gpu"),
        (&[("GPU_AVAILABLE", "false")], &["--require-gpu"], "contradicts GPU_AVAILABLE=false"),
        (&[("GPU_AVAILABLE", "maybe")], &[], "neither true nor false"),
        (&[("DEVICE", "rocm")], &[], "not one of auto, cpu, cuda"),
        (&[], &["--device", "cuda:first"], "neither an index"),
        (&[], &["--max-per-device", "0"], "from 1 to 64"),
    ] {
        let said = refusal(variables, arguments);
        assert!(said.contains(words), "{said} lacks {words}");
    }
}

#[test]
fn a_required_gpu_that_does_not_work_keeps_the_server_from_starting() {
    let said =
        refusal(&[("CUDA_FAKE_INIT", "803")], &["--require-gpu", "--cuda-program", &fake("none")]);
    assert!(said.contains("versions") && said.contains("--require-gpu"), "{said}");
}

#[tokio::test]
async fn a_gpu_that_is_switched_off_is_not_probed_and_not_reported() {
    let off = [("GPU_AVAILABLE", "false"), ("CUDA_FAKE_INIT", "hang")];
    let server = Server::gpu("none", &off, &[]).await;
    let answer = transcribe(&server, 1).await;
    assert_eq!(
        (answer.header("x-device"), answer.header("x-fallback-reason")),
        (Some("cpu"), None)
    );
    let unused = &server.devices().await["unused"][0];
    assert_eq!(unused["cause"], serde_json::Value::Null);
    assert!(unused["reason"].as_str().unwrap().contains("GPU_AVAILABLE"), "{unused}");
}

#[tokio::test]
async fn one_gpu_is_chosen_by_index_or_uuid() {
    for device in ["cuda:1", "cuda:GPU-fa000000-0000-0000-0000-000000000001"] {
        let two = [("CUDA_FAKE_COUNT", "2")];
        let server = Server::gpu("none", &two, &["--device", device]).await;
        until_models_are(&server, "cuda:1", "ready").await;
        assert_eq!(transcribe(&server, 1).await.header("x-device"), Some("cuda:1"));
        assert_eq!(server.device("cuda:0").await, serde_json::Value::Null);
    }
}

#[tokio::test]
async fn a_model_that_does_not_fit_runs_on_the_cpu_and_the_other_on_the_gpu() {
    let folder = tempfile::tempdir().unwrap();
    // As large as it says; never read, since the engine is fake.
    let large = folder.path().join("ggml-large-one.bin");
    std::fs::copy(DEMO, &large).unwrap();
    std::fs::OpenOptions::new().write(true).open(&large).unwrap().set_len(3 << 30).unwrap();
    let models = large.to_str().unwrap();
    let memory = [("CUDA_FAKE_MEMORY", "2147483648")];
    let server = Server::gpu("none", &memory, &["--models", models]).await;
    let placed = async || {
        let device = server.device("cuda:0").await;
        device["models"][0]["state"] == "ready" && device["models"][1]["state"] == "no-room"
    };
    server.until("the models were not placed by memory", placed).await;
    let name = server.device("cuda:0").await["models"][1]["name"].as_str().unwrap().to_owned();
    let large = server.transcribe(wav(1.0, 1), &[("model", &name)]).await;
    assert_eq!(large.header("x-device"), Some("cpu"), "{large:?}");
    assert_eq!(large.header("x-fallback-reason"), Some("no-room"));
    let small = server.transcribe(wav(1.0, 1), &[("model", "demo")]).await;
    assert_eq!(small.header("x-device"), Some("cuda:0"), "{small:?}");
}

#[tokio::test]
async fn a_worker_is_replaced_after_so_many_chunks_and_an_idle_model_unloaded() {
    let options = ["--recycle-after", "3", "--unload-after-minutes", "0.01"];
    let server = Server::gpu("none", &[], &options).await;
    until_models_are(&server, "cuda:0", "ready").await;
    for seed in 0..8 {
        assert_eq!(transcribe(&server, seed).await.header("x-fallback-reason"), None);
    }
    let recycled =
        async || history(&server.device("cuda:0").await).iter().any(|(kind, _)| kind == "recycled");
    server.until("no worker was replaced", recycled).await;
    until_models_are(&server, "cuda:0", "unloaded").await;
    until_models_are(&server, "cpu", "unloaded").await;
    server.until("a worker stays", async || server.workers().is_empty()).await;
    assert!(server.get("/readyz").await.status().is_success(), "it is loaded when it is needed");
    transcribe(&server, 9).await;
}

#[tokio::test]
async fn a_cold_processor_loads_nothing_until_the_gpu_fails() {
    let server = Server::gpu("abort,chunk=2", &[], &["--cpu-standby", "cold"]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    assert_eq!(server.device("cpu").await["models"][0]["workers_started"], 0);
    assert_eq!(transcribe(&server, 1).await.header("x-device"), Some("cuda:0"));
    let answer = transcribe(&server, 2).await;
    assert_eq!(answer.header("x-device"), Some("cpu"));
    assert_eq!(answer.header("x-fallback-reason"), Some("aborted"));
}

/// A folder with files that pass for `tiny` and its variant of eight bits.
fn tiny_and_its_variant() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, bytes) in [("ggml-tiny.bin", 77_691_713), ("ggml-tiny-q8_0.bin", 43_537_433)] {
        let path = folder.path().join(file);
        std::fs::copy(DEMO, &path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_variant_that_nobody_asked_for_does_not_run() {
    let folder = tiny_and_its_variant();
    let options = ["--models", "tiny", "--models-dir", folder.path().to_str().unwrap()];
    let server = Server::fake("none", &[&options[..], &["--on-oom", "quantized"]].concat()).await;
    let answer = server.transcribe(wav(2.0, 1), &[("model", "tiny"), ("language", "en")]).await;
    assert_eq!(answer.header("x-model"), Some("tiny"));
}

#[tokio::test]
async fn an_installed_variant_takes_over_when_memory_is_short() {
    let folder = tiny_and_its_variant();
    let models = folder.path().to_str().unwrap();
    let options = ["--models", "tiny", "--models-dir", models, "--on-oom", "quantized"];
    let server = Server::gpu("oom,chunk=0,model=tiny.bin", &[], &options).await;
    until_models_are(&server, "cuda:0", "ready").await;
    let answer = server.transcribe(wav(2.0, 1), &[("model", "tiny"), ("language", "en")]).await;
    assert_eq!(answer.header("x-device"), Some("cuda:0"), "{}", server.log());
    assert_eq!(answer.header("x-model"), Some("tiny-q8_0"));
    assert_eq!(answer.header("x-fallback-reason"), Some("out-of-memory"));
    let device = server.device("cuda:0").await;
    assert_eq!(device["models"][1]["loaded"], "tiny-q8_0");
    let squeezes = history(&device).into_iter().filter(|(kind, _)| kind == "squeezed");
    assert_eq!(squeezes.count(), 2, "half the slots, then the variant");
}

#[tokio::test]
async fn frequent_lacks_of_memory_bring_advice() {
    let server = Server::gpu("oom,chunk=0", &[], &[]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    assert_eq!(server.device("cuda:0").await["advice"], serde_json::Value::Null);
    transcribe(&server, 1).await;
    until_models_are(&server, "cuda:0", "ready").await;
    transcribe(&server, 2).await;
    let device = server.device("cuda:0").await;
    let advice = device["advice"].as_str().unwrap();
    assert!(advice.contains("--max-per-device"), "{advice}");
    assert!(server.log().contains(advice), "the log does not say it");
}
