//! What whisper.cpp's decoders have written in the present window, time tokens included.
//!
//! Its results leave out the time token that opens a segment, so it is looked up here.

use std::collections::HashMap;

/// The decoders' tokens. There are several decoders when a window is sampled.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// By where the decoder keeps its tokens, which is good enough to tell decoders apart.
    by_decoder: HashMap<usize, Vec<i32>>,
    /// Where the last segment ended. Segments are asked for in order.
    read: usize,
}

/// whisper.cpp's time tokens are this many hundredths of a second apart.
const TIMESTAMP_STEP: i32 = 2;

impl Sequences {
    /// Remembers all tokens of a decoder so far.
    pub(super) fn record(&mut self, decoder: usize, tokens: impl Iterator<Item = i32>) {
        let sequence = self.by_decoder.entry(decoder).or_default();
        sequence.clear();
        sequence.extend(tokens);
    }

    /// The pause between the end of the segment before and the text `ids`, in hundredths of a
    /// second: the difference of the closing and the opening time token. 0 if there are not both.
    pub(super) fn pause_before(&mut self, ids: &[i32], first_timestamp: i32) -> i32 {
        if ids.is_empty() {
            return 0;
        }
        let found = self.by_decoder.values().find_map(|sequence| {
            let unread = sequence.get(self.read..)?;
            let place = unread.windows(ids.len()).position(|window| window == ids)?;
            Some((sequence, self.read + place))
        });
        let Some((sequence, place)) = found else { return 0 };
        let pause = match sequence[..place] {
            [.., closing, opening] if closing >= first_timestamp && opening > closing => {
                opening - closing
            }
            _ => 0,
        };
        self.read = place + ids.len();
        pause * TIMESTAMP_STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: i32 = 1000;

    fn sequences(tokens: &[i32]) -> Sequences {
        let mut sequences = Sequences::default();
        sequences.record(1, [7, 7, 7].into_iter());
        sequences.record(2, tokens.iter().copied());
        sequences
    }

    #[test]
    fn the_pause_is_between_the_closing_and_the_opening_token() {
        let mut sequences = sequences(&[1010, 1, 2, 1050, 1075, 3, 4, 1100]);
        assert_eq!(sequences.pause_before(&[1, 2], FIRST), 0);
        assert_eq!(sequences.pause_before(&[3, 4], FIRST), 50);
    }

    #[test]
    fn a_repeated_text_is_looked_up_where_reading_stopped() {
        let mut sequences = sequences(&[1000, 1, 1010, 1020, 1, 1030, 1060, 1]);
        let pauses: Vec<i32> = (0..3).map(|_| sequences.pause_before(&[1], FIRST)).collect();
        assert_eq!(pauses, [0, 20, 60]);
    }

    #[test]
    fn what_is_not_found_has_no_pause() {
        let mut sequences = sequences(&[1, 2]);
        assert_eq!(sequences.pause_before(&[9], FIRST), 0);
        assert_eq!(sequences.pause_before(&[], FIRST), 0);
    }
}
