//! The longest pause in a stretch of sound, by its loudness.
//!
//! It does not look for speech: a chunk must end somewhere even if speech has no break.

use super::SAMPLE_RATE_HZ;

/// Loudness is compared in steps of 10 ms.
const STEP: usize = SAMPLE_RATE_HZ as usize / 100;

/// A pause is judged by 200 ms of it: longer than the closure of a stop consonant.
const PAUSE_STEPS: usize = 20;

/// What is less than this many times as strong as the quietest pause (6 dB) belongs to a pause.
const PAUSE_RATIO: f64 = 4.0;

/// Mean square below which everything is silence (-80 dB of full scale), lest the dither of
/// one pause make it louder than another.
const SILENCE: f64 = 1e-8;

/// Pauses longer than this are equally good; the later one wins.
const LONG_PAUSE_STEPS: usize = 60;

/// The sample from `earliest` to `latest` in the middle of the longest pause, or in the last
/// 600 ms of a longer one, where it leaves little silence for the next chunk.
pub(super) fn quietest(samples: &[f32], earliest: usize, latest: usize) -> usize {
    let energy: Vec<f64> = samples[earliest..latest].chunks_exact(STEP).map(mean_square).collect();
    let quiet = energy
        .windows(PAUSE_STEPS)
        .map(|window| window.iter().sum::<f64>() / PAUSE_STEPS as f64)
        .min_by(f64::total_cmp);
    let Some(quiet) = quiet else { return latest };
    let threshold = quiet.max(SILENCE) * PAUSE_RATIO;

    let mut best = (0, energy.len());
    let mut length = 0;
    for (step, energy) in energy.iter().enumerate() {
        length = if *energy <= threshold { length + 1 } else { 0 };
        // At equality the later pause, and the later part of a long one.
        let rank = length.min(LONG_PAUSE_STEPS);
        if rank > 0 && rank >= best.0 {
            best = (rank, step + 1);
        }
    }
    let (length, end) = best;
    earliest + (end * 2 - length) * STEP / 2
}

fn mean_square(samples: &[f32]) -> f64 {
    let sum: f32 = samples.iter().map(|sample| sample * sample).sum();
    f64::from(sum) / samples.len() as f64
}
