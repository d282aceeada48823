//! Takes from a thread, and from every thread and process that it starts afterwards, what it does
//! not need: files (Landlock), and system calls that reach beyond it (seccomp).
//!
//! For code that reads strangers' files in C. Both work without privileges and cannot be undone.
//! What the kernel lacks is left out, and reported: a service that does not start is worse than one
//! with less of a second wall.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;

mod files;
mod system_calls;

/// What a thread keeps.
#[derive(Debug, Default)]
pub struct Sandbox<'a> {
    /// Files and folders with all that is below them. Paths that are not there are skipped.
    pub readable: Vec<PathBuf>,
    /// What may be read and written, made and removed.
    pub writable: Vec<PathBuf>,
    /// What may be read and run. Without any, no program can be run, and no other process signalled.
    pub executable: Vec<PathBuf>,
    /// A file that may be read, whether it has a name or not.
    pub open_file: Option<&'a File>,
    /// Whether Unix sockets may be used. No others ever are.
    pub local_sockets: bool,
}

/// What holds a confined thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confinement {
    /// The version of Landlock. From 6 on, programs that a thread may run cannot signal others.
    /// `None` if the kernel has none, or the container forbids it.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
}

impl Confinement {
    /// The first version of Landlock from which no file can be changed: that of Linux 6.2.
    pub const WHOLE_LANDLOCK: u32 = 3;

    /// What threads are held by on this machine: confines one that does nothing and ends.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn available() -> io::Result<Self> {
        let trial = thread::Builder::new().name("sandbox".to_owned());
        let confined = trial.spawn(|| Sandbox::default().confine_thread())?.join();
        Ok(confined.unwrap_or_default())
    }

    pub fn is_whole(self) -> bool {
        self.seccomp && self.landlock.is_some_and(|version| version >= Self::WHOLE_LANDLOCK)
    }
}

impl Sandbox<'_> {
    /// Confines the calling thread, and what it starts from now on, for good. Threads that run
    /// already are not confined.
    pub fn confine_thread(&self) -> Confinement {
        // In this order: the filter may forbid what the other needs.
        let landlock = files::restrict(self).unwrap_or_default();
        let runs_programs = !self.executable.is_empty();
        let seccomp = system_calls::restrict(runs_programs, self.local_sockets).is_ok();
        Confinement { landlock, seccomp }
    }
}

#[cfg(test)]
mod tests;
