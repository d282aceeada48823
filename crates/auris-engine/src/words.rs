//! From timed tokens to timed words.
//!
//! Tokens are pieces of words and may split a UTF-8 character. A token with a leading space starts
//! a word. In languages that do not separate words with spaces, every whole character is a word.

use std::ops::Range;

use auris_core::transcript::Word;

/// A text token of the decoder, with times in seconds from the start of the chunk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimedToken {
    /// Its bytes, which may not be whole characters.
    pub(super) bytes: Vec<u8>,
    /// Its probability from 0 to 1.
    pub(super) probability: f32,
    pub(super) start: f64,
    /// When the next token starts.
    pub(super) end: f64,
}

/// No word takes longer; anything that attention adds to this is a pause.
const LONGEST_WORD: f64 = 2.0;

const SAMPLES_PER_FRAME: usize = 160;
const SECONDS_PER_FRAME: f64 = 0.01;

/// A frame is silent below this fraction of the level of a span's loud frames.
const SILENT_LEVEL: f32 = 0.1;

/// A pause grows by at most this many frames: 0.3 s.
const MAX_SILENT_FRAMES: usize = 30;

/// The shortest pause between spans of speech that counts, in seconds.
const SHORTEST_PAUSE: f64 = 0.15;

/// This many silent frames in a span are a pause, too; the closure of a consonant is shorter.
const SILENT_FRAMES: usize = 25;

/// Groups consecutive tokens into words. `spaced`: the language separates words with spaces.
pub(super) fn words(tokens: &[TimedToken], spaced: bool, pauses: &[Range<f64>]) -> Vec<Word> {
    let mut words: Vec<Word> =
        group(tokens, spaced).into_iter().filter_map(|group| word(&tokens[group])).collect();
    pauses.iter().for_each(|pause| move_out_of_pause(&mut words, pause));
    // A word that was moved behind a pause must not start after the next word, and lasts until it.
    for index in (1..words.len()).rev() {
        let next = words[index].start;
        let word = &mut words[index - 1];
        word.start = word.start.min(next);
        word.end = if word.end <= word.start { next } else { word.end.min(next) };
    }
    for word in &mut words {
        word.end = word.end.clamp(word.start, word.start + LONGEST_WORD);
    }
    words
}

/// The pauses of a chunk in seconds: the gaps between the spans of `speech`, before the first and
/// after the last. Empty if `speech` is unknown.
///
/// A detector's span starts early, ends late and continues through short pauses. So each pause
/// grows into the spans beside it while the samples (mono at 16 kHz) are silent there, and spans
/// are split where they are silent.
pub(super) fn pauses(samples: &[f32], speech: &[Range<f64>]) -> Vec<Range<f64>> {
    let levels: Vec<f32> = samples
        .chunks(SAMPLES_PER_FRAME)
        .map(|frame| (frame.iter().map(|s| s * s).sum::<f32>() / frame.len() as f32).sqrt())
        .collect();
    let spans: Vec<Range<f64>> = speech.iter().flat_map(|span| spoken(&levels, span)).collect();
    let starts = std::iter::once(f64::NEG_INFINITY).chain(spans.iter().map(|span| span.end));
    let ends = spans.iter().map(|span| span.start).chain([f64::INFINITY]);
    let pauses = starts.zip(ends).map(|(start, end)| start..end);
    let pauses = pauses.filter(|pause| pause.end - pause.start >= SHORTEST_PAUSE);
    if speech.is_empty() { Vec::new() } else { pauses.collect() }
}

/// A segment without the pauses at its ends, which the decoder often includes.
pub(super) fn without_pauses(segment: Range<f64>, pauses: &[Range<f64>]) -> Range<f64> {
    let Range { mut start, mut end } = segment;
    for pause in pauses {
        if pause.contains(&start) && pause.end < end {
            start = pause.end;
        }
        if pause.contains(&end) && pause.start > start {
            end = pause.start;
        }
    }
    start..end
}

/// Splits a span of speech at silences, and drops the silence at its ends.
fn spoken(levels: &[f32], span: &Range<f64>) -> Vec<Range<f64>> {
    let frame = |seconds: f64| ((seconds.max(0.0) / SECONDS_PER_FRAME) as usize).min(levels.len());
    let levels = &levels[frame(span.start)..frame(span.end)];
    let mut sorted = levels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let loud = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(0.0);
    let most = MAX_SILENT_FRAMES.min(levels.len() / 3);
    let is_silent = |level: &f32| *level < loud * SILENT_LEVEL;
    let before = levels.iter().take(most).take_while(|level| is_silent(level)).count();
    let after = levels.iter().rev().take(most).take_while(|level| is_silent(level)).count();

    let time = |frame: usize| span.start + frame as f64 * SECONDS_PER_FRAME;
    let end = levels.len() - after;
    let mut parts = Vec::new();
    let mut start = before;
    let mut place = before;
    for run in levels[before..end.max(before)].chunk_by(|a, b| is_silent(a) == is_silent(b)) {
        if is_silent(&run[0]) && run.len() >= SILENT_FRAMES {
            parts.push(time(start)..time(place));
            start = place + run.len();
        }
        place += run.len();
    }
    // The last frame may be incomplete.
    parts.push(time(start)..span.end - after as f64 * SECONDS_PER_FRAME);
    parts.retain(|part| part.start < part.end);
    parts
}

/// No one speaks a letter faster, in seconds.
const SHORTEST_LETTER: f64 = 0.05;

/// Attention places a word after a pause too early, by at most this much, in seconds.
const EARLY: f64 = 0.4;

/// A word that extends at least this far into the speech after a pause is spoken there, in seconds.
/// In 10 recordings with 42 pauses, words before the pause extend at most 0.02 s, the others at
/// least 0.06 s.
const LATE: f64 = 0.015;

/// Moves words out of a pause, to the side on which they are spoken. A single word that is on
/// neither side is the first word after the pause, which attention places too early. Several such
/// words are speech that the detector missed, and stay.
fn move_out_of_pause(words: &mut [Word], pause: &Range<f64>) {
    let mut inside = Vec::new();
    for (index, word) in words.iter_mut().enumerate() {
        if word.end <= pause.start || word.start >= pause.end {
            continue;
        }
        let letters = word.text.chars().filter(|c| c.is_alphanumeric()).count();
        let least = (SHORTEST_LETTER * letters as f64).min(LONGEST_WORD / 4.0);
        let before = pause.start - word.start;
        let after = word.end - pause.end;
        let is_behind = after > LATE && before < after.max(EARLY);
        if before >= least && !is_behind {
            word.end = pause.start;
        } else if after > 0.0 {
            word.start = pause.end;
        } else {
            inside.push(index);
        }
    }
    if let [index] = inside[..]
        && pause.end.is_finite()
    {
        let letters = |word: &Word| word.text.chars().count() as f64;
        words[index].start = pause.end;
        words[index].end = pause.end;
        // The next word leaves room for it.
        if let [word, next, ..] = &mut words[index..]
            && next.start <= pause.end
        {
            let share = letters(word) / (letters(word) + letters(next));
            word.end = pause.end + (next.end - pause.end).max(0.0) * share;
            next.start = word.end;
        }
    }
}

fn group(tokens: &[TimedToken], spaced: bool) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let begins = token.bytes.first() == Some(&b' ')
            || (!spaced && std::str::from_utf8(&open).is_ok() && !is_mark(&token.bytes));
        match groups.last_mut() {
            Some(last) if !begins => last.end = index + 1,
            _ => {
                groups.push(index..index + 1);
                open.clear();
            }
        }
        open.extend_from_slice(&token.bytes);
    }
    groups
}

/// Whether a token is only punctuation, which belongs to the word before it.
fn is_mark(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_alphanumeric))
}

fn word(tokens: &[TimedToken]) -> Option<Word> {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let sum: f32 = tokens.iter().map(|token| token.probability).sum();
    let probability = sum / tokens.len() as f32;
    // Punctuation is not spoken.
    let spoken = || tokens.iter().filter(|token| !is_mark(&token.bytes));
    let first = spoken().next().or(tokens.first())?;
    let last = spoken().next_back().or(tokens.last())?;
    let (start, end) = (first.start, last.end.max(first.start));
    (!text.is_empty()).then_some(Word { text, start, end, probability })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of half a second each.
    fn tokens(texts: &[&[u8]]) -> Vec<TimedToken> {
        let token = |(index, bytes): (usize, &&[u8])| {
            let start = index as f64 / 2.0;
            TimedToken { bytes: bytes.to_vec(), probability: 0.5, start, end: start + 0.5 }
        };
        texts.iter().enumerate().map(token).collect()
    }

    fn times(words: &[Word]) -> Vec<(&str, f64, f64)> {
        words.iter().map(|word| (word.text.as_str(), word.start, word.end)).collect()
    }

    #[test]
    fn tokens_join_at_leading_spaces_and_split_characters_become_whole() {
        let tokens = tokens(&[b" Hel", b"lo", b",", b" \xe0\xa4", b"\xa8", b" "]);
        let words = words(&tokens, true, &[]);
        assert_eq!(times(&words), [("Hello,", 0.0, 1.0), ("न", 1.5, 2.5)]);
        assert!(super::words(&[], true, &[]).is_empty());
    }

    #[test]
    fn without_spaces_every_character_is_a_word() {
        let tokens =
            tokens(&["今".as_bytes(), "日は".as_bytes(), "。".as_bytes(), b"\xe9", b"\x9b\xa8"]);
        let words = words(&tokens, false, &[]);
        assert_eq!(times(&words), [("今", 0.0, 0.5), ("日は。", 0.5, 1.0), ("雨", 1.5, 2.5)]);
    }

    #[test]
    fn a_word_leaves_a_pause_on_the_side_where_it_fits() {
        let tokens = tokens(&[b" my", b" fel", b"low", b" men"]);
        let word = |pauses: &[Range<f64>]| {
            let words = words(&tokens, true, pauses);
            assert!(words.is_sorted_by(|a, b| a.end <= b.start), "{words:?}");
            (words[1].start, words[1].end)
        };
        assert_eq!(word(&[]), (0.5, 1.5));
        assert_eq!(word(&[0.6..0.9]), (0.9, 1.5));
        assert_eq!(word(&[1.1..1.4]), (0.5, 1.1));
        // The part before the pause is early, and the word extends beyond the pause.
        assert_eq!(word(&[0.85..1.4]), (1.4, 1.5));
        assert_eq!(word(&[0.85..1.49]), (0.5, 0.85));
        // There is no room for six letters before the pause.
        assert_eq!(word(&[0.7..1.4]), (1.4, 1.5));
        // There is nothing before the first speech: "my" moves behind the pause as well and needs
        // its share.
        let (start, end) = word(&[f64::NEG_INFINITY..0.8]);
        assert!((start - 0.975).abs() < 1e-9 && end == 1.5, "{start} {end}");
        assert_eq!(word(&[1.2..f64::INFINITY]), (0.5, 1.2));
        // A word that is entirely in the pause is the first word after it.
        assert_eq!(word(&[0.45..1.4]), (1.4, 1.5));
        let (start, end) = word(&[0.45..1.6]);
        assert!(start == 1.6 && end > 1.8, "{start} {end}");
        // Several words in the pause are speech that the detector missed: they stay.
        assert_eq!(word(&[0.0..1.6]), (0.5, 1.5));
    }

    #[test]
    fn a_segment_begins_and_ends_with_speech() {
        let pauses = [f64::NEG_INFINITY..0.4, 2.0..3.0, 5.0..f64::INFINITY];
        for (segment, expected) in [
            (0.0..2.5, 0.4..2.0),
            (2.5..6.0, 3.0..5.0),
            (0.0..6.0, 0.4..5.0),
            (0.5..1.5, 0.5..1.5),
            // A segment that is entirely pause stays: the detector may have missed it.
            (2.2..2.8, 2.2..2.8),
            (0.0..0.2, 0.0..0.2),
        ] {
            assert_eq!(without_pauses(segment.clone(), &pauses), expected, "{segment:?}");
            assert_eq!(without_pauses(segment.clone(), &[]), segment);
        }
    }

    #[test]
    fn pauses_lie_between_speech_and_grow_into_its_silent_ends() {
        let tone =
            |seconds: f64| (0..(seconds * 16_000.0) as usize).map(|n| (n as f32 * 0.3).sin());
        let silence = |seconds: f64| vec![0.0; (seconds * 16_000.0) as usize];
        let samples: Vec<f32> =
            tone(1.0).chain(silence(1.0)).chain(tone(1.0)).chain(silence(0.5)).collect();
        let found = pauses(&samples, &[0.0..1.2, 1.9..3.0]);
        let expected = [f64::NEG_INFINITY..0.0, 1.0..2.0, 3.0..f64::INFINITY];
        assert_eq!(found.len(), 3);
        for (found, expected) in found.iter().zip(&expected) {
            let close = |a: f64, b: f64| a == b || (a - b).abs() < 0.02;
            assert!(
                close(found.start, expected.start) && close(found.end, expected.end),
                "{found:?}"
            );
        }
        assert!(pauses(&samples, &[]).is_empty());
        // Shorter pauses are part of speech, and spans beyond the samples do no harm.
        assert_eq!(pauses(&samples[..16_000], &[0.0..0.5, 0.6..9.0]).len(), 2);
    }

    #[test]
    fn a_silence_within_a_span_of_speech_is_a_pause() {
        let level = |second: f64| if (1.0..1.4).contains(&second) { 0.001 } else { 0.5 };
        let samples: Vec<f32> = (0..48_000).map(|n| level(f64::from(n) / 16_000.0)).collect();
        let found = pauses(&samples, &[0.0..3.0]);
        let [_, pause, _] = &found[..] else { panic!("{found:?}") };
        assert!((pause.start - 1.0).abs() < 0.02 && (pause.end - 1.4).abs() < 0.02, "{pause:?}");
        // Silence as long as the closure of a consonant is not a pause.
        let short: Vec<f32> = [&samples[..17_600], &samples[22_400..]].concat();
        assert_eq!(pauses(&short, &[0.0..2.7]).len(), 2);
    }

    #[test]
    fn no_word_lasts_longer_than_two_seconds() {
        let mut tokens = tokens(&[b" a", b" bee"]);
        tokens[1].end = 9.0;
        assert_eq!(times(&words(&tokens, true, &[]))[1], ("bee", 0.5, 2.5));
    }
}
