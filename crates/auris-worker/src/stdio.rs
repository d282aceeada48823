//! Protects the protocol's pipes from C libraries that print.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::thread;

/// The protocol's pipes on private descriptors.
pub struct PrivatePipes {
    pub requests: File,
    pub events: File,
}

/// Moves standard input and output to private descriptors, then redirects standard output to
/// standard error and standard input to `/dev/null`. Call it once, before any thread starts.
///
/// # Errors
/// Errors from duplicating descriptors and opening `/dev/null`.
pub fn claim_stdio() -> io::Result<PrivatePipes> {
    let requests = private(rustix::stdio::stdin())?;
    let events = private(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(PrivatePipes { requests: requests.into(), events: events.into() })
}

/// If `requests` is a pipe, ends this process when the pipe closes, whatever the process is doing:
/// the parent holds the other end, and a driver that hangs must not outlive it.
///
/// # Errors
/// The thread cannot be started.
pub fn end_with(mut requests: File) -> io::Result<()> {
    if !requests.metadata()?.file_type().is_fifo() {
        return Ok(());
    }
    thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let _ = io::copy(&mut requests, &mut io::sink());
        // Not `exit`: it runs the driver's exit handlers, which may hang as well.
        std::process::abort()
    })?;
    Ok(())
}

/// Returns a duplicate above the standard descriptors that children do not inherit.
fn private(descriptor: rustix::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}
