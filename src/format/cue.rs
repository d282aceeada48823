//! Subtitle cues: the segments of a transcript as pieces that can be shown and read.
//!
//! Shared by SubRip and WebVTT. Knows nothing of either's syntax: escaping is theirs.

use super::timestamp::milliseconds;
use crate::transcript::{Segment, Transcript, Word};

/// The longest that a cue stays on screen, as broadcasters' guidelines have it.
const LONGEST_MS: u64 = 7000;
/// The length of a line in characters that those guidelines call readable.
const LINE_CHARS: usize = 42;
/// At most two lines are shown.
const CUE_CHARS: usize = 2 * LINE_CHARS;

/// How subtitles are laid out.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CueRules {
    /// The most characters of a line.
    pub line_chars: usize,
    /// The most lines of a cue.
    pub lines: usize,
    /// The most characters shown for each second, so that there is time to read; `None` is as they
    /// are spoken.
    pub chars_per_second: Option<f32>,
}

impl Default for CueRules {
    /// Two lines of 42 characters, as broadcasters' guidelines have it.
    fn default() -> Self {
        Self { line_chars: LINE_CHARS, lines: 2, chars_per_second: None }
    }
}

/// One piece of text on screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cue {
    /// When it appears, in milliseconds.
    pub(super) start_ms: u64,
    /// When it goes, in milliseconds: later than its start.
    pub(super) end_ms: u64,
    /// One or two lines, never blank: without mark-up, control characters or spaces at the ends.
    pub(super) text: String,
}

/// The cues of `transcript` in order, none empty, none over the next.
///
/// A segment too long to show is cut between words where their times are known, at the end of a
/// clause if there is one near the middle; without words it stays whole.
pub(super) fn cues(transcript: &Transcript) -> Vec<Cue> {
    let mut cues = Vec::new();
    for segment in &transcript.segments {
        push_segment(segment, &mut cues);
    }
    put_in_order(&mut cues);
    for cue in &mut cues {
        cue.text = wrap(&cue.text);
    }
    cues
}

fn push_segment(segment: &Segment, cues: &mut Vec<Cue>) {
    let text = plain(&segment.text);
    if text.is_empty() {
        return;
    }
    let (start_ms, end_ms) = (milliseconds(segment.start), milliseconds(segment.end));
    let marks = marks(&text, &segment.words);
    if fits(start_ms, end_ms, &text) || marks.is_empty() {
        cues.push(Cue { start_ms, end_ms, text });
    } else {
        push_pieces(&text, &marks, cues);
    }
}

fn fits(start_ms: u64, end_ms: u64, text: &str) -> bool {
    end_ms.saturating_sub(start_ms) <= LONGEST_MS && text.chars().count() <= CUE_CHARS
}

/// A place where a text may be cut: the start of a word.
struct Mark {
    /// The byte at which the word starts.
    at: usize,
    start_ms: u64,
    end_ms: u64,
}

/// Finds `words` in `text`, in order. The first mark is at 0, so that no text is lost; a word that
/// is not found belongs to the one before it.
fn marks(text: &str, words: &[Word]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut searched = 0;
    for word in words {
        let spelling = plain(&word.text);
        let (start_ms, end_ms) = (milliseconds(word.start), milliseconds(word.end));
        match text[searched..].find(&spelling) {
            Some(found) if !spelling.is_empty() => {
                let at = if marks.is_empty() { 0 } else { searched + found };
                searched += found + spelling.len();
                marks.push(Mark { at, start_ms, end_ms });
            }
            _ => {
                if let Some(last) = marks.last_mut() {
                    last.end_ms = last.end_ms.max(end_ms);
                }
            }
        }
    }
    marks
}

/// Cuts `text`, which starts at the first mark, in two until each piece fits or is one word.
fn push_pieces(text: &str, marks: &[Mark], cues: &mut Vec<Cue>) {
    let ([first, ..], [.., last]) = (marks, marks) else { return };
    if marks.len() == 1 || fits(first.start_ms, last.end_ms, text) {
        let text = text.trim().to_owned();
        cues.push(Cue { start_ms: first.start_ms, end_ms: last.end_ms, text });
        return;
    }
    let middle = text.len() / 2;
    let cost = |mark: &Mark| {
        let at = mark.at - first.at;
        let clause_ends = text[..at].trim_end().ends_with(CLAUSE_ENDS);
        at.abs_diff(middle) + if clause_ends { 0 } else { text.len() / 4 }
    };
    let cut = (1..marks.len()).min_by_key(|index| cost(&marks[*index])).unwrap_or(1);
    let (left, right) = text.split_at(marks[cut].at - first.at);
    push_pieces(left, &marks[..cut], cues);
    push_pieces(right, &marks[cut..], cues);
}

/// After these a reader pauses.
const CLAUSE_ENDS: [char; 14] =
    ['.', ',', ';', ':', '?', '!', '…', '।', '॥', '。', '、', '，', '？', '！'];

/// Makes every cue end after it starts and before the next one starts, without reordering.
fn put_in_order(cues: &mut [Cue]) {
    for index in 0..cues.len() {
        let (before, rest) = cues.split_at_mut(index);
        let cue = &mut rest[0];
        if let Some(previous) = before.last_mut() {
            if cue.start_ms > previous.start_ms {
                previous.end_ms = previous.end_ms.min(cue.start_ms);
            } else {
                cue.start_ms = previous.end_ms;
            }
        }
        cue.end_ms = cue.end_ms.max(cue.start_ms + 1);
    }
}

/// `text` as one line without mark-up and control characters. Joiners, which Indic scripts and
/// emoji need, are none of those and stay.
fn plain(text: &str) -> String {
    let visible: String = without_tags(text)
        .chars()
        .filter(|character| character.is_whitespace() || !character.is_control())
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Drops tags such as `<i>` and `</font>`, which models learn from subtitles, but not a `<` that
/// stands for itself.
fn without_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        kept.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let is_tag = inside.trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic());
        match inside.find(['<', '>']) {
            Some(close) if is_tag && inside[close..].starts_with('>') => {
                rest = &inside[close + 1..];
            }
            _ => {
                kept.push('<');
                rest = inside;
            }
        }
    }
    kept + rest
}

/// Breaks a text longer than a line into two lines, as even as its spaces allow.
fn wrap(text: &str) -> String {
    if text.chars().count() <= LINE_CHARS {
        return text.to_owned();
    }
    let middle = text.len() / 2;
    match text.match_indices(' ').map(|(at, _)| at).min_by_key(|at| at.abs_diff(middle)) {
        Some(at) => format!("{}\n{}", &text[..at], &text[at + 1..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::{segment, transcript};

    fn check(segments: Vec<Segment>, expected: &[(u64, u64, &str)]) {
        let cues = cues(&transcript(segments));
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
    fn without_words_a_long_segment_stays_whole() {
        check(vec![segment(1.0, 20.0, "No times known.")], &[(1000, 20_000, "No times known.")]);
    }

    #[test]
    fn cutting_keeps_every_character() {
        let mut odd = spoken("— one two three four five six seven eight nine ten —");
        odd.words.remove(0);
        odd.words[3].text = "something else".to_owned();
        odd.words[5].text = String::new();
        let text: Vec<String> =
            cues(&transcript(vec![odd])).into_iter().map(|cue| cue.text).collect();
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
    fn cues_neither_overlap_nor_end_before_they_start() {
        check(
            vec![
                segment(1.0, 3.0, "one"),
                segment(2.0, 1.5, "two"),
                segment(2.0, 4.0, "three"),
                segment(0.5, 0.6, "four"),
                segment(f64::NAN, f64::INFINITY, "five"),
            ],
            &[
                (1000, 2000, "one"),
                (2000, 2001, "two"),
                (2001, 4000, "three"),
                (4000, 4001, "four"),
                (4001, 1_000_000_000_000_000, "five"),
            ],
        );
    }

    #[test]
    fn marks_controls_and_empty_segments_are_dropped() {
        check(
            vec![
                segment(0.0, 1.0, " \u{7}\r\n "),
                segment(
                    1.0,
                    2.0,
                    "<i>Hel</i>lo\r\n\r\n<font color=\"red\">you\u{2028}all</font>\0",
                ),
                segment(2.0, 3.0, "</b>"),
                segment(3.0, 4.0, "2 < 3 and 4 > 3, I <3 you"),
                segment(4.0, 5.0, "क\u{94d}\u{200d}ष"),
            ],
            &[
                (1000, 2000, "Hello you all"),
                (3000, 4000, "2 < 3 and 4 > 3, I <3 you"),
                (4000, 5000, "क\u{94d}\u{200d}ष"),
            ],
        );
    }

    #[test]
    fn a_text_without_spaces_is_never_broken() {
        let text = "字".repeat(60);
        check(vec![segment(0.0, 5.0, &text)], &[(0, 5000, &text)]);
    }
}
