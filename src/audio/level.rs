//! A stream with its loud stretches turned down, for the network of `vad`, which goes by level.
//!
//! What is turned down is for the network alone; nobody transcribes it.

use std::collections::VecDeque;

use super::SAMPLE_RATE_HZ;

/// Loudness is measured in blocks of 100 ms.
const BLOCK: usize = SAMPLE_RATE_HZ as usize / 10;

/// The loudest block within reach is brought down to this root mean square, -23 dB of full scale.
/// Steady noise is then as loud throughout and passes for silence; speech, whose loudest syllables
/// are some 5 dB above its mean, passes for speech.
const CEILING: f32 = 0.0708;

/// How many blocks before and after one count for it. Less than the pause between two speakers, of
/// whom one may be far away from the microphone.
const BEFORE: usize = 10;
const AFTER: usize = 5;

/// Turns down what is pushed, [`AFTER`] blocks behind.
pub(super) struct Leveller {
    /// Pushed, but not returned.
    waiting: VecDeque<f32>,
    /// How many of them are measured.
    measured: usize,
    /// The loudness of the last blocks; the last [`AFTER`] of them are not returned yet.
    levels: VecDeque<f32>,
    /// The gain at the end of what was returned; none before the first block.
    gain: Option<f32>,
}

impl Leveller {
    pub(super) fn new() -> Self {
        let levels = VecDeque::new();
        Self { waiting: VecDeque::new(), measured: 0, levels, gain: None }
    }

    /// Hears mono samples in [-1, 1], and adds what can be judged by now to `quieter`.
    pub(super) fn push(&mut self, samples: &[f32], quieter: &mut Vec<f32>) {
        self.waiting.extend(samples);
        while self.waiting.len() - self.measured >= BLOCK {
            self.measure(BLOCK);
            // The block that this one was the last to count for.
            if self.measured > AFTER * BLOCK {
                self.turn_down(BLOCK, AFTER, quieter);
            }
        }
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self, quieter: &mut Vec<f32>) {
        if self.waiting.len() > self.measured {
            self.measure(self.waiting.len() - self.measured);
        }
        while !self.waiting.is_empty() {
            let after = self.waiting.len().div_ceil(BLOCK) - 1;
            self.turn_down(BLOCK.min(self.waiting.len()), after, quieter);
        }
    }

    fn measure(&mut self, length: usize) {
        let block = self.waiting.range(self.measured..self.measured + length);
        let power = block.map(|sample| sample * sample).sum::<f32>() / length as f32;
        self.levels.push_back(power.sqrt());
        self.measured += length;
    }

    /// Moves the first `length` waiting samples, behind whose block `after` others are measured.
    fn turn_down(&mut self, length: usize, after: usize, quieter: &mut Vec<f32>) {
        self.levels.drain(..self.levels.len().saturating_sub(BEFORE + 1 + after));
        let loudest = self.levels.iter().copied().fold(CEILING, f32::max);
        let gain = CEILING / loudest;
        let before = self.gain.replace(gain).unwrap_or(gain);
        let step = (gain - before) / length as f32;
        let samples = self.waiting.drain(..length).zip(0_u16..);
        quieter.extend(samples.map(|(sample, n)| sample * (before + step * f32::from(n))));
        self.measured -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, pushed in pieces of `piece` samples.
    fn levelled(samples: &[f32], piece: usize) -> Vec<f32> {
        let mut leveller = Leveller::new();
        let mut quieter = Vec::new();
        samples.chunks(piece).for_each(|piece| leveller.push(piece, &mut quieter));
        leveller.finish(&mut quieter);
        quieter
    }

    #[test]
    fn a_loud_sound_is_brought_down_and_a_soft_one_left_alone() {
        for (level, expected) in [(1.0, CEILING), (0.2, CEILING), (0.05, 0.05), (0.0, 0.0)] {
            let out = levelled(&vec![level; 20_000], 777);
            assert!(out.iter().all(|sample| (sample - expected).abs() < 1e-6), "{level}");
        }
    }

    #[test]
    fn every_sample_comes_out_once_however_it_is_pushed() {
        for length in [0, 1, 1_599, 1_600, 9_600, 9_601, 50_123] {
            let samples: Vec<f32> = (0..length).map(|n| (n % 1_000) as f32 / 1_000.0).collect();
            let whole = levelled(&samples, length.max(1));
            assert_eq!(whole.len(), length);
            assert_eq!(levelled(&samples, 1), whole);
            assert_eq!(levelled(&samples, 4_096), whole);
        }
    }

    #[test]
    fn who_speaks_softly_is_not_turned_down_for_long_beside_somebody_loud() {
        let (loud, soft) = (vec![0.8; 3 * BLOCK], vec![0.01; 40 * BLOCK]);
        let out = levelled(&[soft.clone(), loud, soft].concat(), 4_096);
        let turned_down = out.iter().filter(|sample| **sample < 0.009).count();
        assert!((AFTER * BLOCK..=(BEFORE + AFTER + 1) * BLOCK).contains(&turned_down));
    }
}
