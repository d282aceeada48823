//! Takes from a thread, and from every thread and process that it starts afterwards, what it does
//! not need: files (Landlock), and system calls that reach beyond it (seccomp).
//!
//! For code that reads strangers' files in C. Both work without privileges and cannot be undone.
//! What the kernel lacks is left out, and reported: a service that does not start is worse than one
//! with less of a second wall.

#![forbid(unsafe_code)]

use std::error::Error;
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
    /// Whether a GPU's driver works there, which uses Unix sockets, and may schedule threads and
    /// change the modes and times of its files. Other sockets are never used.
    pub gpu_driver: bool,
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
    /// The thread cannot be started, or there is too little memory or are too few descriptors.
    pub fn available() -> io::Result<Self> {
        let trial = thread::Builder::new().name("sandbox".to_owned());
        let confined = trial.spawn(|| Sandbox::default().confine_thread())?.join();
        confined.unwrap_or_else(|_| Ok(Self::default()))
    }

    pub fn is_whole(self) -> bool {
        self.seccomp && self.landlock.is_some_and(|version| version >= Self::WHOLE_LANDLOCK)
    }
}

impl Sandbox<'_> {
    /// Confines the calling thread, and what it starts from now on, for good. Threads that run
    /// already are not confined.
    ///
    /// # Errors
    /// Memory or descriptors are short. The thread is confined in part, and less than it could be.
    pub fn confine_thread(&self) -> io::Result<Confinement> {
        // In this order: the filter may forbid what the other needs.
        let landlock = unless_short(files::restrict(self))?.flatten();
        let seccomp = unless_short(system_calls::restrict(self))?.is_some();
        Ok(Confinement { landlock, seccomp })
    }
}

/// What the kernel does; `None` if it cannot. A shortage is an error, which passes.
fn unless_short<T>(result: Result<T, Box<dyn Error>>) -> io::Result<Option<T>> {
    let error = match result {
        Ok(done) => return Ok(Some(done)),
        Err(error) => error,
    };
    let mut cause: Option<&dyn Error> = Some(&*error);
    while let Some(found) = cause {
        match found.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(number) if is_shortage(number) => {
                return Err(io::Error::from_raw_os_error(number));
            }
            _ => cause = found.source(),
        }
    }
    Ok(None)
}

fn is_shortage(number: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN].contains(&number)
}

#[cfg(test)]
mod tests;
