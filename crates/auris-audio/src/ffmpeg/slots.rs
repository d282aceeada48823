//! How many children may live at once in the whole process: a file that only ffmpeg reads costs its
//! sender nothing, and each child a process, threads, descriptors and memory.

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use rustix::process::{Resource, getrlimit};

use auris_core::cgroup;

/// A child waits most of its time, until a chunk is transcribed and the next one is decoded.
const PER_CORE: u64 = 4;

/// What a child may take of the memory; ffmpeg 5.1 takes 50 MB.
const MEMORY_BYTES: u64 = 128 << 20;

/// Its threads, and the one that reads what it says. ffmpeg 5.1 has 5, and 7 a few more.
const THREADS: u64 = 16;

/// Its descriptors in this process.
const DESCRIPTORS: u64 = 4;

/// Children get this part of the descriptors: no more than connections leave free, which is 128 where
/// there are few.
const DESCRIPTORS_SHARE: u64 = 32;

/// What keeps one child from taking the memory of all. Real files need less than the least.
const MAX_MEMORY_BYTES: RangeInclusive<u64> = 512 << 20..=4 << 30;

/// Children get this part of another limit; the rest is for workers, connections and files.
const SHARE: u64 = 2;

/// What the machine has, or lets this process have.
#[derive(Debug, Clone, Copy)]
struct SystemResources {
    cores: u64,
    pids: u64,
    memory_bytes: u64,
    descriptors: u64,
}

impl SystemResources {
    fn here() -> Self {
        let root = Path::new("/");
        let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
        let system = rustix::system::sysinfo();
        let machine_bytes = u64::from(system.mem_unit).saturating_mul(system.totalram);
        Self {
            cores: available_parallelism().map_or(1, |cores| cores.get() as u64),
            pids: cgroup::max_pids(root).unwrap_or(u64::MAX).min(limit(Resource::Nproc)),
            memory_bytes: cgroup::max_memory_bytes(root).unwrap_or(u64::MAX).min(machine_bytes),
            descriptors: limit(Resource::Nofile),
        }
    }

    fn children(self) -> usize {
        let most = [
            self.cores.saturating_mul(PER_CORE),
            self.pids / SHARE / THREADS,
            self.memory_bytes / SHARE / MEMORY_BYTES,
            self.descriptors / DESCRIPTORS_SHARE / DESCRIPTORS,
        ];
        most.into_iter().min().and_then(|most| usize::try_from(most).ok()).unwrap_or(1).max(1)
    }

    /// The most memory of each of so many children.
    fn child_bytes(self, children: usize) -> u64 {
        let bytes = self.memory_bytes / SHARE / children as u64;
        bytes.clamp(*MAX_MEMORY_BYTES.start(), *MAX_MEMORY_BYTES.end())
    }
}

/// The children that may still be started.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<AtomicUsize>,
    total: usize,
    child_bytes: u64,
}

/// Room for one child, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Slots {
    fn new(total: usize, child_bytes: u64) -> Self {
        Self { free: Arc::new(AtomicUsize::new(total)), total, child_bytes }
    }

    /// As many as this machine has room for.
    pub(super) fn here() -> Self {
        let resources = SystemResources::here();
        let total = resources.children();
        Self::new(total, resources.child_bytes(total))
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The most memory that each child may take.
    pub(super) fn child_bytes(&self) -> u64 {
        self.child_bytes
    }

    /// # Errors
    /// `ResourceBusy` if none is free. It does not wait, since the caller's thread is one of few.
    pub(super) fn take(&self) -> io::Result<Slot> {
        let one_less = |free: usize| free.checked_sub(1);
        match self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) {
            Ok(_) => Ok(Slot(Arc::clone(&self.free))),
            Err(_) => {
                let message =
                    format!("ffmpeg already handles {} files, the most allowed", self.total);
                Err(io::Error::new(ErrorKind::ResourceBusy, message))
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: SystemResources =
        SystemResources { cores: 2, pids: u64::MAX, memory_bytes: u64::MAX, descriptors: u64::MAX };

    #[test]
    fn the_shortest_resource_limits_children() {
        assert_eq!(ALL.children(), 8);
        assert_eq!(SystemResources { cores: 64, pids: 512, ..ALL }.children(), 16);
        assert_eq!(SystemResources { cores: 64, memory_bytes: 8 << 30, ..ALL }.children(), 32);
        assert_eq!(SystemResources { cores: 64, descriptors: 1024, ..ALL }.children(), 8);
        assert_eq!(SystemResources { pids: 20, ..ALL }.children(), 1);
        assert!(SystemResources::here().children() > 0);
    }

    #[test]
    fn children_share_half_of_the_memory() {
        let check = |memory_bytes, expected| {
            assert_eq!(SystemResources { memory_bytes, ..ALL }.child_bytes(8), expected);
        };
        check(16 << 30, 1 << 30);
        check(1 << 30, 512 << 20);
        check(u64::MAX, 4 << 30);
    }

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let slots = Slots::new(1, 1 << 30);
        let slot = slots.take().unwrap();
        assert_eq!(slots.take().unwrap_err().kind(), ErrorKind::ResourceBusy);
        drop(slot);
        slots.take().unwrap();
    }
}
