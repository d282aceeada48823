//! What whisper.cpp's decoders have written in the present window, time tokens included.
//!
//! Its results leave out the time token that opens a segment, so it is looked up here.

use std::collections::HashMap;

/// The decoders' tokens at the present attempt. There are several decoders when it samples.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// By where the decoder keeps its tokens, which tells decoders apart. When it moves them, an
    /// unfinished copy stays behind, which is no harm: it says the same as far as it goes.
    by_decoder: HashMap<usize, Sequence>,
}

#[derive(Debug, Default)]
struct Sequence {
    tokens: Vec<i32>,
    /// Where the last segment ended. Segments are asked for in order.
    read: usize,
}

/// whisper.cpp's time tokens are this many hundredths of a second apart.
const TIMESTAMP_STEP: i32 = 2;

impl Sequences {
    /// Forgets everything: another attempt begins.
    pub(super) fn clear(&mut self) {
        self.by_decoder.clear();
    }

    /// Remembers all tokens of a decoder so far.
    pub(super) fn record(&mut self, decoder: usize, tokens: impl Iterator<Item = i32>) {
        let sequence = self.by_decoder.entry(decoder).or_default();
        sequence.tokens.clear();
        sequence.tokens.extend(tokens);
    }

    /// The pause between the end of the segment before and the text `ids`, in hundredths of a
    /// second: the difference of the closing and the opening time token. 0 if there are not
    /// both, or if decoders that wrote the same text disagree.
    pub(super) fn pause_before(&mut self, ids: &[i32], first_timestamp: i32) -> i32 {
        let mut pauses = self
            .by_decoder
            .values_mut()
            .filter_map(|sequence| sequence.pause_before(ids, first_timestamp))
            .collect::<Vec<i32>>();
        pauses.sort_unstable();
        pauses.dedup();
        match pauses[..] {
            [pause] => pause * TIMESTAMP_STEP,
            _ => 0,
        }
    }
}

impl Sequence {
    /// In time tokens; `None` if the text is not here.
    fn pause_before(&mut self, ids: &[i32], first_timestamp: i32) -> Option<i32> {
        let unread = self.tokens.get(self.read..).filter(|_| !ids.is_empty())?;
        let place = self.read + unread.windows(ids.len()).position(|window| window == ids)?;
        self.read = place + ids.len();
        Some(match self.tokens[..place] {
            [.., closing, opening] if closing >= first_timestamp && opening > closing => {
                opening - closing
            }
            _ => 0,
        })
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
    fn decoders_that_disagree_are_not_believed() {
        let mut sequences = sequences(&[1000, 1, 1010, 1020, 2]);
        sequences.record(3, [1000, 1, 1010, 1040, 2].into_iter());
        assert_eq!(sequences.pause_before(&[2], FIRST), 0);
        sequences.clear();
        sequences.record(3, [1000, 1, 1010, 1040, 2].into_iter());
        assert_eq!(sequences.pause_before(&[2], FIRST), 60);
    }

    #[test]
    fn what_is_not_found_has_no_pause() {
        let mut sequences = sequences(&[1, 2]);
        assert_eq!(sequences.pause_before(&[9], FIRST), 0);
        assert_eq!(sequences.pause_before(&[], FIRST), 0);
    }
}
