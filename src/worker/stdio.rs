//! Keeps the protocol's pipes away from C libraries that print.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// The protocol's pipes on private descriptors.
pub struct PrivatePipes {
    /// From the parent.
    pub requests: File,
    /// To the parent.
    pub events: File,
}

/// Moves standard input and output to private descriptors, then points standard output at
/// standard error and standard input at nothing. Call it once, before any thread starts.
///
/// # Errors
/// Those of duplicating descriptors and opening `/dev/null`.
pub fn claim_stdio() -> io::Result<PrivatePipes> {
    let requests = private(rustix::stdio::stdin())?;
    let events = private(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(PrivatePipes { requests: requests.into(), events: events.into() })
}

/// A duplicate above the standard descriptors that no child inherits.
fn private(descriptor: rustix::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}
