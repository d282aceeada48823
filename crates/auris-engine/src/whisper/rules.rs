//! Which tokens may come next. OpenAI's rules (`decoding.py` of openai-whisper).

use std::collections::HashSet;

use super::ffi::{Shape, WhisperModel};

/// Seconds per time token.
pub(super) const SECONDS_PER_TIMESTAMP: f64 = 0.02;

/// The latest start of a window's first segment: 1 s, in time tokens.
const MAX_FIRST_TIMESTAMP: i32 = 50;

/// Symbols for sounds other than speech, and those that start such a note, as in `[Music]`,
/// separated by spaces. Each is a token by itself or after a space.
const NON_SPEECH: &str = concat!(
    "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 << >> <<< >>> -- --- -( -[ (' (\" ",
    "(( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪ ♩ ♪ ♫ ♬ ♭ ♮ ♯",
);

/// These two are fine within a word, but not at its start.
const NON_SPEECH_AT_START: &[&str] = &[" -", " '"];

/// The request's additions to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RuleOptions {
    pub(super) suppress_non_speech: bool,
    /// A segment that starts before this time, in seconds, must have text: there is speech after
    /// it.
    pub(super) speech_until: f64,
}

pub(super) struct Rules {
    shape: Shape,
    /// The token of a single space, which would start an empty text.
    space: Option<i32>,
    non_speech: Vec<i32>,
    /// First-generation distilled models produce no time tokens.
    timestamps: bool,
}

impl Rules {
    pub(super) fn new(model: &WhisperModel) -> Self {
        let shape = model.shape;
        let symbols: HashSet<&str> = NON_SPEECH.split(' ').collect();
        let is_non_speech = |token: &i32| {
            let bytes = model.token_bytes(*token);
            let Ok(text) = std::str::from_utf8(bytes) else { return false };
            let symbol = text.strip_prefix(' ').unwrap_or(text);
            symbols.contains(symbol) || NON_SPEECH_AT_START.contains(&text)
        };
        Self {
            shape,
            space: (0..shape.end_of_text).find(|token| model.token_bytes(*token) == b" "),
            non_speech: (0..shape.end_of_text).filter(is_non_speech).collect(),
            timestamps: shape.text_layers != 2 || shape.vocabulary == 51_866,
        }
    }

    pub(super) fn timestamps(&self) -> bool {
        self.timestamps
    }

    pub(super) fn is_timestamp(&self, token: i32) -> bool {
        token >= self.shape.first_timestamp
    }

    /// Turns logits into log probabilities of the tokens that may follow `text`, the window's text
    /// so far. Forbidden tokens are set to minus infinity.
    pub(super) fn apply(&self, logits: &mut [f32], text: &[i32], wanted: RuleOptions) {
        let Shape { end_of_text, first_timestamp, .. } = self.shape;
        let (end, first) = (end_of_text as usize, first_timestamp as usize);
        // All control tokens are between the end-of-text token and the time tokens.
        ban(&mut logits[end + 1..first]);
        if wanted.suppress_non_speech {
            for token in &self.non_speech {
                logits[*token as usize] = f32::NEG_INFINITY;
            }
        }
        if text.is_empty() {
            logits[end] = f32::NEG_INFINITY;
            if let Some(space) = self.space {
                logits[space as usize] = f32::NEG_INFINITY;
            }
        }
        if !self.timestamps {
            ban(&mut logits[first..]);
            return log_softmax(logits);
        }
        self.pair_timestamps(logits, text);
        if self.opens_segment(text)
            && let Some(time) = text.last().map(|token| f64::from(token - first_timestamp))
            && time * SECONDS_PER_TIMESTAMP < wanted.speech_until
        {
            logits[end] = f32::NEG_INFINITY;
        }
        log_softmax(logits);
        // If time tokens together are more probable than any text token, the next token is a time.
        let (text, times) = logits.split_at_mut(first);
        let most_probable = text.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if log_sum_exp(times) > most_probable {
            ban(text);
            log_softmax(times);
        }
    }

    /// Whether the text ends with the start time of a segment.
    fn opens_segment(&self, text: &[i32]) -> bool {
        match text {
            [.., before, last] => self.is_timestamp(*before) && self.is_timestamp(*last),
            [last] => self.is_timestamp(*last),
            [] => false,
        }
    }

    /// Time tokens are in order, and in pairs except for the first and the last.
    fn pair_timestamps(&self, logits: &mut [f32], text: &[i32]) {
        let Shape { end_of_text, first_timestamp, .. } = self.shape;
        let (end, first) = (end_of_text as usize, first_timestamp as usize);
        let is_time = |token: Option<&i32>| token.is_some_and(|token| self.is_timestamp(*token));
        let last_is_time = is_time(text.last());
        let opens = self.opens_segment(text);
        if text.is_empty() {
            ban(&mut logits[..first]);
            ban_from(logits, first_timestamp + MAX_FIRST_TIMESTAMP + 1);
        } else if last_is_time && opens {
            ban(&mut logits[first..]);
        } else if last_is_time {
            ban(&mut logits[..end]);
        }
        if let Some(newest) = text.iter().rev().find(|token| self.is_timestamp(**token)) {
            // Only a segment that starts where the last one ended may have the same time.
            let earliest = if last_is_time && !opens { *newest } else { *newest + 1 };
            let earliest = (earliest as usize).min(logits.len());
            ban(&mut logits[first..earliest]);
        }
    }
}

fn ban(logits: &mut [f32]) {
    logits.fill(f32::NEG_INFINITY);
}

fn ban_from(logits: &mut [f32], token: i32) {
    let from = (token as usize).min(logits.len());
    ban(&mut logits[from..]);
}

/// A value that is below the largest by this much adds nothing to a sum of f32.
const NEGLIGIBLE: f32 = 20.0;

pub(super) fn log_sum_exp(values: &[f32]) -> f32 {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if largest == f32::NEG_INFINITY {
        return largest;
    }
    let weights = values.iter().map(|value| value - largest);
    let sum: f32 = weights.filter(|weight| *weight > -NEGLIGIBLE).map(f32::exp).sum();
    largest + sum.ln()
}

pub(super) fn log_softmax(values: &mut [f32]) {
    let sum = log_sum_exp(values);
    values.iter_mut().for_each(|value| *value -= sum);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::whisper) const END: i32 = 10;
    pub(in crate::whisper) const START: i32 = 11;
    pub(in crate::whisper) const NO_SPEECH_TOKEN: i32 = 12;
    pub(in crate::whisper) const TIME: i32 = 20;

    /// Tokens 0 to 9 are text, 3 is a space, 4 a note; 20 and up are times, to 30 s.
    pub(in crate::whisper) fn rules() -> Rules {
        let shape = Shape {
            vocabulary: 20 + 1_501,
            text_layers: 3,
            text_heads: 2,
            text_state: 128,
            text_context: 448,
            positions: 1_500,
            multilingual: true,
            languages: 2,
            end_of_text: END,
            start_of_transcript: START,
            previous: 15,
            no_speech: NO_SPEECH_TOKEN,
            no_timestamps: 16,
            translate: 17,
            transcribe: 18,
            first_timestamp: TIME,
        };
        Rules { shape, space: Some(3), non_speech: vec![4], timestamps: true }
    }

    /// The tokens that may follow `text` if all are equally probable to the model.
    fn allowed(text: &[i32], suppress_non_speech: bool) -> Vec<i32> {
        allowed_by(text, RuleOptions { suppress_non_speech, ..RuleOptions::default() })
    }

    fn allowed_by(text: &[i32], wanted: RuleOptions) -> Vec<i32> {
        let rules = rules();
        let mut logits = vec![0.0; rules.shape.vocabulary];
        // Text is more probable than all times together.
        logits[..TIME as usize].fill(9.0);
        rules.apply(&mut logits, text, wanted);
        let finite = logits.iter().enumerate().filter(|(_, logit)| logit.is_finite());
        finite.map(|(token, _)| token as i32).collect()
    }

    #[test]
    fn a_window_begins_with_a_time_of_at_most_a_second() {
        assert_eq!(allowed(&[], true), (TIME..=TIME + 50).collect::<Vec<i32>>());
    }

    #[test]
    fn times_come_in_pairs_and_in_order() {
        let text = [0, 1, 2, 3, 5, 6, 7, 8, 9, END];
        assert_eq!(allowed(&[TIME], true), text);
        let later: Vec<i32> = text.into_iter().chain(TIME + 6..TIME + 1_501).collect();
        assert_eq!(allowed(&[TIME + 5, 1], true), later);
        // The end of a segment is followed by the end of the text, or by a segment that starts
        // there.
        let next: Vec<i32> = [END].into_iter().chain(TIME + 9..TIME + 1_501).collect();
        assert_eq!(allowed(&[TIME + 5, 1, TIME + 9], true), next);
        assert_eq!(allowed(&[TIME + 5, 1, TIME + 9, TIME + 9], true), text);
    }

    #[test]
    fn a_segment_before_the_end_of_speech_is_not_left_empty() {
        let wanted = RuleOptions { suppress_non_speech: true, speech_until: 1.0 };
        let may_end = |text: &[i32]| allowed_by(text, wanted).contains(&END);
        assert!(!may_end(&[TIME]));
        assert!(!may_end(&[TIME, 1, TIME + 40, TIME + 40]));
        assert!(may_end(&[TIME, 1, TIME + 60, TIME + 60]));
        // A segment with text may be the last one.
        assert!(may_end(&[TIME, 1]) && may_end(&[TIME, 1, TIME + 40]));
    }

    #[test]
    fn notes_of_sounds_are_ruled_out_unless_wanted() {
        assert!(!allowed(&[TIME], true).contains(&4));
        assert!(allowed(&[TIME], false).contains(&4));
    }

    #[test]
    fn a_time_is_next_if_times_together_are_more_probable_than_any_text() {
        let rules = rules();
        let mut logits = vec![0.0; rules.shape.vocabulary];
        logits[2] = 5.0; // one text token against 1,500 times
        rules.apply(&mut logits, &[TIME, 1], RuleOptions::default());
        assert!(logits[..TIME as usize].iter().all(|logit| *logit == f32::NEG_INFINITY));
        let total: f32 = logits.iter().map(|logprob| logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");
    }
}
