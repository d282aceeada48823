//! A text that grows: pieces that join to exactly what [`Transcript::text`] says at the end.
//!
//! [`Transcript::text`]: auris_core::transcript::Transcript::text

/// Cuts what is added into deltas. Space at the ends of the whole is left out, as it is in the
/// whole text.
#[derive(Debug, Default)]
pub struct Deltas {
    begun: bool,
    /// Space that counts only if more text follows.
    held_back: String,
}

impl Deltas {
    /// What `text` adds to the deltas before it; `None` if that is nothing yet.
    pub fn push(&mut self, text: &str) -> Option<String> {
        let text = if self.begun { text } else { text.trim_start() };
        let visible = text.trim_end();
        let space = &text[visible.len()..];
        if visible.is_empty() {
            self.held_back.push_str(space);
            return None;
        }
        self.begun = true;
        let delta = std::mem::replace(&mut self.held_back, space.to_owned()) + visible;
        Some(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_join_to_the_trimmed_whole() {
        for texts in [
            &[" How", " is it? ", "  ", " Fine.", "\n"][..],
            &["", " ", "\u{3000}今日", "は", ""],
            &["  "],
            &[],
            &["one\u{a0}", "\u{a0}two"],
        ] {
            let mut deltas = Deltas::default();
            let joined: String = texts.iter().filter_map(|text| deltas.push(text)).collect();
            assert_eq!(joined, texts.concat().trim(), "{texts:?}");
        }
    }
}
