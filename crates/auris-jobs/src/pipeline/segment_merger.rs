//! Puts the segments of chunks in order of time. Pure.
//!
//! Chunks arrive in order of their start, and nothing in a chunk is earlier than its start. So if
//! channels are transcribed side by side, everything before the start of the newest chunk is final
//! and can be sent before the rest is done. A stream and a whole response get the same order.

use std::collections::VecDeque;

use super::ChunkResult;
use auris_core::transcript::{Run, Segment};

/// Puts segments in order.
#[derive(Debug, Default)]
pub struct SegmentMerger {
    /// In order: segments that those of later chunks may still precede.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// When it begins, but not earlier than the segments before it in its chunk.
    at: f64,
    segment: Segment,
    run: Run,
}

impl SegmentMerger {
    /// Adds the next chunk, and returns the segments that are final by now, each with where it was
    /// transcribed.
    pub fn push(&mut self, chunk: &ChunkResult) -> impl Iterator<Item = (Segment, Run)> + use<'_> {
        // Nothing in later chunks begins before this chunk does. Without channels, later chunks
        // even begin after its end.
        let run = &chunk.run;
        let settled = if run.channel.is_some() { run.start } else { f64::INFINITY };
        let mut at = f64::NEG_INFINITY;
        for segment in &chunk.segments {
            at = segment.start.max(at);
            let place = self.waiting.partition_point(|earlier| earlier.at <= at);
            self.waiting.insert(place, Waiting { at, segment: segment.clone(), run: run.clone() });
        }
        let count = self.waiting.partition_point(|waiting| waiting.at < settled);
        self.waiting.drain(..count).map(Waiting::into_segment)
    }

    /// Returns what is left after the last chunk.
    pub fn end(self) -> impl Iterator<Item = (Segment, Run)> {
        self.waiting.into_iter().map(Waiting::into_segment)
    }

    /// All segments of `chunks`, which are in order.
    pub fn of<'a>(
        chunks: impl IntoIterator<Item = &'a ChunkResult>,
    ) -> impl Iterator<Item = (Segment, Run)> {
        let mut merger = Self::default();
        let mut merged = Vec::new();
        for chunk in chunks {
            merged.extend(merger.push(chunk));
        }
        merged.extend(merger.end());
        merged.into_iter()
    }
}

impl Waiting {
    fn into_segment(self) -> (Segment, Run) {
        (self.segment, self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::chunk_result::testing::{channel_chunk, chunk, segment};
    use auris_core::recording::Channel;

    /// A chunk of a channel that begins at a second of the file, with texts at seconds of its own.
    fn said((index, channel, start): (usize, Channel, u64), texts: &[(f64, &str)]) -> ChunkResult {
        let segments = texts.iter().map(|(at, text)| segment(*at, at + 1.0, text)).collect();
        channel_chunk(Some(channel), index, start, segments)
    }

    fn call() -> [ChunkResult; 4] {
        let (left, right) = (Channel::Left, Channel::Right);
        [
            said((0, left, 0), &[(0.5, " a"), (9.0, " e"), (19.0, " g")]),
            said((1, right, 2), &[(0.5, " b"), (1.0, " c"), (5.0, " d"), (17.5, " h")]),
            said((2, right, 12), &[(0.0, " f")]),
            said((3, left, 20), &[(0.0, " i")]),
        ]
    }

    fn texts(merged: impl Iterator<Item = (Segment, Run)>) -> String {
        merged
            .map(|(segment, run)| {
                assert_eq!(segment.channel, run.channel);
                segment.text
            })
            .collect()
    }

    #[test]
    fn segments_of_channels_are_put_in_order_of_time() {
        assert_eq!(texts(SegmentMerger::of(&call())), " a b c d e f g h i");
    }

    #[test]
    fn final_segments_are_returned_early() {
        let mut segment_merger = SegmentMerger::default();
        let early = call().map(|chunk| texts(segment_merger.push(&chunk)));
        assert_eq!(early, ["", " a", " b c d e", " f g h"]);
        assert_eq!(texts(segment_merger.end()), " i");
    }

    #[test]
    fn a_chunk_keeps_its_own_order_and_the_first_channel_goes_first() {
        let chunks = [
            said((0, Channel::Left, 0), &[(3.0, " a"), (1.0, " b")]),
            said((1, Channel::Right, 0), &[(2.0, " c"), (3.0, " d")]),
        ];
        assert_eq!(texts(SegmentMerger::of(&chunks)), " c a b d");
    }

    #[test]
    fn without_channels_chunks_are_returned_at_once() {
        let mut segment_merger = SegmentMerger::default();
        let chunk = chunk(0, 0, vec![segment(3.0, 4.0, " a"), segment(1.0, 2.0, " b")]);
        let text: String = segment_merger.push(&chunk).map(|(segment, _)| segment.text).collect();
        assert_eq!(text, " a b");
        assert_eq!(segment_merger.end().count(), 0);
    }
}
