//! Workers that abort, hang, are killed and print garbage: each costs time and no transcript,
//! and the reason can be read.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake_text::text_of;
use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Server, wav};

/// What the fake engine hears in `wav`.
pub fn fake_transcript(wav: &[u8]) -> String {
    let mut reader = hound::WavReader::new(wav).unwrap();
    let samples: Vec<f32> =
        reader.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    text_of(&samples).trim().to_owned()
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// A server whose engine has `fault` once, asked for one transcript: it is right, and the answer
/// says what happened.
async fn check(fault: &str, reason: &str) {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("{fault},times=1,marker={}", marker.path().display());
    let server = Server::fake(&script, &["--stall-seconds", "0.5"]).await;
    let audio = wav(2.0, 7);
    // With a language, so that nothing runs beside the chunk.
    let answer = server.transcribe(audio.clone(), &[("language", "en")]).await;
    assert_eq!(answer.text(), fake_transcript(&audio));
    assert_eq!(answer.header("x-fallback-reason"), Some(reason), "{}", server.log());
    let again = server.transcribe(audio.clone(), &[]).await;
    assert_eq!(again.text(), fake_transcript(&audio));
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
async fn the_kernel_takes_a_worker_before_the_server_when_memory_ends() {
    let score = |pid: i32| {
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        score.trim().parse::<i32>().unwrap()
    };
    let server = Server::fake("none", &[]).await;
    let [worker] = server.workers()[..] else { panic!("{:?}", server.workers()) };
    assert!(score(worker) >= 500 && score(worker) > score(server.pid()));
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

#[tokio::test]
async fn a_stopped_worker_is_taken_for_hung_and_replaced() {
    let server = Server::fake("none", &["--stall-seconds", "0.5"]).await;
    let [worker] = server.workers()[..] else { panic!("{:?}", server.workers()) };
    signal(worker, Signal::STOP);
    let audio = wav(1.0, 3);
    let answer = server.transcribe(audio.clone(), &[]).await;
    assert_eq!(answer.text(), fake_transcript(&audio));
    assert_eq!(answer.header("x-fallback-reason"), Some("stalled"));
}

/// A server whose worker never gets to run: requests are refused with the reason, and the
/// process lives.
async fn check_hopeless(script: &str, extra: &[&str], kind: &str, words: &str) {
    let server = Server::start(&format!("fake:{script}"), extra);
    let answer = server.transcribe(wav(1.0, 1), &[]).await;
    let message = answer.error(503, "model_unavailable");
    assert!(message.contains(words), "{message} lacks {words}");
    assert!(answer.header("retry-after").is_some());
    let device = &server.devices().await["devices"][0];
    assert_eq!(device["state"], "unavailable");
    assert!(device["reason"].as_str().unwrap().contains(words), "{device}");
    assert_eq!(device["models"][0]["last_failure"]["reason"], kind);
    let ready = super::harness::Answer::read(server.get("/readyz").await).await;
    assert!(ready.error(503, "not_ready").contains(words), "{ready:?}");
    assert_eq!(server.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn a_bad_model_is_reported_and_not_tried_again() {
    check_hopeless("load-bad", &[], "bad-model", "bad magic").await;
}

#[tokio::test]
async fn a_worker_that_prints_garbage_is_reported() {
    check_hopeless("garbage", &[], "protocol", "not a frame").await;
}

#[tokio::test]
async fn a_worker_of_another_version_is_reported() {
    check_hopeless("version", &[], "protocol", "same release").await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_is_reported() {
    check_hopeless("exit", &[], "not-started", "shared library").await;
}

#[tokio::test]
async fn a_load_without_memory_is_reported() {
    check_hopeless("load-oom", &[], "out-of-memory", "out of memory").await;
}

#[tokio::test]
async fn a_load_that_hangs_is_ended_and_reported() {
    check_hopeless("load-hang", &["--load-seconds", "0.2"], "start-timeout", "within 200ms").await;
}

#[tokio::test]
async fn a_load_that_fails_once_is_tried_again() {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("load-oom,times=2,marker={}", marker.path().display());
    let server = Server::fake(&script, &[]).await;
    assert_eq!(server.transcribe(wav(1.0, 1), &[]).await.status, 200);
    assert_eq!(server.devices().await["devices"][0]["models"][0]["workers_started"], 3);
}

#[tokio::test]
async fn workers_killed_while_they_load_do_not_lose_who_waits() {
    const KILLS: usize = 9;
    let marker = tempfile::tempdir().unwrap();
    let hung = || fs::read_dir(marker.path()).unwrap().count();
    let script = format!("load-hang,times={KILLS},marker={}", marker.path().display());
    let server = Server::start(&format!("fake:{script}"), &[]);
    let audio = wav(1.0, 1);
    let (answer, ()) = tokio::join!(server.transcribe(audio.clone(), &[]), async {
        for kill in 1..=KILLS {
            server.until("no start hangs", async || hung() == kill).await;
            server.workers().into_iter().for_each(|worker| signal(worker, Signal::KILL));
        }
    });
    assert_eq!(answer.text(), fake_transcript(&audio));
}

#[tokio::test]
async fn a_poisonous_file_fails_alone() {
    let server = Server::fake("abort,prompt=poison,speed=20", &["--slots", "2"]).await;
    let (audio, poison) = (wav(4.0, 1), wav(4.0, 2));
    let (good, bad) = tokio::join!(
        server.transcribe(audio.clone(), &[]),
        server.transcribe(poison, &[("prompt", "poison")])
    );
    bad.error(422, "audio_quarantined");
    assert_eq!(bad.header("x-should-retry"), Some("false"));
    assert_eq!(good.text(), fake_transcript(&audio));
    // It is remembered, and costs no further worker.
    let again = server.transcribe(wav(4.0, 2), &[("prompt", "poison")]).await;
    again.error(422, "audio_quarantined");
    assert_eq!(server.devices().await["quarantined_chunks"], 1);
    let workers = &server.devices().await["devices"][0]["models"][0]["workers_started"];
    assert!((2..=3).contains(&workers.as_u64().unwrap()), "{workers}");
}

#[tokio::test]
async fn workers_end_with_a_killed_server_even_when_they_hang() {
    let server = Server::fake("hang", &[]).await;
    let request = server.transcribe(wav(1.0, 1), &[]);
    let busy = server
        .until("no chunk runs", async || server.devices().await["devices"][0]["busy_slots"] == 1);
    tokio::select! {
        _ = request => panic!("a hung worker answered"),
        () = busy => {}
    }
    drop(server); // kills it, and checks that the workers follow
}

#[tokio::test]
async fn fifty_kills_among_two_hundred_requests_cost_no_transcript() {
    const REQUESTS: usize = 200;
    const KILLS: usize = 50;
    let server = Server::fake("none,speed=60", &["--slots", "2"]).await;
    let pid = server.pid();
    let finished = AtomicUsize::new(0);
    let (server, finished) = (&server, &finished);
    let client = |client: usize| async move {
        for n in 0..REQUESTS / 4 {
            let audio = wav(1.0 + n as f64 / 50.0, (client * 100 + n) as u32);
            let answer = server.transcribe(audio.clone(), &[]).await;
            assert_eq!(answer.text(), fake_transcript(&audio));
            finished.fetch_add(1, Ordering::Relaxed);
        }
    };
    let killer = async {
        for kill in 0..KILLS {
            // Anywhere in the work: what a worker is doing at that moment is left to chance.
            let due = kill * REQUESTS / KILLS;
            let is_due = async || finished.load(Ordering::Relaxed) >= due;
            server.until("no progress", is_due).await;
            server.until("no worker", async || !server.workers().is_empty()).await;
            for worker in server.workers() {
                signal(worker, Signal::KILL);
            }
        }
    };
    tokio::join!(client(0), client(1), client(2), client(3), killer);
    assert_eq!(finished.load(Ordering::Relaxed), REQUESTS);
    assert_eq!(server.pid(), pid);
    let failures = &server.devices().await["devices"][0]["models"][0]["workers_started"];
    assert!(failures.as_u64().unwrap() > 25, "{failures}");
}

#[tokio::test]
async fn a_suspected_chunk_gets_its_turn_on_a_busy_service() {
    let marker = tempfile::tempdir().unwrap();
    let script = format!("abort,prompt=once,times=1,marker={},speed=300", marker.path().display());
    let server = Server::fake(&script, &["--slots", "2"]).await;
    let (long, other, suspect) = (wav(600.0, 1), wav(600.0, 2), wav(40.0, 3));
    let finished = AtomicUsize::new(0);
    let count = |answer: super::harness::Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        finished.fetch_add(1, Ordering::Relaxed)
    };
    // The suspect has crashed a worker beside chunks of the long files, which never leave a slot
    // free by themselves.
    let (_, _, place) = tokio::join!(
        async { count(server.transcribe(long, &[]).await) },
        async { count(server.transcribe(other, &[]).await) },
        async {
            let busy = async || server.devices().await["devices"][0]["busy_slots"] == 2;
            server.until("the long files never ran", busy).await;
            count(server.transcribe(suspect, &[("prompt", "once")]).await)
        }
    );
    assert_eq!(place, 0, "the suspect was finished last");
}
