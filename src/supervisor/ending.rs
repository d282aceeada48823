//! Why a worker ended, in a class that decides what happens next and in words for people.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::Serialize;

use crate::ipc::CRASH_PREFIX;

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The class.
    pub kind: EndKind,
    /// What happened, and what the worker last said.
    pub detail: String,
}

/// Classes of ends that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndKind {
    /// It was asked to.
    Stopped,
    /// The program cannot be started: missing, not executable, or a library is missing.
    NotStarted,
    /// No greeting or no loaded model within its time.
    StartTimeout,
    /// It speaks another version, or no protocol at all.
    Protocol,
    /// The model file cannot be used; another start would end the same way.
    BadModel,
    /// The engine put the model elsewhere than on the device that was asked for.
    WrongDevice,
    /// The engine failed to load the model, for another reason than the file.
    LoadFailed,
    /// The device had no memory left.
    OutOfMemory,
    /// It aborted or crashed by itself.
    Aborted,
    /// Somebody else killed it, such as the kernel for lack of memory.
    Killed,
    /// It ended by itself with a status.
    Exited,
    /// It reported an error for one chunk after the other.
    EngineErrors,
    /// A chunk made no progress, so the scheduler ended it.
    Stalled,
}

impl EndKind {
    /// The name used in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::NotStarted => "not-started",
            Self::StartTimeout => "start-timeout",
            Self::Protocol => "protocol",
            Self::BadModel => "bad-model",
            Self::WrongDevice => "wrong-device",
            Self::LoadFailed => "load-failed",
            Self::OutOfMemory => "out-of-memory",
            Self::Aborted => "aborted",
            Self::Killed => "killed",
            Self::Exited => "exited",
            Self::EngineErrors => "engine-errors",
            Self::Stalled => "stalled",
        }
    }
}

impl std::fmt::Display for EndKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Signals that a process raises against itself: abort, segmentation fault and their like.
const OWN_SIGNALS: [(i32, &str); 6] = [
    (4, "SIGILL: the processor lacks an instruction that the program was built with"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (11, "SIGSEGV"),
];

/// Explains `status` with the help of the last lines of stderr, oldest first.
pub(super) fn diagnose(status: ExitStatus, stderr: &[String]) -> Ending {
    let crash = stderr.iter().rev().find_map(|line| line.strip_prefix(CRASH_PREFIX));
    let said = crash.or(stderr.last().map(String::as_str));
    let said = said.map(|line| format!(": {line}")).unwrap_or_default();
    let short_of_memory = stderr.iter().any(|line| tells_out_of_memory(line));
    let (kind, what) = match (status.signal(), status.code()) {
        (Some(signal), _) => match OWN_SIGNALS.iter().find(|(own, _)| *own == signal) {
            Some((_, name)) if short_of_memory => {
                (EndKind::OutOfMemory, format!("ran out of memory ({name})"))
            }
            Some((_, name)) => (EndKind::Aborted, format!("crashed ({name})")),
            None => (EndKind::Killed, format!("was killed by signal {signal}")),
        },
        (None, Some(127)) => {
            (EndKind::NotStarted, "cannot start; a shared library is missing".to_owned())
        }
        (None, code) => (EndKind::Exited, format!("ended with status {}", code.unwrap_or(-1))),
    };
    Ending { kind, detail: format!("the worker {what}{said}") }
}

/// The words of the C library, of ggml, of CUDA and, the last, of cuBLAS
/// (`CUBLAS_STATUS_ALLOC_FAILED` in CUDA 13).
const OUT_OF_MEMORY: [&str; 5] = [
    "out of memory",
    "failed to allocate",
    "unable to allocate",
    "bad_alloc",
    "resource allocation failed",
];

fn tells_out_of_memory(line: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_class_and_its_words() {
        const ABORT: i32 = 6; // raw wait status: the signal's number
        for (raw, stderr, kind, words) in [
            (ABORT, "auris-crash: CUDA error: out of memory", EndKind::OutOfMemory, "CUDA error"),
            (ABORT, "CUDA error: the resource allocation failed", EndKind::OutOfMemory, "resource"),
            (ABORT, "auris-crash: CUDA error: unspecified", EndKind::Aborted, "unspecified"),
            (11, "ggml: failed to allocate buffer", EndKind::OutOfMemory, "SIGSEGV"),
            (4, "", EndKind::Aborted, "instruction"),
            (9, "", EndKind::Killed, "signal 9"),
            (15, "", EndKind::Killed, "signal 15"),
            (127 << 8, "error while loading shared libraries", EndKind::NotStarted, "library"),
            (3 << 8, "nothing to say", EndKind::Exited, "status 3: nothing to say"),
        ] {
            let ending = diagnose(ExitStatus::from_raw(raw), &[stderr.to_owned()]);
            assert_eq!(ending.kind, kind, "{raw} {stderr}");
            assert!(ending.detail.contains(words), "{:?} lacks {words:?}", ending.detail);
        }
    }
}
