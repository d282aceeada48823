//! Cuts a window's tokens into segments of text at the time tokens.

use std::io::Write as _;

use flate2::write::ZlibEncoder;

use super::decode::{Decoded, Token};
use super::rules::SECONDS_PER_TIMESTAMP;

/// A span of a window's tokens, with times in seconds from the window's start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub(super) start: f64,
    pub(super) end: f64,
    /// Text tokens only.
    pub(super) tokens: Vec<Token>,
}

/// The segments of a window, and where decoding stopped before its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WindowSegments {
    pub(super) stretches: Vec<Stretch>,
    /// What comes after this time, in seconds, has not been decoded.
    pub(super) unfinished_from: Option<f64>,
    /// The window was full before its only segment was closed, so the segment's end is unknown.
    pub(super) is_truncated: bool,
}

/// Cuts the tokens of a window of `seconds`.
pub(super) fn cut(
    decoded: &Decoded,
    first_timestamp: i32,
    max_tokens: usize,
    seconds: f64,
) -> WindowSegments {
    let time = |token: &Token| {
        let steps = token.id - first_timestamp;
        (steps >= 0).then(|| (f64::from(steps) * SECONDS_PER_TIMESTAMP).min(seconds))
    };
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut open = Stretch { start: 0.0, end: seconds, tokens: Vec::new() };
    for token in &decoded.tokens {
        match time(token) {
            None => open.tokens.push(*token),
            Some(start) if open.tokens.is_empty() => open.start = start,
            Some(end) => {
                let closed = Stretch { end: end.max(open.start), ..open };
                open = Stretch { start: closed.end, end: seconds, tokens: Vec::new() };
                stretches.push(closed);
            }
        }
    }
    let is_full = decoded.tokens.len() >= max_tokens;
    if !open.tokens.is_empty() && (!is_full || stretches.is_empty()) {
        open.start = open.start.min(seconds);
        stretches.push(open);
        return WindowSegments { stretches, unfinished_from: None, is_truncated: is_full };
    }
    // Two time tokens at the end announce another segment, which the decoder did not write.
    let announces = match &decoded.tokens[..] {
        [.., closing, opening] => time(closing).is_some() && time(opening).is_some(),
        _ => false,
    };
    let end = stretches.last().map(|last| last.end);
    let unfinished_from = end.filter(|end| (announces || is_full) && *end < seconds);
    WindowSegments { stretches, unfinished_from, is_truncated: false }
}

/// A text's size over its size when compressed, as in openai/whisper's `utils.py`.
pub(super) fn compression_ratio(text: &[u8]) -> f32 {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    match encoder.write_all(text).and_then(|()| encoder.finish()) {
        Ok(compressed) => text.len() as f32 / compressed.len().max(1) as f32,
        Err(_) => 0.0, // writing to memory does not fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i32 = 100;

    /// Start, end and tokens.
    type Times = (f64, f64, Vec<i32>);

    fn decoded() -> Decoded {
        Decoded {
            tokens: Vec::new(),
            temperature: 0.0,
            avg_logprob: -0.1,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
            is_repeating: false,
        }
    }

    fn cut_of(ids: &[i32], max_tokens: usize, seconds: f64) -> (Vec<Times>, Option<f64>) {
        let tokens = ids.iter().map(|id| Token { id: *id, logprob: -0.1 }).collect();
        let decoded = Decoded { tokens, ..decoded() };
        let WindowSegments { stretches, unfinished_from, .. } =
            cut(&decoded, TIME, max_tokens, seconds);
        let ids = |s: &Stretch| s.tokens.iter().map(|token| token.id).collect();
        (stretches.iter().map(|s| (s.start, s.end, ids(s))).collect(), unfinished_from)
    }

    #[test]
    fn segments_lie_between_their_time_tokens() {
        let (stretches, rest) =
            cut_of(&[TIME, 1, 2, TIME + 50, TIME + 75, 3, TIME + 100], 224, 2.5);
        assert_eq!(stretches, [(0.0, 1.0, vec![1, 2]), (1.5, 2.0, vec![3])]);
        assert_eq!(rest, None);
    }

    #[test]
    fn two_times_at_the_end_leave_the_rest_unfinished() {
        let ids = [TIME, 1, TIME + 50, TIME + 50];
        assert_eq!(cut_of(&ids, 224, 9.0), (vec![(0.0, 1.0, vec![1])], Some(1.0)));
        assert_eq!(cut_of(&ids, 224, 1.0).1, None);
    }

    #[test]
    fn a_text_that_is_not_closed_ends_with_the_window() {
        assert_eq!(cut_of(&[TIME + 10, 1, 2], 224, 3.0), (vec![(0.2, 3.0, vec![1, 2])], None));
        assert_eq!(cut_of(&[1], 224, 3.0), (vec![(0.0, 3.0, vec![1])], None));
        assert_eq!(cut_of(&[TIME], 224, 3.0), (vec![], None));
    }

    #[test]
    fn what_did_not_fit_is_decoded_again_from_the_last_whole_segment() {
        let ids = [TIME, 1, TIME + 50, TIME + 50, 2, 3];
        assert_eq!(cut_of(&ids, 6, 9.0), (vec![(0.0, 1.0, vec![1])], Some(1.0)));
        // Without a complete segment, use what there is.
        assert_eq!(cut_of(&[TIME, 1, 2, 3], 4, 9.0), (vec![(0.0, 9.0, vec![1, 2, 3])], None));
    }

    #[test]
    fn a_window_that_is_full_before_a_segment_ends_is_truncated() {
        let is_truncated = |ids: &[i32], max_tokens| {
            let tokens = ids.iter().map(|id| Token { id: *id, logprob: -0.1 }).collect();
            let decoded = Decoded { tokens, ..decoded() };
            cut(&decoded, TIME, max_tokens, 9.0).is_truncated
        };
        assert!(is_truncated(&[TIME, 1, 2, 3], 4));
        assert!(!is_truncated(&[TIME, 1, 2, 3], 5));
        assert!(!is_truncated(&[TIME, 1, TIME + 50, TIME + 50, 2], 5), "cut after the first");
    }

    #[test]
    fn times_beyond_the_audio_are_its_end() {
        assert_eq!(cut_of(&[TIME, 1, TIME + 500], 224, 3.0).0, [(0.0, 3.0, vec![1])]);
    }
}
