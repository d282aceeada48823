//! Subtitle cues: the segments of a transcript as pieces that can be shown and read.
//!
//! Shared by SubRip, WebVTT and lyrics. Knows none of their syntax: escaping is theirs.

mod cut;
mod plain;
mod rules;
mod timing;
mod wrap;

pub use rules::{CueRuleError, CueRules};

use super::timestamp::milliseconds;
use auris_core::recording::Channel;
use auris_core::transcript::Transcript;

/// One piece of text on screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cue {
    /// When it appears, in milliseconds.
    pub(super) start_ms: u64,
    /// When it goes, in milliseconds: later than its start, and before the next cue appears.
    pub(super) end_ms: u64,
    /// Its lines, none blank: without mark-up, control characters or spaces at the ends.
    pub(super) text: String,
    /// The channel in which it is said, where each was transcribed on its own.
    pub(super) channel: Option<Channel>,
}

/// The cues of `transcript` in order of time, none empty, none longer than seven seconds, and none
/// over the next one of its channel: who speaks beside another does not cut the other short.
pub(super) fn cues(transcript: &Transcript, rules: CueRules) -> Vec<Cue> {
    let split = transcript.parts.split.iter().copied().map(Some);
    // Without channels, nothing is of one.
    let mut cues: Vec<Cue> = [None]
        .into_iter()
        .chain(split)
        .flat_map(|own| of_channel(own, transcript, rules))
        .collect();
    cues.sort_by_key(|cue| cue.start_ms);
    cues
}

/// The same with the channel's name in the text, for formats that have no place of their own for it.
pub(super) fn labelled_cues(transcript: &Transcript, rules: CueRules) -> Vec<Cue> {
    let split = &transcript.parts.split;
    let longest = split.iter().map(|channel| label(*channel).len()).max().unwrap_or(0);
    // So that no line is longer than it may be.
    let line_chars = rules.line_chars.saturating_sub(longest).max(LEAST_LINE_CHARS);
    let rules = if longest > 0 { CueRules { line_chars, ..rules } } else { rules };
    let mut cues = cues(transcript, rules);
    for cue in &mut cues {
        if let Some(channel) = cue.channel {
            cue.text.insert_str(0, &label(channel));
        }
    }
    cues
}

/// The shortest line that is worth anything beside a label.
const LEAST_LINE_CHARS: usize = 10;

fn label(channel: Channel) -> String {
    format!("{channel}: ")
}

fn of_channel(channel: Option<Channel>, transcript: &Transcript, rules: CueRules) -> Vec<Cue> {
    let mut cues = Vec::new();
    for segment in transcript.segments.iter().filter(|segment| segment.channel == channel) {
        cut::push_cues(segment, rules, &mut cues);
    }
    timing::put_in_order(&mut cues);
    if let Some(rate) = rules.chars_per_second {
        timing::give_time_to_read(&mut cues, rate, milliseconds(transcript.duration));
    }
    for cue in &mut cues {
        cue.text = wrap::wrap(&cue.text, rules.line_chars).join("\n");
        cue.channel = channel;
    }
    cues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{segment, transcript};
    use auris_core::transcript::{Segment, Word};

    fn check(segments: Vec<Segment>, expected: &[(u64, u64, &str)]) {
        let cues = cues(&transcript(segments), CueRules::default());
        let found: Vec<_> =
            cues.iter().map(|cue| (cue.start_ms, cue.end_ms, cue.text.as_str())).collect();
        assert_eq!(found, expected);
    }

    /// A segment whose words are spoken one each second.
    fn spoken(text: &str) -> Segment {
        let words: Vec<Word> = text
            .split_whitespace()
            .zip(0u8..)
            .map(|(word, second)| Word {
                text: word.to_owned(),
                start: f64::from(second),
                end: f64::from(second) + 0.75,
                probability: 0.9,
            })
            .collect();
        Segment { words, ..segment(0.0, text.split_whitespace().count() as f64, text) }
    }

    #[test]
    fn a_long_segment_is_cut_at_a_clause_near_its_middle() {
        check(
            vec![spoken(" It was late, so we closed every window and went home.")],
            &[
                (0, 2750, "It was late,"),
                (3000, 6750, "so we closed every"),
                (7000, 10_750, "window and went home."),
            ],
        );
    }

    #[test]
    fn a_long_text_is_cut_even_when_it_is_spoken_fast() {
        let text = "Sentences of more than eighty four characters do not fit into two lines, so \
                    they are cut into several cues.";
        let mut fast = spoken(text);
        for word in &mut fast.words {
            word.start /= 4.0;
            word.end /= 4.0;
        }
        fast.end = 4.0;
        check(
            vec![fast],
            &[
                (
                    0,
                    3188,
                    "Sentences of more than eighty four\ncharacters do not fit into two lines,",
                ),
                (3250, 4938, "so they are cut into several cues."),
            ],
        );
    }

    #[test]
    fn without_words_a_long_segment_shares_its_time() {
        let text = "No times are known of these words";
        check(
            vec![segment(1.0, 12.0, text)],
            &[(1000, 5333, "No times are"), (5333, 12_000, "known of these words")],
        );
    }

    #[test]
    fn a_long_word_is_shown_for_seven_seconds() {
        check(vec![segment(1.0, 12.0, "Oh!")], &[(1000, 8000, "Oh!")]);
    }

    #[test]
    fn cutting_keeps_every_character() {
        let mut odd = spoken("— one two three four five six seven eight nine ten —");
        odd.words.remove(0);
        odd.words[3].text = "something else".to_owned();
        odd.words[5].text = String::new();
        let text: Vec<String> = cues(&transcript(vec![odd]), CueRules::default())
            .into_iter()
            .map(|cue| cue.text)
            .collect();
        assert_eq!(text.join(" "), "— one two three four five six seven eight nine ten —");
        assert!(text.len() > 1);
    }

    #[test]
    fn scripts_without_spaces_are_cut_between_words() {
        let words = ["今日は", "とても", "寒い", "です。", "窓を", "閉めて", "ください。"];
        let mut segment = spoken(&words.join(" "));
        segment.text = words.concat();
        for (word, second) in segment.words.iter_mut().zip(0u8..) {
            word.start = f64::from(second) * 2.0;
            word.end = word.start + 2.0;
        }
        segment.end = 14.0;
        check(
            vec![segment],
            &[
                (0, 4000, "今日はとても"),
                (4000, 8000, "寒いです。"),
                (8000, 14_000, "窓を閉めてください。"),
            ],
        );
    }

    #[test]
    fn a_segment_that_shows_nothing_has_no_cue() {
        check(
            vec![
                segment(0.0, 1.0, " \u{7}\r\n "),
                segment(1.0, 2.0, "<i>Hello</i>"),
                segment(2.0, 3.0, "</b>"),
                segment(3.0, 4.0, "\u{200b}"),
            ],
            &[(1000, 2000, "Hello")],
        );
    }

    #[test]
    fn impossible_times_become_possible_ones() {
        check(
            vec![segment(2.0, 1.5, "one"), segment(f64::NAN, f64::INFINITY, "two")],
            &[(2000, 2001, "one"), (2001, 9001, "two")],
        );
    }

    #[test]
    fn a_text_in_chinese_shares_the_time_of_its_one_word() {
        let text = "字".repeat(60);
        let line = "字".repeat(15);
        let lines = format!("{line}\n{line}");
        let word = Word { text: text.clone(), start: 0.0, end: 5.0, probability: 0.9 };
        let one_word = Segment { words: vec![word], ..segment(0.0, 5.0, &text) };
        for segment in [segment(0.0, 5.0, &text), one_word] {
            check(vec![segment], &[(0, 2500, &lines), (2500, 5000, &lines)]);
        }
    }

    #[test]
    fn rules_are_applied() {
        let text = "One sentence of ninety characters shows what each of the rules does to it, one \
                    by one.";
        let found = |rules| {
            let transcript = transcript(vec![segment(0.0, 3.0, text)]);
            let cues = cues(&transcript, rules).into_iter();
            cues.map(|cue| format!("{} {}", cue.end_ms, cue.text)).collect::<Vec<_>>().join("\n\n")
        };
        insta::assert_snapshot!(found(CueRules::new(Some(20), None, None).unwrap()), @"
        802 One sentence
        of ninety

        1848 characters shows
        what each of

        3000 the rules does to
        it, one by one.
        ");
        insta::assert_snapshot!(found(CueRules::new(Some(20), Some(5), None).unwrap()), @"
        3000 One sentence of
        ninety characters
        shows what each of
        the rules does to
        it, one by one.
        ");
        insta::assert_snapshot!(found(CueRules::new(Some(100), Some(1), Some(15.0)).unwrap()), @"5734 One sentence of ninety characters shows what each of the rules does to it, one by one.");
    }
}
