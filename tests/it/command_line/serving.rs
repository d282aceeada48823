//! `auris serve` and `auris healthcheck`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{command, fails, run, text};
use crate::harness::{DEMO, PATIENCE, Server, fake, repository};

/// `auris serve` where no model is installed: whatever is told instead is told before any is
/// looked for.
#[track_caller]
fn refuses(arguments: &[&str], needles: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["serve", "--offline"]);
    command.env("AURIS_LISTEN", "127.0.0.1:0").arg("--models-dir").arg(folder.path());
    fails(command.args(arguments), needles);
}

#[test]
fn a_wrong_option_is_reported_before_any_model_is_looked_for() {
    refuses(&["--models", ""], &["no model is given: name one with --models"]);
    refuses(&["--models", "tiny,foo"], &["unknown model `foo`", "auris models list"]);
    refuses(&["--model-aliases", "fast"], &["not of the form NAME=MODEL"]);
    refuses(
        &["--models", "base-q8_0", "--model-aliases", "fast=tiny"],
        &["`fast` stands for `tiny`", "add it to --models"],
    );
    refuses(&["--device", "cuda", "--no-gpu"], &["--device cuda contradicts --no-gpu"]);
    refuses(&["--spool-dir", "/nowhere"], &["/nowhere", "--spool-dir"]);
    refuses(&["--routing", "nonsense"], &["nonsense"]);
    refuses(&["--cpu-program", "/nowhere/steam"], &["/nowhere/steam", "--cpu-program"]);
    for (option, value) in [
        ("--slots", "0"),
        ("--threads", "0"),
        ("--stall-seconds", "NaN"),
        ("--load-seconds", "0"),
        ("--drain-seconds", "inf"),
        ("--upload-idle-seconds", "0"),
        ("--caller-share", "2"),
        ("--caller-share", "0"),
        ("--caller-share", "NaN"),
        ("--max-queue-minutes", "-1"),
        ("--max-upload-bytes", "0"),
        ("--max-audio-hours", "NaN"),
        ("--max-channels", "0"),
        ("--min-sample-rate", "1"),
        ("--max-sample-rate", "7999"),
        ("--chunk-seconds", "31"),
        ("--listen", "localhost"),
    ] {
        refuses(&[&format!("{option}={value}")], &[option]);
    }
}

#[test]
fn an_address_is_an_ip_address_and_a_port() {
    let needle = "give an IP address and a port, such as 0.0.0.0:8000";
    fails(&mut command(&["serve", "--listen", "localhost:8000"]), &[needle]);
    fails(&mut command(&["healthcheck", "--listen", "8000"]), &[needle]);
}

#[test]
fn a_missing_model_is_reported_with_every_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ggml-tiny.bin");
    let clip = repository("tests/fixtures/eval/00.flac");
    let mut command = command(&["transcribe", text(&clip), "--models", "tiny", "--offline"]);
    fails(
        command.arg("--models-dir").arg(folder.path()),
        &[
            "model `tiny` is not installed",
            "https://",
            &format!("/ggml-tiny.bin at {}", path.display()),
            "`--models base-q8_0`",
        ],
    );
}

#[test]
fn a_port_in_use_is_reported_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let needle = format!("cannot listen on {address}: give another address with --listen");
    refuses(&["--listen", &address, "--models", "foo"], &[&needle]);
}

#[test]
fn variables_say_what_options_say() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, value: &str, needles: &[&str]| {
        let mut command = command(&["serve"]);
        command.env("AURIS_LISTEN", "127.0.0.1:0").env("AURIS_MODELS_DIR", folder.path());
        fails(command.env("AURIS_OFFLINE", "1").env(name, value), needles);
    };
    with("AURIS_MODELS", "foo", &["unknown model `foo`"]);
    with("AURIS_SLOTS", "0", &["--slots"]);
    with("AURIS_CALLER_SHARE", "2", &["--caller-share"]);
    with("AURIS_DEVICE", "nonsense", &["not one of auto, cpu, cuda"]);
    with("DEVICE", "nonsense", &["DEVICE=nonsense", "not one of auto, cpu, cuda"]);
    with("AURIS_OFFLINE", "maybe", &["--offline"]);
    // An option goes before its variable, and an empty variable is none.
    let mut empty = command(&["serve", "--listen", "127.0.0.1:0", "--models", "foo"]);
    fails(empty.env("AURIS_SLOTS", ""), &["unknown model `foo`"]);
    let devices = |name: &str, value: &str, arguments: &[&str]| {
        let ran = run(command(&["devices"]).args(arguments).env(name, value));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    let slots = |table: &str| table.lines().nth(1)?.split_whitespace().nth(1).map(str::to_owned);
    assert_eq!(slots(&devices("AURIS_SLOTS", "3", &[])).as_deref(), Some("3"));
    assert_eq!(slots(&devices("AURIS_SLOTS", "3", &["--slots", "5"])).as_deref(), Some("5"));
    let chosen = devices("DEVICE", "cpu", &[]);
    assert!(chosen.contains("cuda     not used: the CPU is chosen"), "{chosen}");
}

#[tokio::test]
async fn either_signal_ends_an_idle_server_at_once_and_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::fake("none", &[]).await;
        let started = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal:?}: {}", server.log());
        // Less than the time that open answers are given: a connection that idles holds up nothing.
        assert!(started.elapsed() < Duration::from_secs(5), "{signal:?}");
    }
}

#[tokio::test]
async fn a_signal_ends_a_server_whose_model_never_loads() {
    let mut server = Server::start("fake:load-hang", &[]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn healthcheck_reports_life_from_readiness() {
    let check = |server: &Server, more: &[&str]| {
        let address = server.address.to_string();
        let mut command = command(&["healthcheck", "--listen", &address]);
        // A proxy for the world is none for this machine.
        run(command.env("http_proxy", "http://127.0.0.1:1").args(more))
    };
    let ready = Server::fake("none", &[]).await;
    assert_eq!(check(&ready, &[]).stdout, "200 OK: {\"status\":\"ok\"}\n");
    let said = check(&ready, &["--ready"]).stdout;
    assert!(said.starts_with("200 OK: {\"status\":\"ready\","), "{said}");
    let loading = Server::start("fake:load-hang", &[]);
    assert_eq!(check(&loading, &[]).code, Some(0));
    let unready = check(&loading, &["--ready"]);
    assert_eq!(unready.code, Some(1), "{unready:?}");
    assert!(unready.stdout.starts_with("503 "), "{unready:?}");
}

#[test]
fn healthcheck_without_a_server_fails() {
    // Bound and never listening: nobody else can have it meanwhile.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let needle = format!("no response from http://{address}/healthz: ");
    fails(&mut command(&["healthcheck", "--listen", &address]), &[&needle]);
}

/// Ends the process with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_outlives_the_reader_of_its_log() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let arguments = ["serve", "--listen=127.0.0.1:0", "--models", DEMO, "--offline"];
    let mut command = command(&arguments);
    command.args(["--cpu-program", &fake("none"), "--log", "debug"]);
    let mut server = Guard(command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").expect("the server has started");
    let client = auris_models::http_client(PATIENCE).unwrap();
    let started = Instant::now();
    while !client.get(format!("{url}/readyz")).send().await.unwrap().status().is_success() {
        assert!(started.elapsed() < PATIENCE, "the server is not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
