//! Results on standard output, reports on standard error.
//!
//! Neither `println!` nor `eprintln!`, which panic when the other end is closed or full.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints a command's result. It is no error if the reader has read enough, like `head`.
pub fn result(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the result cannot be written to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints a line for the person at the terminal, if there is one.
pub fn report(line: &str) {
    // There is nowhere left to report this to.
    let _ = writeln!(io::stderr(), "{line}");
}
