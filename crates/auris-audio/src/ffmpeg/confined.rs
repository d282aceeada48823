//! Starts ffmpeg on a thread that has given up all but what ffmpeg needs, which it inherits.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use auris_sandbox::Sandbox;

/// Where systems keep programs and their libraries.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/lib", "/lib64", "/opt", "/nix/store", "/gnu/store"];

/// What the loader and the C library read besides.
const READABLE: [&str; 4] =
    ["/etc/ld.so.cache", "/sys/devices/system/cpu", "/proc/cpuinfo", "/dev/urandom"];

/// Starts `program` by `command`. It can read `input` and programs, and write to its open pipes.
pub(super) fn spawn(command: Command, program: &Path, input: &File) -> io::Result<Child> {
    let mut executable: Vec<PathBuf> = PROGRAMS.map(PathBuf::from).to_vec();
    // What is installed elsewhere may have its libraries beside it.
    let files = [Some(program.to_owned()), program.canonicalize().ok()];
    executable.extend(files.into_iter().flatten().filter_map(|file| Some(file.parent()?.into())));
    let sandbox = Sandbox {
        readable: READABLE.map(PathBuf::from).to_vec(),
        writable: vec!["/dev/null".into()],
        executable,
        open_file: Some(input),
        ..Sandbox::default()
    };
    let mut command = command;
    let start = || {
        sandbox.confine_thread();
        command.spawn()
    };
    thread::scope(|scope| {
        let starting =
            thread::Builder::new().name("ffmpeg".to_owned()).spawn_scoped(scope, start)?;
        starting
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panics")))
    })
}
