//! Stereo whose channels are each other upside down, as one wire of a cable the wrong way round
//! makes it: their mean is silence. While they cancel out, one of them is taken instead.

use super::block::finite_or_zero;

/// Follows two channels and their mean.
#[derive(Default)]
pub(super) struct Cancellation {
    /// The energies of left, right and mean in the last [`MEMORY_SECONDS`].
    energies: [f64; 3],
    cancels: bool,
    /// The channel that takes the place of the mean.
    louder: usize,
    /// How much of it is used, from 0 to 1.
    share: f32,
    started: bool,
}

/// One decision, and the time in which one signal is faded to the other.
const STEP_SECONDS: f64 = 0.01;

const MEMORY_SECONDS: f64 = 0.03;

/// The channels cancel out if the mean has less than this of the energy of the weaker one (−15 dB).
/// What both have is at −6 dB or more.
const CANCELLED: f64 = 0.03;

/// And no longer if it has more than this (−10 dB).
const RESTORED: f64 = 0.1;

/// The energy of a frame that says nothing (−90 dB).
const SILENT: f64 = 1e-9;

impl Cancellation {
    /// Replaces the mean of two channels where they cancel out. All three have the same length.
    pub(super) fn mend(&mut self, [left, right]: [&[f32]; 2], mean: &mut [f32], rate_hz: u32) {
        let step = ((f64::from(rate_hz) * STEP_SECONDS) as usize).max(1);
        let channels = left.chunks(step).zip(right.chunks(step));
        for ((left, right), mean) in channels.zip(mean.chunks_mut(step)) {
            self.follow(left, right, mean, rate_hz);
            let target = if self.cancels { 1.0 } else { 0.0 };
            if !std::mem::replace(&mut self.started, true) {
                self.share = target;
            }
            if self.share == 0.0 && target == 0.0 {
                continue;
            }
            let fade = (target - self.share).clamp(-1.0, 1.0) / step as f32;
            let one = if self.louder == 0 { left } else { right };
            for (mean, one) in mean.iter_mut().zip(one) {
                self.share = (self.share + fade).clamp(0.0, 1.0);
                let one = finite_or_zero(*one).clamp(-1.0, 1.0);
                *mean += (one - *mean) * self.share;
            }
            if mean.len() == step {
                self.share = target;
            }
        }
    }

    fn follow(&mut self, left: &[f32], right: &[f32], mean: &[f32], rate_hz: u32) {
        let frames = left.len() as f64;
        let kept = (-frames / (f64::from(rate_hz) * MEMORY_SECONDS)).exp();
        for (energy, signal) in self.energies.iter_mut().zip([left, right, mean]) {
            let square = |sample: &f32| f64::from(finite_or_zero(*sample)).powi(2);
            let more: f64 = signal.iter().map(square).sum();
            *energy = *energy * kept + more;
        }
        let [left, right, mean] = self.energies;
        let weaker = left.min(right);
        if weaker < SILENT * frames {
            return;
        }
        if self.cancels {
            self.cancels = mean < weaker * RESTORED;
        } else if mean < weaker * CANCELLED {
            self.cancels = true;
            self.louder = usize::from(right > left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    fn tone(frequency_hz: f32, frames: usize) -> Vec<f32> {
        let step = std::f32::consts::TAU * frequency_hz / RATE_HZ as f32;
        (0..frames).map(|n| 0.5 * (step * n as f32).sin()).collect()
    }

    /// The mean of two channels, mended in blocks of an odd size.
    fn mended(left: &[f32], right: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let plain: Vec<f32> = left.iter().zip(right).map(|(l, r)| (l + r) * 0.5).collect();
        let mut mended = plain.clone();
        let mut cancellation = Cancellation::default();
        for start in (0..left.len()).step_by(391) {
            let range = start..left.len().min(start + 391);
            let channels = [&left[range.clone()], &right[range.clone()]];
            cancellation.mend(channels, &mut mended[range], RATE_HZ);
        }
        (plain, mended)
    }

    fn inverted(signal: &[f32]) -> Vec<f32> {
        signal.iter().map(|sample| -sample).collect()
    }

    #[test]
    fn channels_that_cancel_out_give_one_of_them() {
        let left = tone(440.0, 8_000);
        assert_eq!(mended(&left, &inverted(&left)).1, left);
    }

    #[test]
    fn other_stereo_stays_bit_by_bit() {
        let (low, high) = (tone(440.0, 8_000), tone(700.0, 8_000));
        let silence = vec![0.0; 8_000];
        let half: Vec<f32> = low.iter().map(|sample| -0.5 * sample).collect();
        for (left, right) in [(&low, &low), (&low, &high), (&low, &silence), (&low, &half)] {
            let (plain, mended) = mended(left, right);
            assert_eq!(mended, plain);
        }
    }

    #[test]
    fn a_change_makes_no_click() {
        let left = tone(100.0, 24_000);
        let mut right = left.clone();
        for sample in &mut right[8_000..16_000] {
            *sample = -*sample;
        }
        let (_, mended) = mended(&left, &right);
        // The steepest step of the tone, and what a fade adds.
        let step = 0.5 * std::f32::consts::TAU * 100.0 / RATE_HZ as f32 + 0.5 / 160.0;
        let inner = |range: std::ops::Range<usize>| {
            let alike = mended[range.clone()].iter().zip(&left[range]);
            alike.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!(inner(12_000..16_000) < 1e-6, "one channel is not taken");
        assert!(inner(20_000..24_000) < 1e-6, "the mean is not restored");
        for (at, pair) in mended.windows(2).enumerate() {
            // Where the channels themselves jump, so does what is made of them.
            let is_edge = at.abs_diff(8_000) < 2 || at.abs_diff(16_000) < 2;
            assert!(is_edge || (pair[1] - pair[0]).abs() < step, "a click at {at}");
        }
    }
}
