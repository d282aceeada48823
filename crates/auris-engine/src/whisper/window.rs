//! Chooses a window as short as its audio: encoding time grows with the length of the window.
//!
//! Whisper was trained on windows of 30 s. In a shorter window it mostly writes the same, but it
//! may repeat itself or lose track. So the result is checked, and if it looks poor, it is replaced
//! by that of the whole window.

/// Samples per encoder position: 20 ms.
pub(super) const SAMPLES_PER_POSITION: usize = 320;

/// Positions of silence after the audio, so that the decoder sees its end.
const MARGIN: usize = 128;

/// Windows are multiples of this, which suits the matrix kernels.
const STEP: usize = 64;

/// A window is shortened only to less than this share of the whole: it must be worth a second try.
const WORTH_IT: f64 = 0.8;

/// The number of positions to encode for `samples` samples with a model that has `all` positions.
pub(super) fn positions(samples: usize, all: usize) -> usize {
    let needed = (samples.div_ceil(SAMPLES_PER_POSITION) + MARGIN).next_multiple_of(STEP);
    if (needed as f64) < all as f64 * WORTH_IT { needed } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_covers_the_audio_and_a_margin() {
        for (seconds, expected) in
            [(1, 192), (5, 384), (10, 640), (20, 1_152), (22, 1_500), (30, 1_500)]
        {
            assert_eq!(positions(seconds * 16_000, 1_500), expected, "{seconds} s");
        }
        assert_eq!(positions(16_000, 200), 200);
    }
}
