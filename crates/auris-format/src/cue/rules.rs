//! How subtitles are laid out, as a caller may choose it.

use serde::{Deserialize, Serialize};

/// How subtitles are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CueRules {
    /// The most characters of a line. One that is twice as wide, such as a Chinese one or an emoji,
    /// counts as two; one that is drawn on top of another counts as none.
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
        Self { line_chars: 42, lines: 2, chars_per_second: None }
    }
}

/// Why a rule is refused: its subtitles could not be read.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CueRuleError {
    /// [`CueRules::line_chars`].
    #[error("the most characters of a line must be from 10 to 200, not {0}")]
    LineChars(usize),
    /// [`CueRules::lines`].
    #[error("the most lines of a subtitle must be from 1 to 10, not {0}")]
    Lines(usize),
    /// [`CueRules::chars_per_second`].
    #[error("the most characters for each second must be from 5 to 100, not {0}")]
    CharsPerSecond(f32),
}

impl CueRules {
    /// The rules that are given, and the default for those that are not.
    ///
    /// # Errors
    /// The first that is out of its range.
    pub fn new(
        line_chars: Option<usize>,
        lines: Option<usize>,
        chars_per_second: Option<f32>,
    ) -> Result<Self, CueRuleError> {
        let default = Self::default();
        let line_chars = line_chars.unwrap_or(default.line_chars);
        let lines = lines.unwrap_or(default.lines);
        if !(10..=200).contains(&line_chars) {
            return Err(CueRuleError::LineChars(line_chars));
        }
        if !(1..=10).contains(&lines) {
            return Err(CueRuleError::Lines(lines));
        }
        match chars_per_second {
            Some(rate) if !(5.0..=100.0).contains(&rate) => Err(CueRuleError::CharsPerSecond(rate)),
            _ => Ok(Self { line_chars, lines, chars_per_second }),
        }
    }

    /// The same room for text, all of it in one line, and no more time for it than is spoken.
    pub(crate) fn in_one_line(self) -> Self {
        Self { line_chars: self.line_chars * self.lines, lines: 1, chars_per_second: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_not_given_are_the_default() {
        assert_eq!(CueRules::new(None, None, None), Ok(CueRules::default()));
        let expected = CueRules { line_chars: 20, lines: 2, chars_per_second: Some(15.0) };
        assert_eq!(CueRules::new(Some(20), None, Some(15.0)), Ok(expected));
    }

    #[test]
    fn the_ends_of_each_range_are_in_it() {
        assert!(CueRules::new(Some(10), Some(1), Some(5.0)).is_ok());
        assert!(CueRules::new(Some(200), Some(10), Some(100.0)).is_ok());
    }

    #[test]
    fn an_error_names_the_rule_that_is_wrong() {
        let refusal = |line_chars, lines, rate| {
            CueRules::new(line_chars, lines, rate).map_err(|error| error.to_string()).unwrap_err()
        };
        insta::assert_snapshot!(refusal(Some(9), None, None), @"the most characters of a line must be from 10 to 200, not 9");
        insta::assert_snapshot!(refusal(Some(201), Some(0), None), @"the most characters of a line must be from 10 to 200, not 201");
        insta::assert_snapshot!(refusal(None, Some(0), Some(1.0)), @"the most lines of a subtitle must be from 1 to 10, not 0");
        insta::assert_snapshot!(refusal(None, Some(11), None), @"the most lines of a subtitle must be from 1 to 10, not 11");
        insta::assert_snapshot!(refusal(None, None, Some(4.9)), @"the most characters for each second must be from 5 to 100, not 4.9");
        insta::assert_snapshot!(refusal(None, None, Some(f32::NAN)), @"the most characters for each second must be from 5 to 100, not NaN");
    }
}
