//! Remembers chunks that crashed workers, by a hash of what the engine sees. Pure.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::ChunkRequest;

/// How many chunks are remembered; the oldest is forgotten first.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Remembered {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Remembered {
    /// Whether the same samples with the same work are remembered.
    pub(super) fn holds(&self, request: &ChunkRequest) -> bool {
        !self.known.is_empty() && self.known.contains(&fingerprint(request))
    }

    pub(super) fn add(&mut self, request: &ChunkRequest) {
        let fingerprint = fingerprint(request);
        if self.known.insert(fingerprint) {
            self.order.push_back(fingerprint);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// A hash of everything that the engine sees.
fn fingerprint(request: &ChunkRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.model.hash(&mut hasher);
    format!("{:?}", request.work).hash(&mut hasher);
    // A standard hasher takes milliseconds for 30 s of audio, on every submission.
    let mix = |sum: u64, sample: &f32| {
        (sum.rotate_left(5) ^ u64::from(sample.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    hasher.write_u64(request.samples.iter().fold(0, mix));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use auris_core::ipc::Work;

    fn request(samples: &[f32]) -> ChunkRequest {
        let (model, samples) = ("tiny".to_owned(), samples.into());
        ChunkRequest { model, work: Work::Detect, samples, stands_in: None }
    }

    #[test]
    fn the_same_chunk_is_known_and_another_is_not() {
        let mut quarantine = Remembered::default();
        quarantine.add(&request(&[0.1, 0.2]));
        assert!(quarantine.holds(&request(&[0.1, 0.2])));
        assert!(!quarantine.holds(&request(&[0.2, 0.1])));
        let other_model = ChunkRequest { model: "medium".to_owned(), ..request(&[0.1, 0.2]) };
        assert!(!quarantine.holds(&other_model));
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut quarantine = Remembered::default();
        for n in 0..=MOST {
            quarantine.add(&request(&[n as f32]));
        }
        assert_eq!(quarantine.len(), MOST);
        assert!(!quarantine.holds(&request(&[0.0])) && quarantine.holds(&request(&[1.0])));
    }
}
