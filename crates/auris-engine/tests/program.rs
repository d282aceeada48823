//! How the worker program starts and exits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn it_exits_with_its_parent_and_at_a_broken_protocol() {
    let command = || Command::new(env!("CARGO_BIN_EXE_auris-worker"));
    let ended = command().stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let mut child = command()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may exit before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(&[0xff; 64]);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("a frame of 4294967295 bytes"), "{stderr}");
}
