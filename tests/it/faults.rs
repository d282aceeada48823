//! Workers that abort, hang, are killed and print garbage: each costs time and no transcript.

use auris::engine::fake::text_of;
use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Server, wav};

/// What the fake engine hears in `wav`.
fn heard(wav: &[u8]) -> String {
    let mut reader = hound::WavReader::new(wav).unwrap();
    let samples: Vec<f32> =
        reader.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    text_of(&samples).trim().to_owned()
}

/// A server whose engine has `fault` once, asked for one transcript: it is right, and the answer
/// says what happened.
#[track_caller]
async fn check(fault: &str, reason: &str) {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("{fault},times=1,marker={}", marker.path().display());
    let server = Server::fake(&script, &["--stall-seconds", "0.5"]).await;
    let audio = wav(2.0, 7);
    let answer = server.transcribe(audio.clone(), &[]).await;
    assert_eq!(answer.text(), heard(&audio));
    assert_eq!(answer.header("x-fallback-reason"), Some(reason), "{}", server.log());
    let again = server.transcribe(audio.clone(), &[]).await;
    assert_eq!(again.text(), heard(&audio));
    assert_eq!(again.header("x-fallback-reason"), None);
    let metrics = server.get("/metrics").await.text().await.unwrap();
    let retries = format!("auris_chunk_retries_total{{device=\"cpu\",reason=\"{reason}\"}} 1");
    assert!(metrics.contains(&retries), "{retries} is missing:\n{metrics}");
}

#[tokio::test]
async fn an_abort_costs_no_transcript() {
    check("abort", "aborted").await;
}

#[tokio::test]
async fn running_out_of_memory_costs_no_transcript() {
    check("oom", "out-of-memory").await;
}

#[tokio::test]
async fn a_hang_costs_no_transcript() {
    check("hang", "stalled").await;
}

#[tokio::test]
async fn a_kill_costs_no_transcript() {
    check("kill", "killed").await;
}

#[tokio::test]
async fn an_engine_error_costs_no_transcript() {
    check("error", "engine-error").await;
}
