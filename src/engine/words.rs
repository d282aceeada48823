//! From decoder tokens to words with times.
//!
//! Tokens are pieces of words, and may split a UTF-8 character; a token that begins with a
//! space begins a word.

use crate::transcript::Word;

/// A text token of the decoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Its bytes, not always whole characters.
    pub(super) bytes: Vec<u8>,
    /// Start in seconds from the start of the chunk.
    pub(super) start: f64,
    /// End in seconds.
    pub(super) end: f64,
    /// Its probability from 0 to 1.
    pub(super) probability: f32,
}

/// Joins tokens to words.
pub(super) fn join(tokens: &[Token]) -> Vec<Word> {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match groups.last_mut() {
            Some((_, end)) if !begins_word(&token.bytes) => *end = index + 1,
            _ => groups.push((index, index + 1)),
        }
    }
    groups.iter().filter_map(|&(from, to)| word(&tokens[from..to])).collect()
}

fn begins_word(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b' ')
}

fn word(tokens: &[Token]) -> Option<Word> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let probability =
        tokens.iter().map(|token| token.probability).sum::<f32>() / tokens.len() as f32;
    (!text.is_empty()).then_some(Word {
        text,
        start: first.start,
        end: last.end.max(first.start),
        probability,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], start: f64, end: f64) -> Token {
        Token { bytes: bytes.to_vec(), start, end, probability: 0.5 }
    }

    #[test]
    fn tokens_join_at_leading_spaces_and_split_characters_become_whole() {
        let tokens = [
            token(b" Hel", 0.0, 0.2),
            token(b"lo", 0.2, 0.4),
            token(b",", 0.4, 0.4),
            token(b" \xe0\xa4", 0.5, 0.6),
            token(b"\xa8", 0.6, 0.7),
            token(b" ", 0.7, 0.8),
        ];
        let words: Vec<_> =
            join(&tokens).into_iter().map(|word| (word.text, word.start, word.end)).collect();
        assert_eq!(words, [("Hello,".to_owned(), 0.0, 0.4), ("न".to_owned(), 0.5, 0.7)]);
    }

    #[test]
    fn no_tokens_give_no_words() {
        assert!(join(&[]).is_empty());
    }
}
