//! Voice activity by a model in a worker: it finds speech, and whatever happens to it costs no
//! transcript.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Server, clip};
use super::signals::{silence, speech, tone, wav_of, white_noise};

/// What stands at the start of a Silero model.
pub(super) const HEADER: &[u8] =
    b"lmgg\x0a\0\0\0silero-16k\x06\0\0\0\x02\0\0\0\0\0\0\0\0\x02\0\0\x40\0\0\0";

/// A server on the fake engine, whose voice activity is by a fake engine with `script`.
struct Voice {
    server: Server,
    _folder: TempDir,
}

impl Voice {
    async fn start(script: &str, extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("voice.bin");
        fs::write(&model, HEADER).unwrap();
        let engine = format!("fake:{script},marker={}", folder.path().display());
        let options = ["--vad-model", model.to_str().unwrap(), "--vad-engine", &engine];
        let extra: Vec<&str> = options.iter().chain(extra).copied().collect();
        Self { server: Server::fake("none", &extra).await, _folder: folder }
    }

    async fn status(&self) -> Value {
        self.server.devices().await["voice_activity"].clone()
    }

    async fn until_ready(&self) {
        let ready = async || self.status().await["state"] == "ready";
        self.server.until("voice activity does not come back", ready).await;
    }

    async fn text(&self, audio: &[u8]) -> String {
        self.server.transcribe(audio.to_vec(), &[("vad", "true")]).await.text()
    }
}

/// What is heard where earshot finds the speech.
async fn with_earshot(audio: &[u8]) -> String {
    let server = Server::fake("none", &["--vad-model", "off"]).await;
    let voice = &server.devices().await["voice_activity"];
    assert_eq!((&voice["engine"], &voice["state"]), (&json!("earshot"), &json!("ready")));
    server.transcribe(audio.to_vec(), &[("vad", "true")]).await.text()
}

#[tokio::test]
async fn a_model_finds_the_speech_if_there_is_one() {
    let voice = Voice::start("none", &[]).await;
    // Whatever is loud is speech to the fake engine, and noise is no tone.
    let sounds = [silence(20.0), white_noise(3.0, 0.1), silence(30.0)].concat();
    let fields = [("vad", "true"), ("response_format", "verbose_json")];
    let answer = voice.server.transcribe(wav_of(&sounds), &fields).await.json();
    let [before, after] = &answer["skipped"].as_array().unwrap()[..] else { panic!("{answer}") };
    let seconds = |value: &Value| value.as_f64().unwrap();
    assert!((19.4..=20.0).contains(&seconds(&before["end"])), "{before}");
    assert!((23.0..=24.0).contains(&seconds(&after["start"])), "{after}");
    let status = voice.status().await;
    assert_eq!((&status["engine"], &status["state"]), (&json!("silero"), &json!("ready")));
    assert_eq!((&status["blocks"], &status["fallbacks"]), (&json!(4), &json!(0)));
    assert!(voice.server.metrics().await.contains("auris_voice_blocks_total 4"));
}

/// A voice worker that has `fault` once costs no transcript; the reason is told, and the next one
/// works.
async fn check(fault: &str, reason: &str, extra: &[&str]) {
    let voice = Voice::start(&format!("{fault},times=1"), extra).await;
    let audio = clip("28.flac");
    assert_eq!(voice.text(&audio).await, with_earshot(&audio).await);
    let status = voice.status().await;
    assert_eq!(status["last_failure"]["reason"], reason, "{status}");
    // One that fails at its start may be back before the file is decoded.
    if !["protocol", "not-started"].contains(&reason) {
        assert!(status["fallbacks"].as_u64().unwrap() > 0, "{status}");
        assert!(voice.server.metrics().await.contains("auris_voice_fallbacks_total{reason="));
    }
    if reason != "bad-model" {
        voice.until_ready().await;
        voice.text(&audio).await;
        let status = voice.status().await;
        assert!(status["blocks"].as_u64().unwrap() > 0, "{status}");
        assert_eq!(status["workers_started"], 2, "{status}");
    }
}

#[tokio::test]
async fn a_voice_worker_that_aborts_costs_no_transcript() {
    check("abort", "aborted", &[]).await;
}

#[tokio::test]
async fn a_voice_worker_that_hangs_costs_no_transcript() {
    check("hang", "stalled", &["--stall-seconds", "1"]).await;
}

#[tokio::test]
async fn a_voice_worker_that_fails_costs_no_transcript() {
    check("error", "stalled", &[]).await;
}

#[tokio::test]
async fn a_voice_worker_that_kills_itself_costs_no_transcript() {
    check("kill", "killed", &[]).await;
}

#[tokio::test]
async fn a_voice_worker_that_prints_garbage_costs_no_transcript() {
    check("garbage", "protocol", &[]).await;
}

#[tokio::test]
async fn a_voice_worker_that_does_not_start_costs_no_transcript() {
    check("exit", "not-started", &[]).await;
}

#[tokio::test]
async fn a_voice_model_that_is_refused_costs_no_transcript() {
    check("load-bad", "bad-model", &[]).await;
}

#[tokio::test]
async fn a_voice_model_that_never_loads_costs_no_transcript() {
    check("load-hang", "start-timeout", &["--load-seconds", "1"]).await;
}

#[tokio::test]
async fn where_a_voice_worker_ends_in_the_middle_of_a_file_earshot_goes_on() {
    let voice = Voice::start("abort,chunk=2,times=1", &[]).await;
    let sounds = [speech("29.flac"), silence(40.0), speech("00.flac"), silence(20.0)].concat();
    let fields = [("vad", "true"), ("response_format", "verbose_json")];
    let answer = voice.server.transcribe(wav_of(&sounds), &fields).await.json();
    let status = voice.status().await;
    assert_eq!((&status["blocks"], &status["fallbacks"]), (&json!(1), &json!(1)), "{status}");
    // Nothing that was said is left out, and the silence is.
    let spoken = speech("29.flac").len() as f64 / 16_000.0;
    let skipped = answer["skipped"].as_array().unwrap();
    let seconds = |value: &Value| value.as_f64().unwrap();
    let middle = skipped.iter().find(|span| seconds(&span["start"]) > spoken - 5.0).unwrap();
    assert!(seconds(&middle["end"]) > spoken + 39.0, "{answer}");
    assert!(seconds(&middle["end"]) < spoken + 40.3, "{answer}");
}

#[tokio::test]
async fn a_voice_worker_killed_from_outside_is_replaced() {
    let voice = Voice::start("none,speed=12345", &[]).await;
    voice.until_ready().await;
    let is_voice = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("speed=12345")
    };
    let worker = voice.server.workers().into_iter().find(is_voice).unwrap();
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    let replaced = async || voice.status().await["workers_started"] == 2;
    voice.server.until("it is not replaced", replaced).await;
    voice.until_ready().await;
    assert_eq!(voice.status().await["last_failure"]["reason"], "killed");
    voice.text(&clip("28.flac")).await;
    assert!(voice.status().await["blocks"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_voice_model_that_is_broken_is_told_and_does_without() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("voice.bin");
    fs::write(&model, HEADER).unwrap();
    let server = Server::fake("none", &["--vad-model", model.to_str().unwrap()]).await;
    let audio = clip("28.flac");
    let text = server.transcribe(audio.clone(), &[("vad", "true")]).await.text();
    assert_eq!(text, with_earshot(&audio).await);
    let status = server.devices().await["voice_activity"].clone();
    assert!(status["fallbacks"].as_u64().unwrap() > 0, "{status}");
    assert!(status["last_failure"]["detail"].is_string(), "{status}");
}

/// The real model, if a variable names it: `make test-silero`.
fn silero() -> Option<PathBuf> {
    std::env::var_os("TEST_SILERO_MODEL").map(PathBuf::from)
}

#[tokio::test]
async fn silero_finds_speech_and_nothing_else() {
    let Some(model) = silero() else { return };
    let server = Server::demo(&["--vad-model", model.to_str().unwrap()]).await;
    for (name, samples) in [
        ("silence", silence(60.0)),
        ("loud noise", white_noise(60.0, 0.3)),
        ("hum", tone(60.0, 50.0, 0.3)),
        ("a tone", tone(60.0, 440.0, 0.5)),
    ] {
        let fields = [("response_format", "verbose_json")];
        let answer = server.transcribe(wav_of(&samples), &fields).await.json();
        let skipped = json!([{"start": 0.0, "end": 60.0, "reason": "no_speech"}]);
        assert_eq!((&answer["text"], &answer["skipped"]), (&json!(""), &skipped), "{name}");
    }
    let sounds = [silence(40.0), speech("00.flac"), silence(40.0)].concat();
    let text = server.transcribe(wav_of(&sounds), &[("language", "en")]).await.text();
    assert!(text.contains("weather in Boston"), "{text}");
    let status = server.devices().await["voice_activity"].clone();
    assert_eq!((&status["fallbacks"], &status["last_failure"]), (&json!(0), &json!(null)));
    assert!(status["blocks"].as_u64().unwrap() > 20, "{status}");
}
