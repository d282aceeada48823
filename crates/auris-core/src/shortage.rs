//! What an I/O error says about the machine: that it is short of something for the moment.
//!
//! Such an error is neither the file's fault nor the client's, and the same work may succeed later.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// A decoder in a process of its own was killed, as the kernel does when memory runs out: the machine
/// may be short of it, or the file takes more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decoder ran out of memory")]
pub struct DecoderOutOfMemory;

/// What the server is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error("the server has too many open files and connections; try again later")]
    OpenFiles,
    #[error("the server cannot start another process or thread; try again later")]
    Processes,
    #[error("the server is out of memory; try again later")]
    Memory,
    #[error("the server's disk is full; try again later")]
    DiskSpace,
    /// It cannot be read or written.
    #[error("the server's disk fails; try again later")]
    Disk,
    #[error("the server is too busy; try again later")]
    Busy,
    /// See [`DecoderOutOfMemory`].
    #[error("the decoder ran out of memory on this file; try again later, or convert it to FLAC")]
    Decoder,
}

impl Shortage {
    /// The shortage behind `error`, or behind the I/O error that it wraps; `None` if it has another
    /// cause.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => return Some(Self::OpenFiles),
            Some(Errno::IO | Errno::ROFS | Errno::STALE) => return Some(Self::Disk),
            // What fork and clone return at the limit of processes.
            Some(Errno::AGAIN) => return Some(Self::Processes),
            _ => {}
        }
        match error.kind() {
            ErrorKind::OutOfMemory => Some(Self::Memory),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(Self::DiskSpace),
            ErrorKind::ResourceBusy | ErrorKind::WouldBlock => Some(Self::Busy),
            _ => Self::behind(error),
        }
    }

    /// Libraries wrap errors, to add the path for example.
    fn behind(error: &io::Error) -> Option<Self> {
        let mut cause = error.get_ref().map(|cause| cause as &(dyn Error + 'static));
        while let Some(inner) = cause {
            if inner.is::<DecoderOutOfMemory>() {
                return Some(Self::Decoder);
            }
            if let Some(inner) = inner.downcast_ref() {
                return Self::of(inner);
            }
            cause = inner.source();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("at a path")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_shortage_is_recognised_by_number_and_by_kind() {
        let check = |error: io::Error, expected: Option<Shortage>| {
            assert_eq!(Shortage::of(&error), expected, "{error}");
            let wrapped = io::Error::other(Wrapped(error));
            assert_eq!(Shortage::of(&wrapped), expected, "wrapped");
            assert_eq!(Shortage::of(&io::Error::other(wrapped)), expected, "wrapped twice");
        };
        let number = |errno: Errno, expected| check(errno.into(), Some(expected));
        number(Errno::MFILE, Shortage::OpenFiles);
        number(Errno::NFILE, Shortage::OpenFiles);
        number(Errno::AGAIN, Shortage::Processes);
        number(Errno::NOMEM, Shortage::Memory);
        number(Errno::NOSPC, Shortage::DiskSpace);
        number(Errno::DQUOT, Shortage::DiskSpace);
        number(Errno::IO, Shortage::Disk);
        number(Errno::BUSY, Shortage::Busy);
        check(ErrorKind::OutOfMemory.into(), Some(Shortage::Memory));
        check(ErrorKind::StorageFull.into(), Some(Shortage::DiskSpace));
        check(ErrorKind::QuotaExceeded.into(), Some(Shortage::DiskSpace));
        check(ErrorKind::ResourceBusy.into(), Some(Shortage::Busy));
        check(ErrorKind::WouldBlock.into(), Some(Shortage::Busy));
        check(io::Error::other(DecoderOutOfMemory), Some(Shortage::Decoder));
        check(ErrorKind::InvalidData.into(), None);
        check(ErrorKind::UnexpectedEof.into(), None);
        check(Errno::NOENT.into(), None);
        check(Errno::INVAL.into(), None);
    }
}
