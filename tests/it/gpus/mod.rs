//! GPUs that are missing, broken, full or lost: each costs time and no transcript, and the reason
//! is the same wherever it is read. The driver and the engine are fake, the processes are real.

use serde_json::Value;

use super::faults::fake_transcript;
use super::harness::{Answer, Server, wav};

mod choices;
mod matrix;
mod recovery;

/// Waits until the device's models are all in `state`.
async fn until_models_are(server: &Server, device: &str, state: &str) {
    let is_so = async || {
        let device = server.device(device).await;
        let models = device["models"].as_array().cloned().unwrap_or_default();
        !models.is_empty() && models.iter().all(|model| model["state"] == state)
    };
    server.until(&format!("{device} never was {state}"), is_so).await;
}

/// Transcribes a clip that `seed` tells from others, and checks the text.
async fn transcribe(server: &Server, seed: u32) -> Answer {
    let audio = wav(2.0, seed);
    let answer = server.transcribe(audio.clone(), &[("language", "en")]).await;
    assert_eq!(answer.text(), fake_transcript(&audio), "{}", server.log());
    answer
}

/// The kinds and reasons of what has happened to a device.
fn history(device: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = device["history"].as_array().unwrap().iter();
    events.map(|event| (text(&event["kind"]), text(&event["reason"]))).collect()
}

/// The value of a metric's line, by the line's beginning.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}
