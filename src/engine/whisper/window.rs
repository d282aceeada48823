//! A window as short as its audio: encoding takes as long as the window that is encoded.
//!
//! Whisper was trained on windows of 30 s. In a shorter one it mostly writes the same, but it may
//! write in circles or lose itself. So the result is looked at, and what looks poor is thrown away
//! for that of the whole window.

use std::ffi::c_int;

use crate::transcript::Segment;

/// Samples to a position of the encoder: 20 ms.
const SAMPLES_PER_POSITION: usize = 320;

/// Positions of silence behind the audio, so that the decoder hears its end.
const MARGIN: usize = 128;

/// Windows are multiples of this, which suits the matrix kernels.
const STEP: usize = 64;

/// A window is cut only to less than this part of the whole: it must be worth a second try.
const WORTH_IT: f64 = 0.8;

/// whisper.cpp's limits for a result that it tries again at a higher temperature.
const LEAST_LOGPROB: f32 = -1.0;
const MOST_COMPRESSION: f32 = 2.4;

/// How many positions to encode for `samples` samples with a model that has `all` of them.
/// `None` is all of them.
pub(super) fn positions(samples: usize, all: usize) -> Option<c_int> {
    let needed = (samples.div_ceil(SAMPLES_PER_POSITION) + MARGIN).next_multiple_of(STEP);
    let is_worth_it = (needed as f64) < all as f64 * WORTH_IT;
    is_worth_it.then(|| c_int::try_from(needed).ok()).flatten()
}

/// Whether the result of a short window can be trusted.
pub(super) fn is_good(segments: &[Segment], samples: usize) -> bool {
    let seconds = samples as f64 / 16_000.0;
    let is_good = |segment: &Segment| {
        segment.avg_logprob >= LEAST_LOGPROB
            && segment.compression_ratio <= MOST_COMPRESSION
            && segment.start <= seconds
    };
    !segments.is_empty() && segments.iter().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_covers_the_audio_and_a_margin() {
        for (seconds, expected) in [
            (1, Some(192)),
            (5, Some(384)),
            (10, Some(640)),
            (20, Some(1152)),
            (22, None),
            (30, None),
        ] {
            assert_eq!(positions(seconds * 16_000, 1500), expected, "{seconds} s");
        }
        assert_eq!(positions(16_000, 200), None);
    }

    #[test]
    fn only_a_result_that_is_probable_and_not_repetitive_is_good() {
        let good = Segment {
            start: 0.0,
            end: 1.0,
            text: " Yes.".to_owned(),
            tokens: vec![1],
            temperature: 0.0,
            avg_logprob: -0.2,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
            words: Vec::new(),
            logprobs: Vec::new(),
            channel: None,
        };
        let check = |segment: &Segment, expected: bool| {
            assert_eq!(is_good(std::slice::from_ref(segment), 32_000), expected, "{segment:?}");
            assert_eq!(is_good(&[good.clone(), segment.clone()], 32_000), expected, "{segment:?}");
        };
        check(&good, true);
        check(&Segment { avg_logprob: -1.1, ..good.clone() }, false);
        check(&Segment { avg_logprob: f32::NAN, ..good.clone() }, false);
        check(&Segment { compression_ratio: 2.5, ..good.clone() }, false);
        check(&Segment { start: 2.5, ..good.clone() }, false);
        assert!(!is_good(&[], 32_000));
    }
}
