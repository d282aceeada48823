//! How a worker process reacts to failures, and how much memory it uses.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit};

use auris_core::ipc::CRASH_PREFIX;

/// Makes a panic on any thread end the process with its message, like a crash in C: a worker with a
/// dead slot would leave its parent waiting. Disables core files, which for a model of gigabytes
/// take longer to write than the model takes to load.
pub fn abort_on_panic() {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, nothing);
    std::panic::set_hook(Box::new(|panic| {
        let line = format!("{CRASH_PREFIX}{panic}\n").replace(":\n", ": ");
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        std::process::abort();
    }));
}

/// Makes the kernel kill this process before the server when memory runs out: losing a worker costs
/// time, losing the server costs its requests. On a machine shared by several programs, a worker is
/// killed even before programs that use more memory, by up to half of the total. See proc(5).
pub fn prefer_as_oom_victim() {
    const FILE: &str = "/proc/self/oom_score_adj";
    const SCORE: i32 = 500;
    let now = fs::read_to_string(FILE).ok().and_then(|score| score.trim().parse().ok());
    // Keep the value if there is no /proc, or if a higher one is already set.
    if now.is_some_and(|now: i32| now < SCORE)
        && let Err(error) = fs::write(FILE, SCORE.to_string())
    {
        tracing::debug!("{FILE} cannot be written to: {error}");
    }
}

/// What the kernel reports of this process's memory; `None` without /proc.
static MEMORY_REPORT: OnceLock<Option<File>> = OnceLock::new();

/// Opens what [`resident_bytes`] reads, while files can still be opened.
pub(crate) fn open_memory_report() {
    MEMORY_REPORT.get_or_init(|| File::open("/proc/self/statm").ok());
}

/// This process's resident memory in bytes; 0 where the system does not report it.
pub(crate) fn resident_bytes() -> u64 {
    let mut text = [0; 256];
    let report = MEMORY_REPORT.get().and_then(Option::as_ref);
    let length = report.and_then(|report| report.read_at(&mut text, 0).ok()).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
