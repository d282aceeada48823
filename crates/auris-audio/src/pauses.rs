//! The longest pause in a stretch of sound, and where sound begins, by loudness.
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

/// How many steps before detected speech its onset is looked for: no more than stays beside it.
const ONSET_STEPS: usize = 40;

/// The longest closure of a consonant behind the vowel that was missed.
const CLOSURE_STEPS: usize = 10;

/// Where speech begins that was detected at `start`. Behind long silence, detection misses a first
/// vowel: something about as loud as what follows (12 dB), with silence before it (20 dB), which in
/// noise there is not.
pub(super) fn onset(samples: &[f32], start: usize) -> usize {
    let (before, detected) = samples.split_at(start);
    let loudest = detected.chunks_exact(STEP).take(50).map(mean_square).fold(0.0, f64::max);
    if loudest <= SILENCE {
        return start;
    }
    let energy: Vec<f64> =
        before.rchunks_exact(STEP).take(ONSET_STEPS + PAUSE_STEPS).map(mean_square).collect();
    let mut onset = 0;
    for (step, energy) in energy.iter().take(ONSET_STEPS).enumerate() {
        if *energy >= loudest / 16.0 {
            onset = step + 1;
        } else if step - onset > CLOSURE_STEPS {
            break;
        }
    }
    let silence = &energy[onset..energy.len().min(onset + PAUSE_STEPS / 2)];
    // A step of it may be the beginning of the sound.
    let is_silent = silence.iter().skip(1).all(|energy| *energy < loudest / 100.0);
    if is_silent { start - onset * STEP } else { start }
}

fn mean_square(samples: &[f32]) -> f64 {
    let sum: f32 = samples.iter().map(|sample| sample * sample).sum();
    f64::from(sum) / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sound of these levels, 10 ms each.
    fn sound(levels: &[(usize, f32)]) -> Vec<f32> {
        let samples = levels.iter().flat_map(|(steps, level)| vec![*level; steps * STEP]);
        samples.collect()
    }

    #[track_caller]
    fn check(levels: &[(usize, f32)], detected: usize, expected: usize) {
        let found = onset(&sound(levels), detected * STEP);
        assert_eq!(found, expected * STEP, "{levels:?}");
    }

    #[test]
    fn a_missed_vowel_is_found_by_the_silence_before_it() {
        check(&[(100, 0.0), (20, 0.2), (6, 0.001), (50, 0.2)], 126, 100);
        check(&[(100, 0.0), (50, 0.2)], 100, 100);
        check(&[(100, 0.0), (50, 0.2)], 110, 100);
        check(&[(5, 0.0), (50, 0.2)], 10, 5);
        check(&[(50, 0.2)], 10, 0);
        // An earlier word, noise, and what is not as loud.
        check(&[(100, 0.2), (15, 0.0), (50, 0.2)], 115, 115);
        check(&[(100, 0.1), (50, 0.2)], 100, 100);
        check(&[(100, 0.0), (20, 0.01), (50, 0.2)], 120, 120);
    }
}
