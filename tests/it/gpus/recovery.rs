//! The way back to the GPU, several GPUs, and many requests among faults.

use std::collections::HashSet;

use super::super::faults::fake_transcript;
use super::super::harness::{Server, wav};
use super::{history, metric, transcribe, until_models_are};

#[tokio::test]
async fn a_gpu_that_recovers_is_used_again() {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("abort,times=1,marker={}", marker.path().display());
    let server = Server::gpu(&script, &[], &[]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    assert_eq!(transcribe(&server, 1).await.header("x-fallback-reason"), Some("aborted"));
    let device = server.device("cuda:0").await;
    assert_eq!((&device["breaker"], &device["state"]), (&"open".into(), &"recovering".into()));
    let wait = device["retry_in_seconds"].as_f64().unwrap();
    assert!((1.0..=6.0).contains(&wait), "{wait}");
    // While it is left alone, the CPU says why.
    let meanwhile = transcribe(&server, 2).await;
    assert_eq!(meanwhile.header("x-device"), Some("cpu"));
    assert_eq!(meanwhile.header("x-fallback-reason"), Some("aborted"));

    let tried = async || server.device("cuda:0").await["breaker"] == "half-open";
    server.until("it was never tried again", tried).await;
    until_models_are(&server, "cuda:0", "ready").await;
    let back = transcribe(&server, 3).await;
    assert_eq!(back.header("x-device"), Some("cuda:0"));
    assert_eq!(back.header("x-fallback-reason"), None);
    let device = server.device("cuda:0").await;
    assert_eq!((&device["breaker"], &device["returns"]), (&"closed".into(), &1.into()));
    let kinds: Vec<String> = history(&device).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["failure", "opened", "returned"]);
    assert_eq!(device["fallbacks"]["aborted"], 2);
    let metrics = server.metrics().await;
    assert_eq!(metric(&metrics, "auris_device_returns_total{device=\"cuda:0\"}"), Some(1.0));
}

#[tokio::test]
async fn a_driver_that_comes_back_is_found_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("driver");
    std::fs::write(&control, "999").unwrap();
    let file = control.to_str().unwrap();
    let server = Server::gpu("none", &[("CUDA_FAKE_FILE", file)], &[]).await;
    let answer = transcribe(&server, 1).await;
    assert_eq!(answer.header("x-fallback-reason"), Some("driver-unavailable"));
    std::fs::remove_file(&control).unwrap();
    until_models_are(&server, "cuda:0", "ready").await;
    let answer = transcribe(&server, 2).await;
    assert_eq!(
        (answer.header("x-device"), answer.header("x-fallback-reason")),
        (Some("cuda:0"), None)
    );
    assert_eq!(server.devices().await["unused"], serde_json::json!([]));
}

#[tokio::test]
async fn a_chunk_that_crashes_the_gpu_and_the_cpu_does_not_close_the_gpu_off() {
    let poison = "abort,prompt=poison";
    let server = Server::gpu_beside(poison, poison, &[], &[]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    let answer = server.transcribe(wav(2.0, 1), &[("prompt", "poison")]).await;
    answer.error(422, "audio_quarantined");
    assert_eq!(server.device("cuda:0").await["breaker"], "closed");
    until_models_are(&server, "cuda:0", "ready").await;
    assert_eq!(transcribe(&server, 2).await.header("x-device"), Some("cuda:0"));
}

#[tokio::test]
async fn a_long_file_uses_every_gpu_and_survives_the_loss_of_one() {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("abort,chunk=3,times=1,speed=60,marker={}", marker.path().display());
    let server =
        Server::gpu(&script, &[("CUDA_FAKE_COUNT", "2")], &["--max-per-device", "2"]).await;
    until_models_are(&server, "cuda:0", "ready").await;
    until_models_are(&server, "cuda:1", "ready").await;
    let audio = wav(600.0, 5);
    let answer = server.transcribe(audio, &[("response_format", "verbose_json")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let runs = answer.json()["runs"].as_array().unwrap().clone();
    let devices: HashSet<&str> = runs.iter().map(|run| run["device"].as_str().unwrap()).collect();
    assert!(devices.contains("cuda:0") && devices.contains("cuda:1"), "{devices:?}");
    let mut end = 0.0;
    for run in &runs {
        assert_eq!(run["start"].as_f64().unwrap(), end, "a stretch is missing or doubled");
        end = run["end"].as_f64().unwrap();
    }
    assert_eq!(end, 600.0);
    let failed = runs.iter().filter(|run| run["fallback_reason"] == "aborted");
    assert!((1..=2).contains(&failed.count()), "{runs:?}");
}

#[tokio::test]
async fn a_thousand_requests_with_faults_in_one_of_twenty_are_all_answered() {
    const CLIENTS: usize = 8;
    let marker = tempfile::tempdir().unwrap();
    // The same chunks fail on either, each once, wherever it is tried first.
    let script = format!("any,percent=5,marker={}", marker.path().display());
    let extra = ["--stall-seconds", "0.5", "--slots", "2"];
    let server = Server::gpu_beside(&script, &script, &[("CUDA_FAKE_COUNT", "2")], &extra).await;
    let server = &server;
    let client = |client: usize| async move {
        for n in 0..1_000 / CLIENTS {
            let audio = wav(0.2, (client * (1_000 / CLIENTS) + n) as u32);
            let answer = server.transcribe(audio.clone(), &[("language", "en")]).await;
            assert_eq!(answer.text(), fake_transcript(&audio), "{}", server.log());
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(client)).await;
    let struck = std::fs::read_dir(marker.path()).unwrap().count();
    assert!((20..=80).contains(&struck), "{struck} chunks had a fault");
    let metrics = server.metrics().await;
    let done: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("auris_chunks_total{") && line.contains("\"done\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(done, 1_000.0, "each once");
}
