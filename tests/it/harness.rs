//! Starts the real server on a free port in a folder of its own, and checks at the end that
//! nothing is left over: no process and no spool file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::multipart::Form;
use serde_json::Value;
use tempfile::TempDir;

pub use super::answer::{Answer, form};
pub use super::signals::wav;

/// How long anything may take before a test is taken for hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A user that has nothing else here.
pub const USER: u32 = 54_321;

/// A running `auris serve`.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub client: reqwest::Client,
    folder: TempDir,
    /// What it was started with.
    command: Command,
}

/// The small model of the tests: it knows a few sentences of synthetic voices.
pub const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/ggml-demo.bin");

/// The program under test.
pub fn auris() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auris"));
    // What the machine's user has set is not the test's.
    for (name, _) in std::env::vars() {
        let is_ours = ["AURIS_", "HF_", "CUDA_"].iter().any(|p| name.starts_with(p));
        if is_ours || name == "DEVICE" || name == "GPU_AVAILABLE" {
            command.env_remove(name);
        }
    }
    command.env("AURIS_LOG", "auris=debug");
    command
}

/// A program that is built beside the one under test: `cargo build --workspace` makes them all.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_auris")).with_file_name(name);
    assert!(path.exists(), "{} is not there: cargo build --workspace", path.display());
    path
}

/// The command of the worker that fails as `script` says.
pub fn fake(script: &str) -> String {
    let path = program("auris-fake-worker");
    format!("'{}' '{script}'", path.display())
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A clip of the evaluation set.
pub fn clip(name: &str) -> Vec<u8> {
    fs::read(repository("tests/fixtures/eval").join(name)).unwrap()
}

impl Server {
    /// Starts a server on the fake engine with `script`, and waits until it is ready.
    pub async fn fake(script: &str, extra: &[&str]) -> Self {
        let server = Self::start(&format!("fake:{script}"), extra);
        server.ready().await;
        server
    }

    /// Starts a server on the demo model, and waits until it is ready.
    pub async fn demo(extra: &[&str]) -> Self {
        let server = Self::start("whisper", extra);
        server.ready().await;
        server
    }

    /// Starts a server on the bundled model, and waits until it is ready.
    pub async fn bundled(extra: &[&str]) -> Self {
        let server = Self::start_on(&["--models", "base-q8_0", "--offline"], "whisper", extra, &[]);
        server.ready().await;
        server
    }

    /// Starts a server whose CPU does everything right on the fake engine, and whose GPUs
    /// are those of the fake driver, with `script` for their engine. `driver` is the driver's
    /// variables. Waits until the CPU is ready.
    pub async fn gpu(script: &str, driver: &[(&str, &str)], extra: &[&str]) -> Self {
        Self::gpu_beside("none,speed=2", script, driver, extra).await
    }

    /// The same with a script for the CPU's engine.
    pub async fn gpu_beside(
        cpu: &str,
        script: &str,
        driver: &[(&str, &str)],
        extra: &[&str],
    ) -> Self {
        let gpu = ["--cuda-program", &fake(script)];
        let gpu = if extra.contains(&gpu[0]) { &[][..] } else { &gpu };
        let extra: Vec<&str> = gpu.iter().chain(extra).copied().collect();
        let settings = super::fake_driver::settings(driver);
        let server = Self::start_with(&format!("fake:{cpu}"), &extra, &settings);
        server.ready().await;
        server
    }

    /// Starts a server on `engine`, which need not become ready.
    pub fn start(engine: &str, extra: &[&str]) -> Self {
        Self::start_with(engine, extra, &[])
    }

    /// Starts a server as on a fresh machine: with the models that it has by default, a folder
    /// without models, the fake engine with `script`, and downloads from `endpoint`, if any. Waits
    /// until it is ready.
    pub async fn fresh(script: &str, endpoint: Option<&str>) -> Self {
        let mut variables = vec![("AURIS_DOWNLOAD_RETRY_SECONDS", "0.01")];
        variables.push(endpoint.map_or(("AURIS_OFFLINE", "1"), |url| ("HF_ENDPOINT", url)));
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let variables: Vec<(String, String)> = variables.collect();
        let server = Self::start_on(&[], &format!("fake:{script}"), &[], &variables);
        server.ready().await;
        server
    }

    /// The same with variables.
    pub fn start_with(engine: &str, extra: &[&str], variables: &[(String, String)]) -> Self {
        Self::start_on(&["--models", DEMO, "--offline"], engine, extra, variables)
    }

    fn start_on(
        models: &[&str],
        engine: &str,
        extra: &[&str],
        variables: &[(String, String)],
    ) -> Self {
        Self::start_by(auris(), models, engine, extra, variables)
    }

    pub fn start_by(
        mut command: Command,
        models: &[&str],
        engine: &str,
        extra: &[&str],
        variables: &[(String, String)],
    ) -> Self {
        let client = auris_models::http_client(PATIENCE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        fs::create_dir(&spool).unwrap();
        if rustix::process::geteuid().is_root() {
            // For a server that runs as another user.
            chown(folder.path(), Some(USER), None).unwrap();
            chown(&spool, Some(USER), None).unwrap();
        }
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(models)
            .env("AURIS_MODELS_DIR", folder.path().join("models"))
            .arg("--spool-dir")
            .arg(&spool)
            .arg("--jobs-dir")
            .arg(folder.path().join("jobs"))
            .args(extra)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        if let Some(script) = engine.strip_prefix("fake:") {
            // The tones that are sent to it are no speech.
            command.args(["--cpu-program", &fake(script)]).env("AURIS_NO_VAD", "true");
        }
        let (child, address) = spawn(&mut command, folder.path());
        Self { child, address, client, folder, command }
    }

    /// Kills the server as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on what it has left.
    pub fn restart(&mut self) {
        (self.child, self.address) = spawn(&mut self.command, self.folder.path());
    }

    /// The folder of models; it need not be there.
    pub fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The folder of jobs.
    pub fn jobs(&self) -> PathBuf {
        self.folder.path().join("jobs")
    }

    /// Waits until the server can transcribe.
    pub async fn ready(&self) {
        let ready = async || self.get("/readyz").await.status().is_success();
        self.until("the server is not ready", ready).await;
    }

    /// Asks again and again until `condition` holds.
    pub async fn until(&self, failure: &str, mut condition: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !condition().await {
            assert!(started.elapsed() < PATIENCE, "{failure}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// What `/v1/devices` says of a device; null if it is not in use.
    pub async fn device(&self, id: &str) -> Value {
        let devices = self.devices().await;
        let mut listed = devices["devices"].as_array().unwrap().iter();
        listed.find(|device| device["id"] == id).cloned().unwrap_or_default()
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.text().await.unwrap()
    }

    pub async fn devices(&self) -> Value {
        self.get("/v1/devices").await.json().await.unwrap()
    }

    /// Posts a form to `/v1/audio/transcriptions`.
    pub async fn post(&self, form: Form) -> Answer {
        self.post_to("/v1/audio/transcriptions", form).await
    }

    pub async fn post_to(&self, path: &str, form: Form) -> Answer {
        Answer::read(self.client.post(self.url(path)).multipart(form).send().await.unwrap()).await
    }

    /// Transcribes `audio` with the given fields.
    pub async fn transcribe(&self, audio: Vec<u8>, fields: &[(&str, &str)]) -> Answer {
        self.post(form(audio, fields)).await
    }

    /// The ids of the worker processes.
    pub fn workers(&self) -> Vec<i32> {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        // Children are listed under the thread that started them.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.map(|task| task.path().join("children")).chain([path.into()]);
        let mut workers: Vec<i32> = lists
            .filter_map(|list| fs::read_to_string(list).ok())
            .flat_map(|list| {
                list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>()
            })
            .collect();
        workers.sort_unstable();
        workers.dedup();
        workers
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the server has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// The server's peak resident memory in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Open files below the spool folder. They have no name, so only the kernel knows them.
    pub fn spool_files(&self) -> usize {
        let spool = self.folder.path().join("spool");
        let named = fs::read_dir(&spool).map_or(0, Iterator::count);
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        let unnamed = open
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|target| target.starts_with(&spool))
            .count();
        named + unnamed
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
        let workers = self.workers();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let started = Instant::now();
        let alive = |pid: &i32| {
            // A worker that has ended but was not waited for is a zombie of nobody's concern.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
            state.is_some_and(|state| state != "Z")
        };
        while workers.iter().any(alive) {
            if started.elapsed() > Duration::from_secs(10) && !std::thread::panicking() {
                panic!("workers outlive their server: {workers:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let spool = self.folder.path().join("spool");
        let left = fs::read_dir(spool).map_or(0, Iterator::count);
        if !std::thread::panicking() {
            assert_eq!(left, 0, "spool files are left over");
        }
    }
}

/// Starts a server that logs into `folder`, and reads where it listens.
fn spawn(command: &mut Command, folder: &Path) -> (Child, SocketAddr) {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").and_then(|a| a.parse().ok());
    let Some(address) = address else {
        let log = fs::read_to_string(folder.join("log")).unwrap();
        panic!("the server did not start: {line}\n{log}");
    };
    (child, address)
}
