//! Cuts a segment that is too long to be shown into cues.

use super::plain::plain;
use super::timing::LONGEST_MS;
use super::wrap::{line_count, pieces, width};
use super::{Cue, CueRules};
use crate::timestamp::milliseconds;
use auris_core::transcript::{Segment, Word};

/// A place where a text may be cut: the start of a word, or of a piece of one.
#[derive(Debug, Clone, Copy)]
struct CutPoint {
    /// The byte at which it starts.
    at: usize,
    start_ms: u64,
    end_ms: u64,
}

/// Adds `segment` to `cues`, cut into even pieces between words, at the end of a clause if there is
/// one near. A word that is too long itself, as a whole sentence is in a script without spaces, is
/// cut where a line may be broken, and its time shared by length; so is a segment without words.
pub(super) fn push_cues(segment: &Segment, rules: CueRules, cues: &mut Vec<Cue>) {
    let text = plain(&segment.text);
    if width(&text) == 0 {
        return; // nothing that can be seen
    }
    let (start_ms, end_ms) = (milliseconds(segment.start), milliseconds(segment.end));
    if cues_needed(start_ms, end_ms, &text, rules) <= 1 {
        cues.push(Cue { start_ms, end_ms, text, channel: None });
        return;
    }
    let mut words = word_marks(&text, &segment.words);
    if words.is_empty() {
        words.push(CutPoint { at: 0, start_ms, end_ms });
    }
    let ends = words.iter().skip(1).map(|next| next.at).chain([text.len()]);
    let marks: Vec<CutPoint> = words
        .iter()
        .zip(ends)
        .flat_map(|(word, end)| fine_marks(&text, *word, end, rules))
        .collect();
    push_pieces(&text, &marks, rules, cues);
}

/// How many cues `text` takes, by its time and by its lines.
fn cues_needed(start_ms: u64, end_ms: u64, text: &str, rules: CueRules) -> usize {
    let by_time = end_ms.saturating_sub(start_ms).div_ceil(LONGEST_MS) as usize;
    by_time.max(line_count(text, rules.line_chars).div_ceil(rules.lines))
}

/// Finds `words` in `text`, in order. The first mark is at 0, so that no text is lost; a word that
/// is not found belongs to the one before it.
fn word_marks(text: &str, words: &[Word]) -> Vec<CutPoint> {
    let mut marks: Vec<CutPoint> = Vec::new();
    let mut searched = 0;
    for word in words {
        let spelling = plain(&word.text);
        let (start_ms, end_ms) = (milliseconds(word.start), milliseconds(word.end));
        match text[searched..].find(&spelling) {
            Some(found) if !spelling.is_empty() => {
                let at = if marks.is_empty() { 0 } else { searched + found };
                searched += found + spelling.len();
                marks.push(CutPoint { at, start_ms, end_ms });
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

/// The places to cut the word of `text` from `word` to the byte `end`: its start alone if it fits.
fn fine_marks(text: &str, word: CutPoint, end: usize, rules: CueRules) -> Vec<CutPoint> {
    let word_text = &text[word.at..end];
    if cues_needed(word.start_ms, word.end_ms, word_text, rules) <= 1 {
        return vec![word];
    }
    let duration_ms = word.end_ms.saturating_sub(word.start_ms) as f64;
    let columns = width(word_text).max(1) as f64;
    let time_ms = |at: usize| {
        let share = width(&text[word.at..at]) as f64 / columns;
        word.start_ms + (duration_ms * share) as u64
    };
    let mut at = word.at;
    let pieces = pieces(word_text, rules.line_chars);
    let mark = pieces.into_iter().map(|piece| {
        let start = at;
        at += piece.len();
        CutPoint { at: start, start_ms: time_ms(start), end_ms: time_ms(at) }
    });
    mark.collect()
}

/// Cuts `text`, which starts at the first mark, in two until each piece is a cue or has no other
/// mark.
fn push_pieces(text: &str, marks: &[CutPoint], rules: CueRules, cues: &mut Vec<Cue>) {
    let ([first, ..], [.., last]) = (marks, marks) else { return };
    let needed = cues_needed(first.start_ms, last.end_ms, text, rules);
    if needed <= 1 || marks.len() == 1 {
        let text = text.trim().to_owned();
        let (start_ms, end_ms) = (first.start_ms, last.end_ms);
        cues.push(Cue { start_ms, end_ms, text, channel: None });
        return;
    }
    let ideal = text.len() * (needed / 2) / needed;
    let cost = |mark: &CutPoint| {
        let at = mark.at - first.at;
        let clause_ends = text[..at].trim_end().ends_with(CLAUSE_ENDS);
        at.abs_diff(ideal) + if clause_ends { 0 } else { text.len() / 4 }
    };
    let cut = (1..marks.len()).min_by_key(|index| cost(&marks[*index])).unwrap_or(1);
    let (left, right) = text.split_at(marks[cut].at - first.at);
    push_pieces(left, &marks[..cut], rules, cues);
    push_pieces(right, &marks[cut..], rules, cues);
}

/// After these a reader pauses.
const CLAUSE_ENDS: [char; 14] =
    ['.', ',', ';', ':', '?', '!', '…', '।', '॥', '。', '、', '，', '？', '！'];
