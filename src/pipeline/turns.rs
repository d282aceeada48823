//! Who spoke when: the segments of chunks in order of time. Pure.
//!
//! Chunks come in the order in which they begin, and nothing in a chunk is earlier than its begin. So
//! where channels are heard side by side, what is earlier than the newest chunk is settled, and can
//! be told before the rest is there; whoever tells it bit by bit tells the same as who waits for the
//! whole.

use std::collections::VecDeque;

use super::ChunkResult;
use crate::transcript::{Run, Segment};

/// Puts segments in order.
#[derive(Debug, Default)]
pub struct Turns {
    /// In order: what later chunks may still go before.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// When it begins, but not before what its chunk tells before it.
    at: f64,
    segment: Segment,
    run: Run,
}

impl Turns {
    /// Takes the chunk behind the ones before it, and gives what is settled by now, each segment with
    /// where it was transcribed.
    pub fn hear(&mut self, chunk: &ChunkResult) -> impl Iterator<Item = (Segment, Run)> + use<'_> {
        // Nothing begins before a chunk's begin in the chunks behind it. Where there are no channels,
        // they even begin behind its end.
        let settled = match chunk.channel {
            Some(_) => chunk.start_seconds(),
            None => f64::INFINITY,
        };
        let run = chunk.run();
        let mut at = f64::NEG_INFINITY;
        for segment in chunk.segments() {
            at = segment.start.max(at);
            let place = self.waiting.partition_point(|earlier| earlier.at <= at);
            self.waiting.insert(place, Waiting { at, segment, run: run.clone() });
        }
        let count = self.waiting.partition_point(|waiting| waiting.at < settled);
        self.waiting.drain(..count).map(Waiting::told)
    }

    /// Gives what is left when there is no further chunk.
    pub fn end(self) -> impl Iterator<Item = (Segment, Run)> {
        self.waiting.into_iter().map(Waiting::told)
    }

    /// All that `chunks`, which come in their order, tell.
    pub fn of<'a>(
        chunks: impl IntoIterator<Item = &'a ChunkResult>,
    ) -> impl Iterator<Item = (Segment, Run)> {
        let mut turns = Self::default();
        let mut told = Vec::new();
        for chunk in chunks {
            told.extend(turns.hear(chunk));
        }
        told.extend(turns.end());
        told.into_iter()
    }
}

impl Waiting {
    fn told(self) -> (Segment, Run) {
        (self.segment, self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::merge::tests::{chunk, segment};
    use crate::recording::Channel;

    /// A chunk of a channel that begins at a second of the file, with texts at seconds of its own.
    fn said((index, channel, start): (usize, Channel, u64), texts: &[(f64, &str)]) -> ChunkResult {
        let segments = texts.iter().map(|(at, text)| segment(*at, at + 1.0, text)).collect();
        let chunk = std::sync::Arc::unwrap_or_clone(chunk(index, start, segments));
        ChunkResult { channel: Some(channel), ..chunk }
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

    fn texts(told: impl Iterator<Item = (Segment, Run)>) -> String {
        told.map(|(segment, run)| {
            assert_eq!(segment.channel, run.channel);
            segment.text
        })
        .collect()
    }

    #[test]
    fn what_channels_say_is_put_in_order_of_time() {
        assert_eq!(texts(Turns::of(&call())), " a b c d e f g h i");
    }

    #[test]
    fn what_is_settled_is_told_before_the_rest_is_there() {
        let mut turns = Turns::default();
        let told = call().map(|chunk| texts(turns.hear(&chunk)));
        assert_eq!(told, ["", " a", " b c d e", " f g h"]);
        assert_eq!(texts(turns.end()), " i");
    }

    #[test]
    fn a_chunk_keeps_its_own_order_and_the_first_channel_goes_first() {
        let chunks = [
            said((0, Channel::Left, 0), &[(3.0, " a"), (1.0, " b")]),
            said((1, Channel::Right, 0), &[(2.0, " c"), (3.0, " d")]),
        ];
        assert_eq!(texts(Turns::of(&chunks)), " c a b d");
    }

    #[test]
    fn without_channels_every_chunk_is_told_at_once() {
        let mut turns = Turns::default();
        let chunk = chunk(0, 0, vec![segment(3.0, 4.0, " a"), segment(1.0, 2.0, " b")]);
        let told: String = turns.hear(&chunk).map(|(segment, _)| segment.text).collect();
        assert_eq!(told, " a b");
        assert_eq!(turns.end().count(), 0);
    }
}
