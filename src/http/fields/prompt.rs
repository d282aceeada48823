//! `prompt`, `keywords[]` and `hotwords`: what the model should expect.

use super::form::form;
use super::reader::Sent;
use crate::http::error::ApiError;

/// Bounds of keywords. The engine keeps the last 1000 characters of a prompt, so that no keyword
/// within them is lost.
const MAX_KEYWORDS: usize = 100;
const MAX_KEYWORD_CHARS: usize = 100;
const MAX_CHARS_TOGETHER: usize = 1_000;

form! {
    /// What the model should expect.
    pub(in crate::http) struct PromptFields {
        /// Text in the wanted style that could precede the audio. Only the end of a long prompt is
        /// used.
        #[schema(examples("A talk about tea, with Ravi."))]
        prompt: Option<String>,
        /// Words and names to expect: at most 100, of 100 characters each and 1000 together.
        #[schema(value_type = Vec<String>, examples(json!(["Darjeeling", "Ravi"])))]
        keywords as "keywords[]": Vec<Sent>,
        /// The same in one field, separated by commas or else spaces.
        #[schema(value_type = Option<String>, examples("Darjeeling, Ravi"))]
        hotwords: Option<Sent>,
    }
}

impl PromptFields {
    /// The prompt followed by the keywords, since the engine keeps the end of a long prompt.
    pub(super) fn prompt(self) -> Result<Option<String>, ApiError> {
        let Self { prompt, mut keywords, hotwords } = self;
        keywords.extend(hotwords.iter().flat_map(words));
        let mut together = String::new();
        for (count, keyword) in keywords.iter().enumerate() {
            if count >= MAX_KEYWORDS {
                return Err(keyword.wrong(format!("there are more than {MAX_KEYWORDS} keywords")));
            }
            if keyword.value.chars().count() > MAX_KEYWORD_CHARS {
                let message = format!("a keyword is longer than {MAX_KEYWORD_CHARS} characters");
                return Err(keyword.wrong(message));
            }
            if count > 0 {
                together.push_str(", ");
            }
            together.push_str(&keyword.value);
            if together.chars().count() > MAX_CHARS_TOGETHER {
                let message = format!(
                    "the keywords have more than {MAX_CHARS_TOGETHER} characters together, and the \
                     model would ignore the first ones: keep those that matter most"
                );
                return Err(keyword.wrong(message));
            }
        }
        Ok(match prompt {
            Some(prompt) if together.is_empty() => Some(prompt),
            Some(prompt) => Some(format!("{prompt} {together}")),
            None => Some(together).filter(|together| !together.is_empty()),
        })
    }
}

/// The words of a text, separated by commas or else spaces.
fn words(hotwords: &Sent) -> Vec<Sent> {
    let text = hotwords.value.as_str();
    let words: Vec<&str> = if text.contains(',') {
        text.split(',').map(str::trim).collect()
    } else {
        text.split_whitespace().collect()
    };
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.map(|word| Sent { field: hotwords.field.clone(), value: word.to_owned() }).collect()
}
