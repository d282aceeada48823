//! The program as its user sees it: what is typed, printed and left on the disk.

mod files;
mod serving;
mod small;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::auris;

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program with `arguments`, as at a shell: no standard input, the default log.
fn command(arguments: &[&str]) -> Command {
    let mut command = auris();
    command.env_remove("AURIS_LOG").args(arguments).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Checks that the program succeeds, and returns what it printed.
#[track_caller]
fn succeeds(arguments: &[&str]) -> Ran {
    let ran = run(&mut command(arguments));
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran
}

/// Checks that the program fails with a message that has every one of `needles`, without a result
/// and without a panic.
#[track_caller]
fn fails(command: &mut Command, needles: &[&str]) -> Ran {
    let ran = run(command);
    assert!(matches!(ran.code, Some(1 | 2)), "{command:?}: {ran:?}");
    for needle in needles {
        assert!(ran.stderr.contains(needle), "{needle:?} is missing: {command:?}: {ran:?}");
    }
    assert_eq!(ran.stdout, "", "{command:?}");
    ran
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below `folder`, as sorted paths from there.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => found.extend(files_below(&path).iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}
