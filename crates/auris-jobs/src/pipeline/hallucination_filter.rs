//! Drops and reports text that a model made up. Pure.
//!
//! Whisper invents text for noise, and may repeat itself until a chunk is full. The model's own
//! figures for a segment give such text away. Real repetition stays, such as a word said several
//! times.

use auris_core::transcript::limits::{MAX_COMPRESSION_RATIO, MAX_NO_SPEECH_PROB, MIN_AVG_LOGPROB};
use auris_core::transcript::{Segment, SkipReason, Skipped};

/// This many equal segments in a row are a repetition.
const SAME_SEGMENTS: usize = 5;

/// This many repeats within a segment are a repetition if the whole text compresses well.
const REPEATS: usize = 4;

/// This many repeats, with this many characters, are a repetition in any text.
const CERTAIN_REPEATS: usize = 8;
const CERTAIN_CHARS: usize = 24;

/// A chunk's segments after the filter.
pub(super) struct Filtered {
    /// The segments that can be trusted.
    pub(super) kept: Vec<Segment>,
    /// The stretches that cannot.
    pub(super) skipped: Vec<Skipped>,
}

/// Drops the segments of a chunk that cannot be trusted. The first of a repetition stays.
pub(super) fn filter_segments(segments: Vec<Segment>) -> Filtered {
    let mut filtered = Filtered { kept: Vec::new(), skipped: Vec::new() };
    for same in segments.chunk_by(|one, next| one.text.trim() == next.text.trim()) {
        let kept = if same.len() >= SAME_SEGMENTS { 1 } else { same.len() };
        same[..kept].iter().for_each(|segment| filtered.push(segment.clone()));
        same[kept..].iter().for_each(|again| filtered.skip(again, SkipReason::Repetition));
    }
    filtered
}

impl Filtered {
    fn push(&mut self, mut segment: Segment) {
        let is_poor = segment.avg_logprob < MIN_AVG_LOGPROB;
        if is_poor && segment.no_speech_prob > MAX_NO_SPEECH_PROB {
            return self.skip(&segment, SkipReason::LowConfidence);
        }
        if let Some(length) = length_without_repetition(&segment) {
            let whole = segment.clone();
            cut(&mut segment, length);
            self.skip(&Segment { start: segment.end, ..whole }, SkipReason::Repetition);
        }
        self.kept.push(segment);
    }

    fn skip(&mut self, segment: &Segment, reason: SkipReason) {
        let Segment { start, end, channel, .. } = *segment;
        match self.skipped.last_mut() {
            Some(last) if last.reason == reason && last.end == start => last.end = end,
            _ => self.skipped.push(Skipped { start, end, reason, channel }),
        }
    }
}

/// The byte from which the text of a segment only repeats itself to its end.
fn length_without_repetition(segment: &Segment) -> Option<usize> {
    let said = segment.text.trim_end_matches(|c: char| !c.is_alphanumeric());
    let chars: Vec<(usize, char)> = said.char_indices().collect();
    // Ordinary Hindi, with three bytes for each character, comes close to the limit, so the ratio
    // does not decide alone.
    let is_compressed = segment.compression_ratio > MAX_COMPRESSION_RATIO;
    (1..=chars.len() / REPEATS).find_map(|period| {
        let (earlier, later) = (chars.iter().rev().skip(period), chars.iter().rev());
        let same = later.zip(earlier).take_while(|(later, earlier)| later.1 == earlier.1).count();
        let run = period + same;
        let certain = run >= CERTAIN_REPEATS * period && run >= CERTAIN_CHARS;
        let likely = is_compressed && run >= REPEATS * period && 2 * run >= chars.len();
        if !certain && !likely {
            return None;
        }
        // The run may begin with the end of another word.
        let next = chars.len() - run + period;
        let is_space = |place: usize| chars.get(place).is_some_and(|c| c.1.is_whitespace());
        let between_words = |place: &usize| is_space(*place) || is_space(*place - 1);
        let end = (next..next + period).find(between_words).unwrap_or(next);
        Some(chars[end].0)
    })
}

/// Keeps the first `length` bytes of a segment's text, and what belongs to them.
fn cut(segment: &mut Segment, length: usize) {
    let part = length as f64 / segment.text.len() as f64;
    let mut length = length;
    if segment.logprobs.is_empty() {
        // The text of each token is not known, but repetitions have about equal lengths.
        let tokens = (segment.tokens.len() as f64 * part).ceil() as usize;
        segment.tokens.truncate(tokens);
    } else {
        // The text of the tokens must stay the whole text.
        let mut joined = 0;
        let within = segment.logprobs.iter().take_while(|token| {
            let begins_within = joined < length;
            joined += if begins_within { token.bytes.len() } else { 0 };
            begins_within
        });
        let tokens = within.count();
        segment.logprobs.truncate(tokens);
        segment.tokens.truncate(tokens);
        length = (joined..segment.text.len())
            .find(|end| segment.text.is_char_boundary(*end))
            .unwrap_or(joined);
    }
    segment.text.truncate(length);
    let mut left = letters(&segment.text);
    segment.words.retain(|word| {
        let is_within = left > 0;
        left = left.saturating_sub(letters(&word.text));
        is_within
    });
    segment.end = match segment.words.last() {
        Some(word) => word.end,
        None => segment.start + (segment.end - segment.start) * part,
    };
}

/// How many characters of a text are not spaces.
fn letters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use auris_core::transcript::{TokenLogprob, Word};

    fn segment(text: &str) -> Segment {
        Segment {
            start: 0.0,
            end: 10.0,
            text: text.to_owned(),
            tokens: Vec::new(),
            temperature: 0.0,
            avg_logprob: -0.3,
            compression_ratio: 1.2,
            no_speech_prob: 0.1,
            words: Vec::new(),
            logprobs: Vec::new(),
            channel: None,
        }
    }

    /// The texts that are kept, and what is skipped.
    fn filtered(segments: Vec<Segment>) -> (Vec<String>, Vec<(f64, f64, SkipReason)>) {
        let Filtered { kept, skipped } = filter_segments(segments);
        let skipped = skipped.into_iter().map(|s| (s.start, s.end, s.reason)).collect();
        (kept.into_iter().map(|segment| segment.text).collect(), skipped)
    }

    #[test]
    fn doubtful_text_for_what_may_be_no_speech_is_dropped() {
        for (no_speech_prob, avg_logprob, is_dropped) in [
            (0.7, -1.2, true),
            (0.5, -1.2, false),
            (0.7, -0.9, false),
            (0.99, -0.1, false),
            (f32::NAN, -5.0, false),
            (0.9, f32::NEG_INFINITY, true),
        ] {
            let (kept, skipped) =
                filtered(vec![Segment { no_speech_prob, avg_logprob, ..segment(" Thanks.") }]);
            assert_eq!(kept.is_empty(), is_dropped, "{no_speech_prob} {avg_logprob}");
            let expected = [(0.0, 10.0, SkipReason::LowConfidence)];
            assert_eq!(skipped, expected[..usize::from(is_dropped)]);
        }
    }

    #[track_caller]
    fn check(text: &str, compression_ratio: f32, expected: &str) {
        let (kept, skipped) = filtered(vec![Segment { compression_ratio, ..segment(text) }]);
        assert_eq!(kept, [expected]);
        assert_eq!(skipped.len(), usize::from(text != expected), "{skipped:?}");
        assert!(skipped.iter().all(|skipped| skipped.2 == SkipReason::Repetition));
    }

    #[test]
    fn a_text_that_repeats_itself_is_cut_after_the_first_time() {
        check(&(" Well.".to_owned() + &" I see it.".repeat(12)), 5.0, " Well. I see it.");
        check(&"the way to ".repeat(9), 4.0, "the way to ");
        check(&(" So, no".to_owned() + &", no".repeat(5) + "."), 2.5, " So, no,");
        check(&" na".repeat(8), 1.5, " na");
        check(&("今日は".to_owned() + &"いい天気".repeat(6)), 3.0, "今日はいい天気");
        check(&"नमस्ते ".repeat(8), 3.0, "नमस्ते ");
    }

    #[test]
    fn real_speech_is_not_cut() {
        for text in [
            " No, no, no, no.",
            " It costs 1000000000 rupees.",
            " Ha ha ha ha ha ha, he said, and went on to tell us of the rest of it.",
            " hmmmmmmmmmmmm",
            "",
        ] {
            check(text, 1.2, text);
        }
        // A high ratio alone says little of Hindi.
        check(" मेरा नाम रवि है और मैं मुंबई में रहता हूँ।", 2.6, " मेरा नाम रवि है और मैं मुंबई में रहता हूँ।");
        check(
            " We said it at length, and then she said no no no no",
            2.5,
            " We said it at length, and then she said no no no no",
        );
    }

    #[test]
    fn a_repeated_segment_stays_once() {
        let said = |count: usize| {
            let segments = (0..count).map(|n| n as f64);
            filtered(
                segments
                    .map(|start| Segment { start, end: start + 1.0, ..segment(" Yes.") })
                    .collect(),
            )
        };
        assert_eq!(said(4), (vec![" Yes.".to_owned(); 4], Vec::new()));
        let expected = vec![(1.0, 6.0, SkipReason::Repetition)];
        assert_eq!(said(6), (vec![" Yes.".to_owned()], expected));
    }

    #[test]
    fn words_and_tokens_are_cut_with_their_text() {
        let mut whole = segment(&" a bee".repeat(8));
        whole.tokens = (0..16).collect();
        let word = |n: u32| Word {
            text: if n.is_multiple_of(2) { "a" } else { "bee" }.to_owned(),
            start: f64::from(n) / 2.0,
            end: f64::from(n + 1) / 2.0,
            probability: 0.9,
        };
        whole.words = (0..16).map(word).collect();
        let logprob = |n: usize| TokenLogprob {
            bytes: if n.is_multiple_of(2) { b" a".to_vec() } else { b" bee".to_vec() },
            logprob: -0.1,
        };
        for logprobs in [Vec::new(), (0..16).map(logprob).collect()] {
            let Filtered { kept, skipped } =
                filter_segments(vec![Segment { logprobs, ..whole.clone() }]);
            let [cut] = &kept[..] else { panic!("{kept:?}") };
            assert_eq!((cut.text.as_str(), &cut.tokens[..], cut.end), (" a bee", &[0, 1][..], 1.0));
            assert_eq!(cut.words, whole.words[..2]);
            let bytes: Vec<u8> =
                cut.logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
            assert!(bytes.is_empty() || bytes == cut.text.as_bytes());
            assert_eq!((skipped[0].start, skipped[0].end), (1.0, 10.0));
        }
    }
}
