//! A server whose models are not here: it answers at once by the bundled one, whatever becomes of
//! the downloads, and changes over without a request that fails.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::harness::{Answer, DEMO, Server, auris, repository, wav};

/// The lengths of the published files.
const TINY: (&str, u64) = ("ggml-tiny.bin", 77_691_713);
const MEDIUM: (&str, u64) = ("ggml-medium.bin", 1_533_763_059);

/// A server in trouble.
const BUSY: &str = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Where each connection is answered with `answer`, and left open after it.
fn endpoint(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            // What a client sends before its head is whole fits into one packet.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
            if answer.is_empty() {
                open.push(stream);
            }
        }
    });
    url
}

/// Puts a file there that passes for a published one, and that the fake engine never reads.
fn install(server: &Server, (name, bytes): (&str, u64)) {
    let path = server.models().join(name);
    fs::create_dir_all(server.models()).unwrap();
    let arriving = path.with_extension("new");
    fs::copy(DEMO, &arriving).unwrap();
    fs::OpenOptions::new().write(true).open(&arriving).unwrap().set_len(bytes).unwrap();
    fs::rename(arriving, path).unwrap();
}

async fn ask(server: &Server, fields: &[(&str, &str)]) -> Answer {
    server.transcribe(wav(1.0, 1), fields).await
}

/// What `/v1/models` says of a model.
async fn listed(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/models/{id}")).await.json().await.unwrap()
}

async fn until_listed(server: &Server, id: &str, state: &str) {
    let is_so = async || listed(server, id).await["state"] == state;
    server.until(&format!("{id} is not {state}"), is_so).await;
}

/// Checks that every way to ask for a model that is missing is answered by the bundled one.
async fn check_stand_in(server: &Server, reason: &str) {
    for fields in [
        &[][..],
        &[("model", "whisper-1")],
        &[("model", "tiny")],
        &[("model", "medium"), ("language", "hi")],
        &[("model", "tiny"), ("language", "en"), ("response_format", "verbose_json")],
    ] {
        let answer = ask(server, fields).await;
        assert_eq!(answer.status, 200, "{fields:?}: {answer:?}");
        assert_eq!(answer.header("x-model"), Some("base-q8_0"), "{fields:?}");
        assert_eq!(answer.header("x-fallback-reason"), Some(reason), "{fields:?}");
        if let Some(runs) = answer.json().get("runs") {
            assert_eq!(runs[0]["model"], "base-q8_0");
            assert_eq!(runs[0]["fallback_reason"], reason);
        }
    }
    ask(server, &[("model", "tinny")]).await.error(400, "model_not_found");
    // It was not asked for, and will not be there for long.
    ask(server, &[("model", "base-q8_0")]).await.error(400, "model_not_found");
}

/// How often the log says `needle`.
fn log_count(server: &Server, needle: &str) -> usize {
    server.log().lines().filter(|line| line.contains(needle)).count()
}

#[tokio::test]
async fn a_server_answers_while_its_downloads_hang() {
    let server = Server::fresh("none", Some(&endpoint(""))).await;
    check_stand_in(&server, "model-downloading").await;
    let tiny = listed(&server, "tiny").await;
    assert_eq!((&tiny["state"], &tiny["served_by"]), (&"downloading".into(), &"base-q8_0".into()));
    assert_eq!(listed(&server, "whisper-1").await["served_by"], "base-q8_0");
    let ready: Value = server.get("/readyz").await.json().await.unwrap();
    assert_eq!(ready["models"][1]["id"], "medium");
    assert_eq!(ready["models"][1]["state"], "downloading");
    let metrics = server.metrics().await;
    assert!(metrics.contains("auris_model_available{model=\"tiny\"} 0"), "{metrics}");
    let done = "auris_model_fallbacks_total{model=\"base-q8_0\",reason=\"model-downloading\"}";
    assert!(metrics.contains(done), "{metrics}");
    assert_eq!(
        log_count(&server, "`auris models pull tiny` gets it before"),
        1,
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn downloads_that_fail_are_reported_once_and_tried_again() {
    let refusal = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::fresh("none", Some(&endpoint(refusal))).await;
    until_listed(&server, "tiny", "missing").await;
    until_listed(&server, "medium", "missing").await;
    check_stand_in(&server, "model-not-available").await;
    let reason = listed(&server, "tiny").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("404") && reason.contains("HF_ENDPOINT"), "{reason}");
    let again = async || log_count(&server, "downloading failed again") >= 4;
    server.until("it is not tried again", again).await;
    assert_eq!(log_count(&server, "the bundled model continues"), 2, "{}", server.log());
}

#[tokio::test]
async fn a_server_without_a_network_says_which_file_to_put_where() {
    let server = Server::fresh("none", None).await;
    check_stand_in(&server, "model-not-available").await;
    let reason = listed(&server, "tiny").await["reason"].as_str().unwrap().to_owned();
    let path = server.models().join("ggml-tiny.bin");
    assert!(reason.contains(path.to_str().unwrap()), "{reason}");
    assert_eq!(log_count(&server, path.to_str().unwrap()), 1, "{}", server.log());
    assert_eq!(log_count(&server, "downloading a model"), 0);
}

#[tokio::test]
async fn requests_go_on_while_models_change_over() {
    let server = Server::fresh("none,speed=30", Some(&endpoint(BUSY))).await;
    // What has begun with the bundled model ends with it.
    let fields = [("response_format", "verbose_json"), ("language", "en")];
    let long = server.transcribe(wav(120.0, 2), &fields);
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = async || server.device("cpu").await["busy_slots"] != 0;
    let short = async {
        server.until("the long one does not begin", begun).await;
        let mut models = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let answer = ask(&server, &[("model", "tiny"), ("language", "en")]).await;
            assert!(answer.text().starts_with("16000 samples"), "{answer:?}");
            models.push(answer.header("x-model").unwrap().to_owned());
            answers.fetch_add(1, Ordering::Relaxed);
        }
        models
    };
    let change = async {
        let one = async || answers.load(Ordering::Relaxed) > 0;
        server.until("no short one is answered", one).await;
        install(&server, TINY);
        until_listed(&server, "tiny", "installed").await;
        assert_eq!(listed(&server, "medium").await["state"], "missing");
        let hindi = ask(&server, &[("language", "hi")]).await;
        assert_eq!(hindi.header("x-model"), Some("base-q8_0"));
        let english = ask(&server, &[("language", "en")]).await;
        assert_eq!(english.header("x-model"), Some("tiny"));
        assert_eq!(english.header("x-fallback-reason"), None);
        install(&server, MEDIUM);
        until_listed(&server, "medium", "installed").await;
        let hindi = ask(&server, &[("language", "hi")]).await;
        assert_eq!(hindi.header("x-model"), Some("medium"));
        is_over.store(true, Ordering::Relaxed);
    };
    let (long, short, ()) = tokio::join!(long, short, change);
    let runs = long.json()["runs"].clone();
    let models = runs.as_array().unwrap().iter().map(|run| run["model"].as_str().unwrap());
    assert!(models.clone().count() >= 4 && models.clone().all(|m| m == "base-q8_0"), "{runs}");
    let first = short.iter().position(|model| model == "tiny").expect("it has changed over");
    assert!(first > 0 && short[first..].iter().all(|model| model == "tiny"), "{short:?}");

    let bundled = async || {
        let models = server.device("cpu").await["models"].clone();
        let mut models = models.as_array().unwrap().iter();
        models.find(|model| model["name"] == "base-q8_0").unwrap()["state"].clone()
    };
    server.until("the bundled model stays", async || bundled().await == "unloaded").await;
    let ended = async || server.workers().len() == 2;
    server.until("its worker stays", ended).await;
}

#[tokio::test]
async fn a_model_that_does_not_load_takes_nothing_over() {
    let server = Server::fresh("load-bad,model=tiny.bin", Some(&endpoint(BUSY))).await;
    until_listed(&server, "tiny", "missing").await;
    install(&server, TINY);
    until_listed(&server, "tiny", "loading").await;
    let is_tried = async || {
        let models = server.device("cpu").await["models"].clone();
        let mut models = models.as_array().unwrap().iter();
        models.any(|model| model["name"] == "tiny" && model["state"] == "unavailable")
    };
    server.until("it is not loaded", is_tried).await;
    let answer = ask(&server, &[("model", "tiny"), ("language", "en")]).await;
    assert_eq!(answer.header("x-model"), Some("base-q8_0"), "{answer:?}");
    assert_eq!(answer.header("x-fallback-reason"), Some("model-loading"));
}

#[tokio::test]
async fn a_wrong_name_still_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = auris();
    command.args(["serve", "--listen", "127.0.0.1:0", "--models", "tiny,tinny"]);
    let output = command.env("AURIS_MODELS_DIR", folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("unknown model `tinny`"), "{errors}");
    assert_eq!(output.stdout, b"");
}

/// The real engine and a human voice.
#[test]
fn a_fresh_machine_transcribes_a_recording_without_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = auris();
    command.arg("transcribe").arg(repository("tests/fixtures/speech/jfk.flac"));
    command.env("AURIS_MODELS_DIR", folder.path()).env("HF_ENDPOINT", "http://127.0.0.1:1");
    let output = command.env_remove("AURIS_LOG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(text.contains("ask not what your country can do for you"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with(" by base-q8_0\n"), "{output:?}");
}
