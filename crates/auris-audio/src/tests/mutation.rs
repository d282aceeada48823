//! Damaged files, the same ones for the same seed. The tests of the whole server use them as well.

/// One of `clips`, damaged as `seed` has it.
pub(crate) fn mutated(clips: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = clips[random.below(clips.len())].clone();
    for _ in 0..=random.below(20) {
        // Mostly near the start, where the headers are.
        let range = if random.below(2) == 0 { bytes.len().min(300) } else { bytes.len() };
        let at = random.below(range);
        bytes[at] = match random.below(3) {
            0 => 0xff,
            1 => bytes[at] ^ (1 << random.below(8)),
            _ => random.next() as u8,
        };
    }
    match random.below(6) {
        0 => bytes.truncate(random.below(bytes.len()) + 1),
        // It goes on as another file.
        1 => {
            let other = &clips[random.below(clips.len())];
            bytes.truncate(random.below(bytes.len()) + 1);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        // A part comes twice, or not at all.
        2 => {
            let (one, other) = (random.below(bytes.len()), random.below(bytes.len()));
            let tail = bytes.split_off(one);
            bytes.truncate(other.max(1));
            bytes.extend(tail);
        }
        _ => {}
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
