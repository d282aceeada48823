//! Why a worker exited: a class that decides what happens next, and a description.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use auris_core::ipc::CRASH_PREFIX;

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerExit {
    pub kind: ExitKind,
    /// What happened, and the worker's last output.
    pub detail: String,
}

impl WorkerExit {
    pub(crate) fn new(kind: ExitKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// Classes of exits that are handled differently.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum ExitKind {
    /// The scheduler stopped it.
    Stopped,
    /// The program cannot be started: missing, not executable, or a library is missing.
    NotStarted,
    /// It sent no greeting, or did not load the model, within the time limit.
    StartTimeout,
    /// It speaks another protocol version, or no protocol at all.
    Protocol,
    /// The model file cannot be used; another start would fail the same way.
    BadModel,
    /// The engine put the model on a device other than the requested one.
    WrongDevice,
    /// The engine failed to load the model for a reason other than the file.
    LoadFailed,
    /// The device ran out of memory.
    OutOfMemory,
    /// It aborted or crashed on its own.
    Aborted,
    /// It was killed from outside, for example by the kernel for lack of memory.
    Killed,
    /// It exited on its own with a status.
    Exited,
    /// It reported errors for several chunks in a row.
    EngineErrors,
    /// A chunk made no progress, so the scheduler killed it.
    Stalled,
}

/// Signals that a process raises against itself, such as abort and segmentation fault.
const OWN_SIGNALS: [(i32, &str); 6] = [
    (4, "SIGILL: the CPU lacks an instruction that the program was built with"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (11, "SIGSEGV"),
];

/// Explains `status` with the help of the last lines of stderr, oldest first.
pub(super) fn diagnose(status: ExitStatus, stderr: &[String]) -> WorkerExit {
    let crash = stderr.iter().rev().find_map(|line| line.strip_prefix(CRASH_PREFIX));
    let message = crash.or(stderr.last().map(String::as_str));
    let message = message.map(|line| format!(": {line}")).unwrap_or_default();
    let short_of_memory = stderr.iter().any(|line| is_out_of_memory(line));
    let (kind, what) = match (status.signal(), status.code()) {
        (Some(signal), _) => match OWN_SIGNALS.iter().find(|(own, _)| *own == signal) {
            Some((_, name)) if short_of_memory => {
                (ExitKind::OutOfMemory, format!("ran out of memory ({name})"))
            }
            Some((_, name)) => (ExitKind::Aborted, format!("crashed ({name})")),
            None => (ExitKind::Killed, format!("was killed by signal {signal}")),
        },
        (None, Some(127)) => {
            (ExitKind::NotStarted, "cannot start; a shared library is missing".to_owned())
        }
        (None, code) => (ExitKind::Exited, format!("ended with status {}", code.unwrap_or(-1))),
    };
    WorkerExit::new(kind, format!("the worker {what}{message}"))
}

/// Out-of-memory messages of the C library, of ggml, of CUDA and, last, of cuBLAS
/// (`CUBLAS_STATUS_ALLOC_FAILED` in CUDA 13).
const OUT_OF_MEMORY: [&str; 5] = [
    "out of memory",
    "failed to allocate",
    "unable to allocate",
    "bad_alloc",
    "resource allocation failed",
];

fn is_out_of_memory(line: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_classified_and_described() {
        const ABORT: i32 = 6; // raw wait status: the signal's number
        for (raw, stderr, kind, words) in [
            (ABORT, "auris-crash: CUDA error: out of memory", ExitKind::OutOfMemory, "CUDA error"),
            (
                ABORT,
                "CUDA error: the resource allocation failed",
                ExitKind::OutOfMemory,
                "resource",
            ),
            (ABORT, "auris-crash: CUDA error: unspecified", ExitKind::Aborted, "unspecified"),
            (11, "ggml: failed to allocate buffer", ExitKind::OutOfMemory, "SIGSEGV"),
            (4, "", ExitKind::Aborted, "instruction"),
            (9, "", ExitKind::Killed, "signal 9"),
            (15, "", ExitKind::Killed, "signal 15"),
            (127 << 8, "error while loading shared libraries", ExitKind::NotStarted, "library"),
            (3 << 8, "no message", ExitKind::Exited, "status 3: no message"),
        ] {
            let exit = diagnose(ExitStatus::from_raw(raw), &[stderr.to_owned()]);
            assert_eq!(exit.kind, kind, "{raw} {stderr}");
            assert!(exit.detail.contains(words), "{:?} lacks {words:?}", exit.detail);
        }
    }
}
