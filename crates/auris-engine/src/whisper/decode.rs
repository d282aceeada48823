//! Decodes an encoded window into tokens: greedily, then at higher temperatures if the result is
//! poor by OpenAI's limits.

use super::rules::{self, RuleOptions, Rules};
use auris_core::ipc::Failure;
use auris_core::transcript::limits::{MAX_COMPRESSION_RATIO, MAX_NO_SPEECH_PROB, MIN_AVG_LOGPROB};

/// The step from one temperature to the next.
const TEMPERATURE_STEP: f32 = 0.2;

/// The decoder reports progress after this many tokens.
const TOKENS_PER_PROGRESS: usize = 16;

/// A text that ends with the same tokens this many times in a row would repeat them for ever.
const ENDLESS_REPEATS: usize = 6;
/// A finished text with this many repeats is doubtful: a phrase, or one or two tokens ("no, no,
/// no").
const MAX_REPEATS: usize = 2;
const MAX_SHORT_REPEATS: usize = 5;
const PHRASE: usize = 3;
const MAX_PERIOD: usize = 24;

/// The text decoder of an encoded window.
pub(super) trait TextDecoder {
    /// Returns the logits of the token after `past` known tokens and `tokens`.
    fn logits(&mut self, tokens: &[i32], past: usize) -> Result<&[f32], Failure>;

    /// Called periodically. An error stops decoding.
    fn progress(&mut self) -> Result<(), Failure>;

    /// Returns a token's bytes.
    fn bytes(&self, token: i32) -> &[u8];
}

/// The tokens before a window's text.
pub(super) struct Prompt {
    /// The previous text, with the token that announces it; may be empty.
    pub(super) previous: Vec<i32>,
    pub(super) start_of_transcript: i32,
    /// The language and task tokens.
    pub(super) task: Vec<i32>,
    pub(super) no_speech: i32,
    pub(super) end_of_text: i32,
    /// The most tokens that the decoder accepts, prompt and text together.
    pub(super) text_context: usize,
    pub(super) rule_options: RuleOptions,
}

impl Prompt {
    /// The most text and time tokens.
    pub(super) fn max_tokens(&self) -> usize {
        let prompt = self.previous.len() + 1 + self.task.len();
        (self.text_context / 2).min(self.text_context.saturating_sub(prompt))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    pub(super) id: i32,
    pub(super) logprob: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    /// Without the end-of-text token.
    pub(super) tokens: Vec<Token>,
    pub(super) temperature: f32,
    /// The mean over all tokens and the end-of-text token.
    pub(super) avg_logprob: f32,
    pub(super) compression_ratio: f32,
    pub(super) no_speech_prob: f32,
    /// Whether its end keeps repeating.
    pub(super) is_repeating: bool,
}

impl Decoded {
    fn is_repetitive(&self) -> bool {
        self.is_repeating || self.compression_ratio > MAX_COMPRESSION_RATIO
    }

    pub(super) fn is_confident(&self) -> bool {
        self.avg_logprob >= MIN_AVG_LOGPROB && !self.is_repetitive()
    }

    /// Whether the text can be trusted, or there is probably no speech.
    fn is_good(&self) -> bool {
        let is_silence =
            self.no_speech_prob > MAX_NO_SPEECH_PROB && self.avg_logprob < MIN_AVG_LOGPROB;
        is_silence || self.is_confident()
    }

    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |decoded: &Self| (!decoded.is_repetitive(), decoded.avg_logprob);
        rank(self) > rank(other)
    }
}

/// Returns the first good text of `first` and those at higher temperatures, or else the best one.
pub(super) fn improve(
    decoder: &mut impl TextDecoder,
    rules: &Rules,
    prompt: &Prompt,
    first: Decoded,
) -> Result<Decoded, Failure> {
    let mut temperature = first.temperature;
    let mut best = first;
    while !best.is_good() && temperature + TEMPERATURE_STEP < 1.0 + 1e-3 {
        temperature += TEMPERATURE_STEP;
        let next = decode(decoder, rules, prompt, temperature)?;
        if next.is_good() || next.is_better_than(&best) {
            best = next;
        }
    }
    Ok(best)
}

/// Decodes at one temperature; at 0 always takes the most probable token.
pub(super) fn decode(
    decoder: &mut impl TextDecoder,
    rules: &Rules,
    prompt: &Prompt,
    temperature: f32,
) -> Result<Decoded, Failure> {
    // Fixed seed: the same request gives the same text.
    let mut random = fastrand::Rng::with_seed(u64::from(temperature.to_bits()));
    let mut past = prompt.previous.len();
    if past > 0 {
        decoder.logits(&prompt.previous, 0)?;
    }
    let mut row = decoder.logits(&[prompt.start_of_transcript], past)?.to_vec();
    past += 1;
    let no_speech = usize::try_from(prompt.no_speech).ok().and_then(|token| row.get(token));
    let no_speech_prob = no_speech.map_or(0.0, |l| (l - rules::log_sum_exp(&row)).exp());
    // English-only models have no task tokens.
    if !prompt.task.is_empty() {
        row.copy_from_slice(decoder.logits(&prompt.task, past)?);
        past += prompt.task.len();
    }

    let mut tokens: Vec<Token> = Vec::new();
    let mut ids: Vec<i32> = Vec::new();
    let mut sum = 0.0;
    let mut is_repeating = false;
    loop {
        rules.apply(&mut row, &ids, prompt.rule_options);
        let id = if temperature > 0.0 {
            sample(&row, temperature, &mut random)
        } else {
            most_probable(&row)
        };
        let logprob = row.get(id as usize).copied().unwrap_or(f32::NAN);
        if !logprob.is_finite() {
            return Err(super::not_a_number());
        }
        sum += logprob;
        if id == prompt.end_of_text {
            break;
        }
        tokens.push(Token { id, logprob });
        ids.push(id);
        if tokens.len().is_multiple_of(TOKENS_PER_PROGRESS) {
            decoder.progress()?;
            is_repeating = repeats(&ids, |period| (ENDLESS_REPEATS - 1).max(16 / period));
        }
        if is_repeating || tokens.len() >= prompt.max_tokens() {
            break;
        }
        row.copy_from_slice(decoder.logits(&[id], past)?);
        past += 1;
    }
    ids.retain(|id| *id < prompt.end_of_text);
    let bytes: Vec<u8> = ids.iter().flat_map(|id| decoder.bytes(*id)).copied().collect();
    Ok(Decoded {
        avg_logprob: sum / (tokens.len() + 1) as f32,
        tokens,
        temperature,
        compression_ratio: super::segments::compression_ratio(&bytes),
        no_speech_prob,
        is_repeating: is_repeating || ends_in_repetition(&ids),
    })
}

fn most_probable(logprobs: &[f32]) -> i32 {
    let best = logprobs.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(id, _)| id as i32)
}

fn sample(logprobs: &[f32], temperature: f32, random: &mut fastrand::Rng) -> i32 {
    let mut scaled: Vec<f32> = logprobs.iter().map(|logprob| logprob / temperature).collect();
    rules::log_softmax(&mut scaled);
    let mut left = random.f32();
    for (id, logprob) in scaled.iter().enumerate() {
        if *logprob > f32::NEG_INFINITY {
            left -= logprob.exp();
            if left <= 0.0 {
                return id as i32;
            }
        }
    }
    most_probable(logprobs)
}

/// Whether the text ends with a group of tokens repeated more than `most` times, which depends on
/// the size of the group.
fn repeats(ids: &[i32], most: impl Fn(usize) -> usize) -> bool {
    (1..=MAX_PERIOD).any(|period| {
        let needed = period * most(period);
        let again = ids.iter().rev().zip(ids.iter().rev().skip(period));
        again.take(needed).filter(|(later, earlier)| later == earlier).count() == needed
    })
}

/// Whether a finished text ends with a repeated phrase.
fn ends_in_repetition(text: &[i32]) -> bool {
    // The last repeat may be cut short, or end with different punctuation.
    (0..=PHRASE.min(text.len())).any(|cut| {
        repeats(&text[..text.len() - cut], |period| {
            if period < PHRASE { MAX_SHORT_REPEATS } else { MAX_REPEATS }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{END, NO_SPEECH_TOKEN, START, TIME, rules};
    use super::*;

    /// Writes a given text token by token, and a different text at each attempt.
    struct Script {
        attempts: Vec<Vec<i32>>,
        /// By how much the logit of the next token exceeds all others.
        lead: Vec<f32>,
        attempt: usize,
        row: Vec<f32>,
        progress: usize,
    }

    impl Script {
        fn new(attempts: &[(&[i32], f32)]) -> Self {
            Self {
                attempts: attempts.iter().map(|(text, _)| text.to_vec()).collect(),
                lead: attempts.iter().map(|(_, lead)| *lead).collect(),
                attempt: 0,
                row: Vec::new(),
                progress: 0,
            }
        }
    }

    const TASK: [i32; 2] = [13, 18];

    impl TextDecoder for Script {
        fn logits(&mut self, tokens: &[i32], past: usize) -> Result<&[f32], Failure> {
            if tokens == [START] {
                self.attempt += 1;
            }
            let script = &self.attempts[self.attempt.max(1) - 1];
            self.row = vec![0.0; 20 + 1_501];
            let next = (past + tokens.len()).checked_sub(1 + TASK.len());
            let next = next.and_then(|next| script.get(next)).copied().unwrap_or(END);
            self.row[next as usize] = self.lead[self.attempt.max(1) - 1];
            Ok(&self.row)
        }

        fn progress(&mut self) -> Result<(), Failure> {
            self.progress += 1;
            Ok(())
        }

        fn bytes(&self, token: i32) -> &[u8] {
            &b"abcdefghij"[token as usize..][..1]
        }
    }

    fn prompt() -> Prompt {
        Prompt {
            previous: Vec::new(),
            start_of_transcript: START,
            task: TASK.to_vec(),
            no_speech: NO_SPEECH_TOKEN,
            end_of_text: END,
            text_context: 448,
            rule_options: RuleOptions { suppress_non_speech: true, ..RuleOptions::default() },
        }
    }

    fn ids(decoded: &Decoded) -> Vec<i32> {
        decoded.tokens.iter().map(|token| token.id).collect()
    }

    const TEXT: [i32; 4] = [TIME, 1, 2, TIME + 50];

    #[test]
    fn a_text_is_decoded_to_its_end() {
        let mut script = Script::new(&[(&TEXT, 30.0)]);
        let decoded = decode(&mut script, &rules(), &prompt(), 0.0).unwrap();
        assert_eq!(ids(&decoded), TEXT);
        assert!(decoded.is_confident() && decoded.avg_logprob > -1e-3);
    }

    #[test]
    fn a_repeating_text_is_retried_at_a_higher_temperature() {
        let circles: Vec<i32> = [TIME].into_iter().chain([1, 2].repeat(100)).collect();
        let mut script = Script::new(&[(&circles, 30.0), (&TEXT, 30.0)]);
        let decoded = decode(&mut script, &rules(), &prompt(), 0.0).unwrap();
        assert!(decoded.is_repeating && decoded.tokens.len() < 40);
        let best = improve(&mut script, &rules(), &prompt(), decoded).unwrap();
        assert_eq!((ids(&best), best.temperature), (TEXT.to_vec(), 0.2));
    }

    #[test]
    fn a_phrase_three_times_in_a_row_is_doubtful_and_a_word_is_not() {
        for (text, expected) in [
            (&[1, 2, 5, 1, 2, 5, 1, 2, 5][..], true),
            (&[7, 1, 2, 5, 1, 2, 5, 1, 2, 6], false),
            (&[7, 1, 2, 5, 1, 2, 5, 1, 2, 5, 1, 6], true),
            (&[1, 2, 1, 2, 1, 2], false),
            (&[1, 1, 1, 1], false),
            (&[1; 6], true),
            (&[], false),
        ] {
            assert_eq!(ends_in_repetition(text), expected, "{text:?}");
        }
    }

    #[test]
    fn of_poor_texts_the_most_probable_is_kept() {
        let doubtful: [(&[i32], f32); 6] =
            std::array::from_fn(|n| (&TEXT[..], 1.0 + n as f32 / 9.0));
        let mut script = Script::new(&doubtful);
        let first = decode(&mut script, &rules(), &prompt(), 0.0).unwrap();
        let best = improve(&mut script, &rules(), &prompt(), first).unwrap();
        assert_eq!(script.attempt, 6, "temperatures 0 to 1");
        assert!(!best.is_confident());
    }

    #[test]
    fn what_is_probably_silence_is_not_tried_again() {
        let mut script = Script::new(&[(&[TIME], 1.0)]);
        let decoded = decode(&mut script, &rules(), &prompt(), 0.0).unwrap();
        let silent = Decoded { no_speech_prob: 0.9, avg_logprob: -2.0, ..decoded };
        let best = improve(&mut script, &rules(), &prompt(), silent.clone()).unwrap();
        assert_eq!((best, script.attempt), (silent, 1));
    }

    #[test]
    fn the_same_request_gives_the_same_text_also_when_it_is_sampled() {
        let flat: Vec<i32> = [TIME].into_iter().chain(0..9).collect();
        let run = || {
            let mut script = Script::new(&[(&flat, 2.0)]);
            ids(&decode(&mut script, &rules(), &prompt(), 0.9).unwrap())
        };
        assert_eq!(run(), run());
        assert_ne!(run(), flat, "it is sampled");
    }

    #[test]
    fn prompt_and_text_fit_into_the_context() {
        let long: Vec<i32> =
            [TIME].into_iter().chain((0..400).map(|n| [1, 2, 5, 6, 7][n * n % 5])).collect();
        let mut script = Script::new(&[(&long, 30.0)]);
        let prompt = Prompt { previous: vec![1; 224], ..prompt() };
        assert_eq!(prompt.max_tokens(), 221);
        let decoded = decode(&mut script, &rules(), &prompt, 0.0).unwrap();
        assert!(decoded.tokens.len() <= 221);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let mut script = Script::new(&[(&TEXT, f32::NAN)]);
        assert!(decode(&mut script, &rules(), &prompt(), 0.0).is_err());
    }
}
