//! The server under test: the real program, with workers that transcribe nothing.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The descriptors that the server may have.
const DESCRIPTORS: &str = "256";

/// How long a start or an end may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub folder: PathBuf,
    token: String,
    /// The length of the log when it was started.
    log_start: usize,
}

/// What the server uses.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    pub descriptors: usize,
    pub resident_bytes: u64,
}

impl Server {
    /// Starts it in `folder`. The command lines of its workers contain `token`.
    pub async fn start(folder: &Path, token: String) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("spool"))?;
        let (child, address) = spawn(folder, &token).await?;
        Ok(Self { child, address, folder: folder.to_owned(), token, log_start: 0 })
    }

    /// Starts it again on what it has left.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.log_start = self.log_bytes().len();
        (self.child, self.address) = spawn(&self.folder, &self.token).await?;
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.with_context(|| format!("the server does not end within {PATIENCE:?}"))??)
    }

    pub fn pid(&self) -> anyhow::Result<Pid> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32));
        pid.context("the server has ended by itself")
    }

    /// The worker processes, whatever has become of the server.
    pub fn workers(&self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let workers = processes.filter_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            // Empty for one that has ended and is not waited for.
            let command = fs::read(process.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command);
            let (program, arguments) = command.split_once('\0')?;
            let is_worker = program.ends_with("auris-fake-worker");
            (is_worker && arguments.contains(&self.token)).then_some(pid)
        });
        workers.filter_map(Pid::from_raw).collect()
    }

    /// Waits until no worker is left.
    pub async fn has_no_workers(&self, limit: Duration) -> bool {
        let started = Instant::now();
        while !self.workers().is_empty() {
            if started.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The numbers of its open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<Vec<u64>> {
        let folder = format!("/proc/{}/fd", self.pid()?.as_raw_nonzero());
        let names = fs::read_dir(folder)?.flatten();
        Ok(names.filter_map(|fd| fd.file_name().to_str()?.parse().ok()).collect())
    }

    pub fn resources(&self) -> anyhow::Result<Resources> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let resident_bytes = kilobytes.context("no VmRSS")? * 1024;
        Ok(Resources { descriptors: self.descriptors()?.len(), resident_bytes })
    }

    /// Files of uploads, also those that have no name.
    pub fn spool_files(&self) -> usize {
        let spool = self.folder.join("spool");
        let named = fs::read_dir(&spool).map_or(0, Iterator::count);
        let Ok(pid) = self.pid() else { return named };
        let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
        let open = fs::read_dir(folder).into_iter().flatten().flatten();
        let links = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        named + links.filter(|target| target.starts_with(&spool)).count()
    }

    /// The audio that is kept for jobs.
    pub fn kept_files(&self) -> usize {
        fs::read_dir(self.jobs().join("audio")).map_or(0, Iterator::count)
    }

    pub fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// All that it has logged since its first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log_bytes()).into_owned()
    }

    /// What it has logged since its last start.
    pub fn log_since_start(&self) -> String {
        let log = self.log_bytes();
        String::from_utf8_lossy(log.get(self.log_start..).unwrap_or_default()).into_owned()
    }

    fn log_bytes(&self) -> Vec<u8> {
        fs::read(self.folder.join("log")).unwrap_or_default()
    }

    /// Runs `auris jobs recover` on its folder.
    pub async fn recover(&self) -> anyhow::Result<()> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auris"));
        let command = command.args(["jobs", "recover", "--jobs-dir"]).arg(self.jobs());
        let output = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await??;
        fs::OpenOptions::new()
            .append(true)
            .open(self.folder.join("log"))?
            .write_all(&[&output.stdout[..], &output.stderr].concat())?;
        if !output.status.success() {
            bail!("auris jobs recover fails: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

async fn spawn(folder: &Path, token: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let auris = Path::new(env!("CARGO_BIN_EXE_auris"));
    let worker = auris.with_file_name("auris-fake-worker");
    if !worker.exists() {
        bail!("{} is not there: cargo build --workspace", worker.display());
    }
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/ggml-demo.bin");
    // A prompt that no request has is where the token does nothing.
    let worker = format!("'{}' 'none,speed=40,prompt={token}'", worker.display());
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", DESCRIPTORS])
        .arg(auris)
        .args(["serve", "--listen", "127.0.0.1:0", "--models", model, "--offline"])
        .args(["--slots", "4", "--threads", "1", "--chunk-seconds", "10", "--no-vad"])
        .args(["--stall-seconds", "4", "--drain-seconds", "5"])
        .args(["--upload-idle-seconds", "10", "--connection-idle-seconds", "10"])
        .args(["--cpu-program", &worker, "--webhook-allow-private"])
        .arg("--spool-dir")
        .arg(folder.join("spool"))
        .arg("--jobs-dir")
        .arg(folder.join("jobs"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AURIS_LOG", "auris=info,warn")
        .env("AURIS_MODELS_DIR", folder.join("models"))
        .env("AURIS_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("the output is a pipe")?;
    let mut stdout = BufReader::new(stdout);
    timeout(PATIENCE, stdout.read_line(&mut line)).await.context("the server does not start")??;
    let address = line.trim().strip_prefix("listening on http://").and_then(|at| at.parse().ok());
    let address = address.with_context(|| {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        format!("the server ends at its start: {}", log.lines().last().unwrap_or_default())
    });
    Ok((child, address?))
}
