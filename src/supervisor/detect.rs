//! What there is to run on, and why the rest is not used: asks a program by its `worker --probe`.
//!
//! The program asks the driver in a process of its own, since a broken driver hangs or ends whoever
//! asks it. Whatever that process does, the answer here is a list of devices or a reason, in time.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::ending::{EndKind, diagnose};
use super::process::{WorkerProgram, collect_stderr};
use crate::device::DeviceInfo;
use crate::ipc::PROTOCOL_VERSION;
use crate::probe::{Cause, DriverReport, Place, ProbeReport, Unavailable};

pub use crate::probe::cpu;

/// How long a probe may take by default. A driver that is well takes a second or two, and longer
/// for the first to wake the GPU.
pub const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// The most that is read of an answer, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// How long a process that has answered, or was killed, is waited for.
const END_GRACE: Duration = Duration::from_secs(2);

/// The devices that `program` can use.
///
/// # Errors
/// Why there are none, as the program or its end tells. Cancel safe: the process is killed.
pub async fn probe(
    program: &WorkerProgram,
    limit: Duration,
) -> Result<Vec<DeviceInfo>, Unavailable> {
    report(program, limit).await?.into_devices()
}

/// All that `program` tells about what it can run on; [`ProbeReport::unavailable`] is its own
/// reason.
///
/// # Errors
/// Why it does not tell. Cancel safe: the process is killed.
pub async fn report(program: &WorkerProgram, limit: Duration) -> Result<ProbeReport, Unavailable> {
    ask(program, &[OsStr::new("--probe")], limit).await
}

/// What the driver's library at `path` says when `program` loads it on its own.
///
/// # Errors
/// Why it does not tell. Cancel safe: the process is killed.
pub async fn driver_report(
    program: &WorkerProgram,
    path: &Path,
    limit: Duration,
) -> Result<DriverReport, Unavailable> {
    ask(program, &[OsStr::new("--probe-driver"), path.as_os_str()], limit).await
}

/// Starts `program` with more `arguments` and reads the line that it prints.
async fn ask<T: DeserializeOwned>(
    program: &WorkerProgram,
    arguments: &[&OsStr],
    limit: Duration,
) -> Result<T, Unavailable> {
    let started = Instant::now();
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .args(arguments)
        .env("GGML_NO_BACKTRACE", "1") // ggml would start a debugger to print one
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0) // whatever it starts is killed with it
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(&program.path, &error))?;
    // Its end tells the child that nobody waits any more.
    let parent = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let last_words = stderr.map(|stderr| tokio::spawn(collect_stderr(stderr)));

    let mut line = Vec::new();
    let read = async {
        let Some(stdout) = stdout else { return Ok(0) };
        BufReader::new(stdout.take(LONGEST_ANSWER)).read_until(b'\n', &mut line).await
    };
    let read = timeout_at(started + limit, read).await;
    let too_long = line.len() as u64 == LONGEST_ANSWER;
    let answered = matches!(read, Ok(Ok(_))) && (line.ends_with(b"\n") || too_long);
    // What has answered may end by itself. What has closed its output without an answer, too, and
    // its status tells why; what has not even done that is killed.
    let grace = match read {
        Ok(_) => END_GRACE,
        Err(_) => Duration::ZERO,
    };
    let own_end = timeout(grace, child.wait()).await.ok().and_then(Result::ok);
    if own_end.is_none() {
        kill(&mut child).await;
    }
    drop(parent);
    let stderr = match last_words {
        // Something that the process has started may still hold the pipe.
        Some(words) if !answered => timeout(END_GRACE, words).await.ok().and_then(Result::ok),
        _ => None,
    };
    let stderr = stderr.unwrap_or_default();
    match own_end {
        _ if answered => understand(&line),
        Some(status) if !status.success() => Err(ended(status, &stderr)),
        _ if !line.is_empty() => understand(&line),
        Some(status) => Err(ended(status, &stderr)),
        None => {
            let said = stderr.last().map(|line| format!("; it last said: {line}"));
            let detail = format!("no answer within {limit:?}{}", said.unwrap_or_default());
            Err(Unavailable::new(Cause::InitHangs, detail, Place::here()))
        }
    }
}

/// Ends the process and what it has started.
async fn kill(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.start_kill();
    // One in an uninterruptible call of a driver survives even that; dropping it lets the runtime
    // collect it when it ends.
    if timeout(END_GRACE, child.wait()).await.is_err() {
        tracing::warn!("a killed probe does not end; it is left to the system");
    }
}

/// What every release's answer begins with.
#[derive(Deserialize)]
struct Greeting {
    protocol: u32,
    version: String,
}

fn understand<T: DeserializeOwned>(line: &[u8]) -> Result<T, Unavailable> {
    let bad = |detail| Unavailable::new(Cause::BadProbe, detail, Place::here());
    let Ok(greeting) = serde_json::from_slice::<Greeting>(line) else {
        let start = &line[..line.len().min(240)];
        let said: String = String::from_utf8_lossy(start).trim().chars().take(80).collect();
        return Err(bad(format!("it printed {said:?} instead of an answer")));
    };
    if greeting.protocol != PROTOCOL_VERSION {
        let detail = format!(
            "it is auris {} with protocol {}, and this is {} with {PROTOCOL_VERSION}",
            greeting.version,
            greeting.protocol,
            env!("CARGO_PKG_VERSION"),
        );
        return Err(Unavailable::new(Cause::OtherRelease, detail, Place::here()));
    }
    serde_json::from_slice(line).map_err(|error| bad(format!("its answer cannot be read: {error}")))
}

fn not_started(path: &Path, error: &io::Error) -> Unavailable {
    let missing = error.kind() == io::ErrorKind::NotFound && !path.exists();
    let cause = if missing { Cause::ProgramMissing } else { Cause::ProgramBroken };
    let detail = match missing {
        true => format!("there is no {}", path.display()),
        false => format!("{}: {error}", path.display()),
    };
    Unavailable::new(cause, detail, Place::here())
}

/// Why there is no answer from a process that has ended.
fn ended(status: ExitStatus, stderr: &[String]) -> Unavailable {
    let ending = diagnose(status, stderr);
    let cause = match ending.kind {
        EndKind::NotStarted => Cause::LibraryMissing,
        EndKind::OutOfMemory => Cause::OutOfMemory,
        EndKind::Aborted | EndKind::Killed => Cause::InitAborts,
        _ => Cause::BadProbe,
    };
    Unavailable::new(cause, ending.detail, Place::here())
}
