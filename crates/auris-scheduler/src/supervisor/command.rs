//! How a worker program is started, and which of the server's variables it gets.
//!
//! The server's environment holds its keys and those of the machine's owner, which are none of an
//! engine's business: it gets what is named here.

use std::env;
use std::process::Stdio;

use tokio::process::Command;

use super::process::WorkerProgram;

/// Variables that a worker program gets.
const PASSED: &[&str] = &[
    "PATH",            // `env` and the like in --cpu-program, and tools of the driver
    "LD_LIBRARY_PATH", // where the driver's libraries are
    "HOME",            // the driver keeps compiled kernels there
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "AURIS_LOG",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE",
    "RUST_BACKTRACE",
];

/// And those that begin so: of CUDA, ggml, the C library's languages, and its allocator.
const PASSED_PREFIXES: &[&str] = &["CUDA_", "GGML_", "LC_", "MALLOC_"];

impl WorkerProgram {
    /// The command that starts it, with pipes for all three streams. It is killed when its handle is
    /// dropped.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed)))
            .env("GGML_NO_BACKTRACE", "1") // ggml would start a debugger to print one
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for the server, which still needs its workers to drain; and what a probe
            // starts is killed with it.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn is_passed(name: &str) -> bool {
    PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_what_is_named() {
        for name in ["PATH", "CUDA_VISIBLE_DEVICES", "GGML_CUDA_NO_VMM", "LC_ALL"] {
            assert!(is_passed(name), "{name}");
        }
        for name in ["AURIS_API_KEYS", "AURIS_WEBHOOK_SECRET", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"]
        {
            assert!(!is_passed(name), "{name}");
        }
        for name in ["NVIDIA_API_KEY", "LD_PRELOAD", "OPENAI_API_KEY", "PATHS", ""] {
            assert!(!is_passed(name), "{name}");
        }
    }
}
