//! Finds out what can run models, and why the rest is not used, by running `auris-worker --probe`.
//!
//! The program queries the driver in a separate process, because a broken driver hangs or kills the
//! process that queries it. Whatever happens to that process, the result here is a list of devices
//! or a reason, within the time limit.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::{Instant, timeout, timeout_at};

use super::exit::{ExitKind, diagnose};
use super::process::{WorkerProgram, collect_stderr};
use auris_core::device::DeviceInfo;
use auris_core::ipc::PROTOCOL_VERSION;
use auris_core::probe::{
    CpuReport, DriverReport, HostKind, ProbeReport, Unavailable, UnavailableCause,
};

pub use auris_core::probe::cpu;

/// The default time limit of a probe. A healthy driver takes a second or two, and longer for the
/// first probe, which wakes the GPU.
pub const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// How long to wait for the exit of a process that has answered or was killed.
const END_GRACE: Duration = Duration::from_secs(2);

/// Returns the devices that `program` can use.
///
/// # Errors
/// Why there are none, from the program's report or its exit. Cancel safe: the process is killed.
pub async fn probe(
    program: &WorkerProgram,
    limit: Duration,
) -> Result<Vec<DeviceInfo>, Unavailable> {
    report(program, limit).await?.into_devices()
}

/// Returns everything that `program` reports about what it can run on. [`ProbeReport::unavailable`]
/// is the program's own reason.
///
/// # Errors
/// Why there is no report. Cancel safe: the process is killed.
pub async fn report(program: &WorkerProgram, limit: Duration) -> Result<ProbeReport, Unavailable> {
    query(program, &[OsStr::new("--probe")], limit).await
}

/// Why models cannot be run on the CPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuProgramError {
    /// The worker program is missing, or does not answer as expected.
    #[error("the worker program cannot be used: {0}")]
    Unusable(String),
    /// ggml uses these instructions without checking for them, which would end in SIGILL.
    #[error("this CPU lacks {}, which this auris was built to use", .0.join(", "))]
    MissingInstructions(Vec<String>),
}

impl CpuProgramError {
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unusable(_) => {
                "install auris-worker of the same release beside auris, or name it with --cpu-program"
            }
            Self::MissingInstructions(_) => {
                "take a CPU that has it (Intel since 2013, AMD since 2015, in a virtual \
                 machine a CPU model that passes it on), or build auris on this machine"
            }
        }
    }
}

/// Checks that `program` can run models on this CPU.
///
/// # Errors
/// Why it cannot. Cancel safe: the process is killed.
pub async fn check_cpu_program(
    program: &WorkerProgram,
    limit: Duration,
) -> Result<(), CpuProgramError> {
    let report = query::<CpuReport>(program, &[OsStr::new("--check-cpu")], limit).await;
    let report = report.map_err(|error| CpuProgramError::Unusable(error.detail))?;
    match report.missing_instructions {
        missing if missing.is_empty() => Ok(()),
        missing => Err(CpuProgramError::MissingInstructions(missing)),
    }
}

/// Returns the report of the driver library at `path` when `program` loads it on its own.
///
/// # Errors
/// Why there is no report. Cancel safe: the process is killed.
pub async fn driver_report(
    program: &WorkerProgram,
    path: &Path,
    limit: Duration,
) -> Result<DriverReport, Unavailable> {
    query(program, &[OsStr::new("--probe-driver"), path.as_os_str()], limit).await
}

/// Starts `program` with additional `arguments` and reads the line that it prints.
async fn query<T: DeserializeOwned>(
    program: &WorkerProgram,
    arguments: &[&OsStr],
    limit: Duration,
) -> Result<T, Unavailable> {
    let started = Instant::now();
    let mut child = program
        .command()
        .args(arguments)
        .spawn()
        .map_err(|error| not_started(&program.path, &error))?;
    // The child ends when this pipe is closed.
    let parent = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stderr_tail = stderr.map(|stderr| tokio::spawn(collect_stderr(stderr)));

    let mut line = Vec::new();
    let read = async {
        let Some(stdout) = stdout else { return Ok(0) };
        BufReader::new(stdout.take(LONGEST_ANSWER)).read_until(b'\n', &mut line).await
    };
    let read = timeout_at(started + limit, read).await;
    let too_long = line.len() as u64 == LONGEST_ANSWER;
    let answered = matches!(read, Ok(Ok(_))) && (line.ends_with(b"\n") || too_long);
    // A process that has answered may exit on its own. So may one that closed its output without an
    // answer: its exit status is the reason. Any other process is killed.
    let grace = if read.is_ok() { END_GRACE } else { Duration::ZERO };
    let own_end = timeout(grace, child.wait()).await.ok().and_then(Result::ok);
    if own_end.is_none() {
        kill(&mut child).await;
    }
    drop(parent);
    let stderr = match stderr_tail {
        // A process that the child started may still hold the pipe.
        Some(tail) if !answered => timeout(END_GRACE, tail).await.ok().and_then(Result::ok),
        _ => None,
    };
    let stderr = stderr.unwrap_or_default();
    match own_end {
        _ if answered => parse(&line),
        Some(status) if !status.success() => Err(ended(status, &stderr)),
        _ if !line.is_empty() => parse(&line),
        Some(status) => Err(ended(status, &stderr)),
        None => {
            let last = stderr.last().map(|line| format!("; its last message: {line}"));
            let detail = format!("no answer within {limit:?}{}", last.unwrap_or_default());
            Err(Unavailable::new(UnavailableCause::InitHangs, detail, HostKind::here()))
        }
    }
}

async fn kill(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.start_kill();
    // A process in an uninterruptible driver call survives even that. When it is dropped, the
    // runtime reaps it once it exits.
    if timeout(END_GRACE, child.wait()).await.is_err() {
        tracing::warn!("a killed probe does not end; it is left to the system");
    }
}

/// The first fields of every release's answer.
#[derive(Deserialize)]
struct Greeting {
    protocol: u32,
    version: String,
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Unavailable> {
    let bad = |detail| Unavailable::new(UnavailableCause::BadProbe, detail, HostKind::here());
    let Ok(greeting) = serde_json::from_slice::<Greeting>(line) else {
        let start = &line[..line.len().min(240)];
        let printed: String = String::from_utf8_lossy(start).trim().chars().take(80).collect();
        return Err(bad(format!("it printed {printed:?} instead of an answer")));
    };
    if greeting.protocol != PROTOCOL_VERSION {
        let detail = format!(
            "it is auris {} with protocol {}, and this is {} with {PROTOCOL_VERSION}",
            greeting.version,
            greeting.protocol,
            env!("CARGO_PKG_VERSION"),
        );
        return Err(Unavailable::new(UnavailableCause::OtherRelease, detail, HostKind::here()));
    }
    serde_json::from_slice(line).map_err(|error| bad(format!("its answer cannot be read: {error}")))
}

fn not_started(path: &Path, error: &io::Error) -> Unavailable {
    let missing = error.kind() == io::ErrorKind::NotFound && !path.exists();
    let cause =
        if missing { UnavailableCause::ProgramMissing } else { UnavailableCause::ProgramBroken };
    let detail = if missing {
        format!("there is no {}", path.display())
    } else {
        format!("{}: {error}", path.display())
    };
    Unavailable::new(cause, detail, HostKind::here())
}

/// Why a process exited without an answer.
fn ended(status: ExitStatus, stderr: &[String]) -> Unavailable {
    let exit = diagnose(status, stderr);
    let cause = match exit.kind {
        ExitKind::NotStarted => UnavailableCause::LibraryMissing,
        ExitKind::OutOfMemory => UnavailableCause::OutOfMemory,
        ExitKind::Aborted | ExitKind::Killed => UnavailableCause::InitAborts,
        _ => UnavailableCause::BadProbe,
    };
    Unavailable::new(cause, exit.detail, HostKind::here())
}
