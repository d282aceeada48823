//! Breaks a text into lines, in any script.
//!
//! Where a line may be broken is the Unicode standard's (annex 14): at spaces, after hyphens,
//! between Chinese characters but not before their full stop, and between the words of Thai, Lao,
//! Khmer and Burmese, which are written without spaces. Only what is wider than a line and has no
//! such place is broken between characters.

use icu_segmenter::options::LineBreakOptions;
use icu_segmenter::{GraphemeClusterSegmenter, LineSegmenter};
use unicode_width::UnicodeWidthStr;

/// How many columns `text` takes: two for a Chinese character or an emoji, none for a mark that is
/// drawn on another character.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The pieces of `text` that a line can be made of. Joined they are `text`; none is wider than
/// `line_chars`, besides spaces at its end, unless it is a single character.
pub(super) fn pieces(text: &str, line_chars: usize) -> Vec<&str> {
    let segmenter = LineSegmenter::new_lstm(LineBreakOptions::default());
    let mut pieces = Vec::new();
    for piece in parts(text, segmenter.segment_str(text)) {
        match width(piece.trim_end()) <= line_chars {
            true => pieces.push(piece),
            false => push_characters(piece, line_chars, &mut pieces),
        }
    }
    pieces
}

/// Cuts `piece` between characters as they are read, marks and joiners included.
fn push_characters<'t>(piece: &'t str, line_chars: usize, pieces: &mut Vec<&'t str>) {
    let characters = parts(piece, GraphemeClusterSegmenter::new().segment_str(piece));
    pieces.extend(fill(piece, &characters.collect::<Vec<_>>(), line_chars));
}

/// `text` cut at `places`, in order and without empty parts.
fn parts(text: &str, places: impl Iterator<Item = usize>) -> impl Iterator<Item = &str> {
    let mut start = 0;
    places.filter_map(move |end| {
        let part = &text[start..end];
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

/// How many lines `text` takes.
pub(super) fn line_count(text: &str, line_chars: usize) -> usize {
    fill(text, &pieces(text, line_chars), line_chars).len()
}

/// The lines of `text`: no more than are needed, and as even as they can be.
pub(super) fn wrap(text: &str, line_chars: usize) -> Vec<&str> {
    let pieces = pieces(text, line_chars);
    let needed = fill(text, &pieces, line_chars);
    let evenest = width(text) / needed.len().max(1);
    let lines = (evenest..line_chars)
        .map(|narrower| fill(text, &pieces, narrower))
        .find(|lines| lines.len() == needed.len())
        .unwrap_or(needed);
    lines.into_iter().map(str::trim).collect()
}

/// Lines of `pieces`, which joined are `text`, each as full as it can be.
fn fill<'t>(text: &'t str, pieces: &[&'t str], line_chars: usize) -> Vec<&'t str> {
    let mut lines = Vec::new();
    let (mut start, mut end) = (0, 0);
    for piece in pieces {
        let next = end + piece.len();
        if end > start && width(text[start..next].trim()) > line_chars {
            lines.push(&text[start..end]);
            start = end;
        }
        end = next;
    }
    if end > start {
        lines.push(&text[start..end]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line_chars: usize, text: &str, expected: &[&str]) {
        assert_eq!(wrap(text, line_chars), expected);
    }

    #[test]
    fn lines_are_few_and_even() {
        check(42, "A text of one line stays as it is.", &["A text of one line stays as it is."]);
        check(10, "one two three four five", &["one two", "three", "four five"]);
        check(12, "a bc def ghij klmno pqrstu vwxyz", &["a bc def", "ghij klmno", "pqrstu vwxyz"]);
        check(10, "", &[]);
    }

    #[test]
    fn a_hyphen_ends_a_line_and_a_space_does_not_begin_one() {
        check(10, "a well-known tune", &["a well-", "known tune"]);
        check(10, "1234567890 1234567890 x", &["1234567890", "1234567890", "x"]);
    }

    #[test]
    fn scripts_without_spaces_are_broken_where_their_readers_expect_it() {
        // Not before a full stop, and a Chinese character is two columns wide.
        check(10, "今日はとても寒い。", &["今日はとて", "も寒い。"]);
        check(20, "สวัสดีครับผมชื่อสมชายและผมมาจากกรุงเทพ", &["สวัสดีครับผมชื่อสมชาย", "และผมมาจากกรุงเทพ"]);
    }

    #[test]
    fn text_without_break_points_is_broken_between_characters() {
        check(10, &"x".repeat(25), &["xxxxxxxxxx", "xxxxxxxxxx", "xxxxx"]);
        let family = "👩\u{200d}👩\u{200d}👧";
        check(10, &family.repeat(6), &[&family.repeat(3), &family.repeat(3)]);
        let marked = "e\u{301}".repeat(12);
        check(10, &marked, &[&"e\u{301}".repeat(10), &"e\u{301}".repeat(2)]);
    }
}
