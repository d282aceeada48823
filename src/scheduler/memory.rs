//! How much of a GPU's memory is spoken for. Pure.
//!
//! A worker is started only if both the ledger, which knows what was promised, and the driver,
//! which knows what other programs took, have room for it.

use std::time::{Duration, Instant};

/// What a worker process takes besides its models: CUDA's context and cuBLAS' workspace.
pub(super) const CONTEXT_BYTES: u64 = 512 << 20;

/// What is left free for the compute buffers' growth and for the desktop.
const HEADROOM_BYTES: u64 = 256 << 20;

/// A driver's word is believed for so long.
const READING_TIME: Duration = Duration::from_secs(60);

/// What a model takes on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// The weights, shared by all slots, in bytes.
    pub weights_bytes: u64,
    /// Each slot's caches and compute buffers, in bytes.
    pub state_bytes: u64,
}

impl MemoryNeed {
    /// Bytes of a worker with `slots` slots.
    pub fn bytes(&self, slots: usize) -> u64 {
        CONTEXT_BYTES + self.weights_bytes + slots as u64 * self.state_bytes
    }

    /// The most slots, up to `most`, that fit into `room`; 0 if not even one does.
    pub fn slots_within(&self, room: u64, most: usize) -> usize {
        (1..=most).rev().find(|slots| self.bytes(*slots) <= room).unwrap_or(0)
    }
}

/// A device's memory.
#[derive(Debug)]
pub(super) struct Ledger {
    total: u64,
    free: u64,
    free_at: Instant,
}

impl Ledger {
    /// `free` of `total` bytes are free.
    pub(super) fn new(total: u64, free: u64, now: Instant) -> Self {
        Self { total, free, free_at: now }
    }

    /// Bytes that a further worker may take when `reserved` are promised to others.
    pub(super) fn room(&self, reserved: u64, now: Instant) -> u64 {
        let promised = self.total.saturating_sub(reserved);
        let room = match now.duration_since(self.free_at) < READING_TIME {
            true => promised.min(self.free),
            false => promised,
        };
        room.saturating_sub(HEADROOM_BYTES)
    }

    /// The driver's word on what is free, of which `coming` is promised to workers that have not
    /// taken it yet.
    pub(super) fn read(&mut self, free: u64, coming: u64, now: Instant) {
        (self.free, self.free_at) = (free.saturating_sub(coming), now);
    }

    /// A worker is about to take `bytes`.
    pub(super) fn take(&mut self, bytes: u64) {
        self.free = self.free.saturating_sub(bytes);
    }

    /// A worker that had `bytes` is gone.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.free = self.free.saturating_add(bytes).min(self.total);
    }

    /// What is free as far as known, in bytes.
    pub(super) fn free(&self) -> u64 {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MEDIUM: MemoryNeed = MemoryNeed { weights_bytes: 3 * GIB / 2, state_bytes: GIB / 2 };

    #[test]
    fn as_many_slots_as_fit() {
        assert_eq!(MEDIUM.bytes(1), GIB * 5 / 2);
        assert_eq!(MEDIUM.slots_within(16 * GIB, 4), 4);
        assert_eq!(MEDIUM.slots_within(3 * GIB, 4), 2);
        assert_eq!(MEDIUM.slots_within(2 * GIB, 4), 0);
    }

    #[test]
    fn the_ledger_and_the_driver_must_agree() {
        let now = Instant::now();
        let mut ledger = Ledger::new(8 * GIB, 8 * GIB, now);
        assert_eq!(ledger.room(0, now), 8 * GIB - HEADROOM_BYTES);
        assert_eq!(ledger.room(6 * GIB, now), 2 * GIB - HEADROOM_BYTES);
        // Another program took most of it.
        ledger.read(GIB, 0, now);
        assert_eq!(ledger.room(0, now), GIB - HEADROOM_BYTES);
        let later = now + READING_TIME;
        assert_eq!(ledger.room(0, later), 8 * GIB - HEADROOM_BYTES, "an old reading counts");
    }

    #[test]
    fn what_is_promised_is_not_given_twice() {
        let now = Instant::now();
        let mut ledger = Ledger::new(8 * GIB, 8 * GIB, now);
        ledger.take(3 * GIB);
        assert_eq!(ledger.free(), 5 * GIB);
        ledger.read(7 * GIB, 2 * GIB, now);
        assert_eq!(ledger.free(), 5 * GIB);
        ledger.give_back(6 * GIB);
        assert_eq!(ledger.free(), 8 * GIB);
    }
}
