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
///
/// # Errors
/// It cannot be started, or for lack of descriptors or memory not be confined.
pub(super) fn spawn(mut command: Command, program: &Path, input: &File) -> io::Result<Child> {
    let mut executable: Vec<PathBuf> = PROGRAMS.map(PathBuf::from).to_vec();
    executable.extend(parts(&program.canonicalize()?));
    let sandbox = Sandbox {
        readable: READABLE.map(PathBuf::from).to_vec(),
        writable: vec!["/dev/null".into()],
        executable,
        open_file: Some(input),
        ..Sandbox::default()
    };
    let start = || {
        sandbox.confine_thread()?;
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

/// What an installation consists of: the program's file, which may be in anyone's folder, and if it
/// is in `PREFIX/bin`, as conda and Homebrew install it, the libraries of that prefix.
fn parts(program: &Path) -> Vec<PathBuf> {
    let folder = program.parent().filter(|folder| folder.ends_with("bin"));
    let prefix = folder.and_then(Path::parent);
    let libraries =
        prefix.into_iter().flat_map(|prefix| ["lib", "lib64"].map(|lib| prefix.join(lib)));
    [program.to_owned()].into_iter().chain(libraries).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_has_its_libraries_and_no_neighbours() {
        let check = |program: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(parts(Path::new(program)), expected, "{program}");
        };
        check("/home/ravi/ffmpeg", &["/home/ravi/ffmpeg"]);
        check("/ffmpeg", &["/ffmpeg"]);
        let conda =
            ["/home/ravi/conda/bin/ffmpeg", "/home/ravi/conda/lib", "/home/ravi/conda/lib64"];
        check("/home/ravi/conda/bin/ffmpeg", &conda);
    }
}
