//! How a worker process reacts to failures, and how much memory it uses.

use std::fs;

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

/// This process's resident memory in bytes; 0 where the system does not report it.
pub(crate) fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
