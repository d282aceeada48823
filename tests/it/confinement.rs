//! What worker processes and ffmpeg can reach: not the server's secrets, and no more of the machine
//! than they need.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use auris_audio::Ffmpeg;
use auris_sandbox::Confinement;
use reqwest::StatusCode;
use rustix::process::{Resource, getrlimit};

use super::harness::{Answer, DEMO, Server, USER, auris, form, repository, wav};

/// Variables that no child may see.
const SECRETS: [(&str, &str); 4] = [
    ("AURIS_API_KEYS", "ann:hush-1"),
    ("AURIS_WEBHOOK_SECRET", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNo"),
    ("HF_TOKEN", "hush-3"),
    ("AWS_SECRET_ACCESS_KEY", "hush-4"),
];

/// A program that stands in for ffmpeg, with a recording among its libraries.
fn stand_in(folder: &Path, script: &str) -> String {
    for name in ["bin", "lib"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let program = folder.join("bin/ffmpeg");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(repository("tests/fixtures/codecs/speech.wav"), folder.join("lib/speech.wav"))
        .unwrap();
    program.to_str().unwrap().to_owned()
}

/// A file that only ffmpeg reads.
fn avi() -> Vec<u8> {
    fs::read(repository("tests/fixtures/codecs/avi.avi")).unwrap()
}

/// Whether this kernel has all that confines.
fn is_confining() -> bool {
    Confinement::available().unwrap().is_whole()
}

#[tokio::test]
async fn secrets_stay_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    // Its output never ends by itself.
    let script = "case \"$*\" in *pipe:1) cat \"${0%/*}/../lib/head.wav\"; exec yes;; esac";
    let program = stand_in(folder.path(), script);
    fs::write(folder.path().join("lib/head.wav"), &wav(60.0, 1)[..44]).unwrap();
    let secrets = SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let server = Server::start_with("fake:none,speed=1", &["--ffmpeg", &program], &secrets);
    server.ready().await;
    // A child that has not yet become another program has the server's environment.
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let children = || {
        let mut children = server.workers();
        children.retain(|child| program(*child) != program(server.pid()));
        children
    };
    let converts = |child: &i32| {
        fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|command| command.starts_with(b"yes"))
    };
    let request = server.client.post(server.url("/v1/audio/transcriptions"));
    let request = request.bearer_auth("hush-1").multipart(form(avi(), &[]));
    let request = tokio::spawn(request.send());
    server.until("ffmpeg does not run", async || children().iter().any(converts)).await;

    let own = fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
    assert!(String::from_utf8_lossy(&own).contains("hush-4"));
    let children = children();
    assert!(children.len() > 1, "the worker is missing");
    for child in children {
        let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        for (name, _) in SECRETS {
            assert!(!environment.contains(name), "{child}: {environment}");
        }
        assert!(!environment.contains("hush") && !environment.contains("whsec_"), "{environment}");
    }
    request.abort();
}

#[tokio::test]
async fn an_engine_that_is_taken_over_reaches_nothing() {
    if !is_confining() {
        return;
    }
    let server = Server::fake("escape", &[]).await;
    assert_eq!(server.transcribe(wav(5.0, 1), &[]).await.text(), "nothing");

    let server = Server::fake("escape", &["--no-sandbox"]).await;
    let reached = server.transcribe(wav(5.0, 1), &[]).await.text();
    assert_eq!(reached, "read list write mode environment connect listen send run signal");
    assert!(server.log().contains("--no-sandbox"), "{}", server.log());
}

#[tokio::test]
async fn more_files_for_ffmpeg_than_there_is_room_for_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("alive")).unwrap();
    // Each counts those that are there with it, by folders, since it may make no files.
    let program = stand_in(
        folder.path(),
        "cd \"${0%/*}/..\"; mkdir alive/$$; mkdir -p counts/$(ls alive | wc -l); sleep 0.1\n\
         cat lib/speech.wav; rmdir alive/$$",
    );
    let most = Ffmpeg::new((&program).into()).unwrap().at_once();
    let server = Server::fake("none", &["--ffmpeg", &program, "--no-sandbox"]).await;

    let requests = (0..5 * most).map(|_| server.transcribe(avi(), &[]));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let counts = fs::read_dir(folder.path().join("counts")).unwrap();
    let counts = counts.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let counts: Vec<usize> = counts.map(|count| count.parse().unwrap()).collect();
    assert!(counts.iter().all(|count| *count <= most), "{counts:?} of {most}");
}

/// A server on the fake engine as a user that is not root, for whom limits hold.
async fn fake_as_user(extra: &[&str]) -> Server {
    let mut command = auris();
    if rustix::process::geteuid().is_root() {
        command.uid(USER).gid(USER);
    }
    let models = ["--models", DEMO, "--offline"];
    let server = Server::start_by(command, &models, "fake:none", extra, &[]);
    server.ready().await;
    server
}

/// Sets the most processes of the user that `server` runs as. Others may not, even root, without a
/// capability that containers lack.
fn limit_processes(server: &Server, most: Option<u64>) {
    let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
    let mut command = Command::new("prlimit");
    if rustix::process::geteuid().is_root() {
        command.uid(USER).gid(USER);
    }
    let pid = server.pid().to_string();
    let status = command.args(["--pid", &pid, &format!("--nproc={most}:")]).status().unwrap();
    assert!(status.success());
}

/// Whether other users can get at `path`.
fn is_open_to_others(path: &Path) -> bool {
    path.ancestors().all(|part| fs::metadata(part).is_ok_and(|part| part.mode() & 0o001 != 0))
}

#[tokio::test]
async fn a_machine_without_another_process_is_busy_and_blames_no_file() {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !is_open_to_others(Path::new(env!("CARGO_BIN_EXE_auris"))) {
        return; // the limit is not for root, and another user cannot run the program
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = stand_in(folder.path(), "cat \"${0%/*}/../lib/speech.wav\"");
    let server = fake_as_user(&["--ffmpeg", &program]).await;
    let ask = async || -> Answer { server.transcribe(avi(), &[]).await };
    assert_eq!(ask().await.status, 200);

    limit_processes(&server, Some(1));
    let answer = ask().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(server.get("/healthz").await.status(), 200);

    limit_processes(&server, getrlimit(Resource::Nproc).current);
    assert_eq!(ask().await.status, 200);
}
