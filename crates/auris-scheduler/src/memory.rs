//! How much of a GPU's memory is reserved. Pure.
//!
//! A worker starts only if it fits both the budget, which knows what is reserved, and the driver's
//! reading, which knows what other programs use.

use std::time::{Duration, Instant};

/// What a worker process takes besides its models: CUDA's context and cuBLAS' workspace.
pub(super) const CONTEXT_BYTES: u64 = 512 << 20;

/// Memory left free for growing compute buffers and the desktop.
const HEADROOM_BYTES: u64 = 256 << 20;

/// How long a reading of the driver is trusted.
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
    /// Bytes that a worker with `slots` slots takes.
    pub fn bytes(&self, slots: usize) -> u64 {
        CONTEXT_BYTES + self.weights_bytes + slots as u64 * self.state_bytes
    }

    /// The most slots, up to `most`, that fit into `room`; 0 if none fits.
    pub fn slots_within(&self, room: u64, most: usize) -> usize {
        (1..=most).rev().find(|slots| self.bytes(*slots) <= room).unwrap_or(0)
    }
}

#[derive(Debug)]
pub(super) struct MemoryBudget {
    total: u64,
    /// Free bytes as far as known.
    pub(super) free: u64,
    free_at: Instant,
}

impl MemoryBudget {
    pub(super) fn new(total: u64, free: u64, now: Instant) -> Self {
        Self { total, free, free_at: now }
    }

    /// Bytes available to another worker when `reserved` are reserved for others.
    pub(super) fn room(&self, reserved: u64, now: Instant) -> u64 {
        let promised = self.total.saturating_sub(reserved);
        let is_recent = now.duration_since(self.free_at) < READING_TIME;
        let room = if is_recent { promised.min(self.free) } else { promised };
        room.saturating_sub(HEADROOM_BYTES)
    }

    /// Records the driver's reading of the free memory. `coming` bytes of it are reserved for
    /// workers that have not taken them yet.
    pub(super) fn read(&mut self, free: u64, coming: u64, now: Instant) {
        (self.free, self.free_at) = (free.saturating_sub(coming), now);
    }

    /// Records that a worker is about to take `bytes`.
    pub(super) fn take(&mut self, bytes: u64) {
        self.free = self.free.saturating_sub(bytes);
    }

    /// Records that a worker with `bytes` is gone.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.free = self.free.saturating_add(bytes).min(self.total);
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
    fn budget_and_driver_must_both_have_room() {
        let now = Instant::now();
        let mut budget = MemoryBudget::new(8 * GIB, 8 * GIB, now);
        assert_eq!(budget.room(0, now), 8 * GIB - HEADROOM_BYTES);
        assert_eq!(budget.room(6 * GIB, now), 2 * GIB - HEADROOM_BYTES);
        // Another program took most of it.
        budget.read(GIB, 0, now);
        assert_eq!(budget.room(0, now), GIB - HEADROOM_BYTES);
        let later = now + READING_TIME;
        assert_eq!(budget.room(0, later), 8 * GIB - HEADROOM_BYTES, "an old reading counts");
    }

    #[test]
    fn reserved_memory_is_not_given_twice() {
        let now = Instant::now();
        let mut budget = MemoryBudget::new(8 * GIB, 8 * GIB, now);
        budget.take(3 * GIB);
        assert_eq!(budget.free, 5 * GIB);
        budget.read(7 * GIB, 2 * GIB, now);
        assert_eq!(budget.free, 5 * GIB);
        budget.give_back(6 * GIB);
        assert_eq!(budget.free, 8 * GIB);
    }
}
