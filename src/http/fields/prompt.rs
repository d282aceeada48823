//! `prompt`, `keywords[]` and `hotwords`: what the model should expect.

use super::reader::{Fields, Value};
use crate::http::error::ApiError;

/// Bounds of keywords. The engine keeps the last 1000 characters of a prompt, so that no keyword
/// within them is lost.
const MAX_KEYWORDS: usize = 100;
const MAX_KEYWORD_CHARS: usize = 100;
const MAX_CHARS_TOGETHER: usize = 1_000;

/// The prompt with the keywords behind it: of a long prompt the engine keeps the end.
pub(in crate::http) fn prompt(fields: &mut Fields<'_>) -> Result<Option<String>, ApiError> {
    let prompt = fields.one("prompt")?.map(|value| value.text);
    let mut keywords = fields.list("keywords");
    if let Some(hotwords) = fields.one("hotwords")? {
        keywords.extend(words(&hotwords));
    }
    let mut together = String::new();
    for (count, keyword) in keywords.iter().enumerate() {
        if count >= MAX_KEYWORDS {
            return Err(keyword.wrong(format!("there are more than {MAX_KEYWORDS} keywords")));
        }
        if keyword.text.chars().count() > MAX_KEYWORD_CHARS {
            let message = format!("a keyword is longer than {MAX_KEYWORD_CHARS} characters");
            return Err(keyword.wrong(message));
        }
        if count > 0 {
            together.push_str(", ");
        }
        together.push_str(&keyword.text);
        if together.chars().count() > MAX_CHARS_TOGETHER {
            let message = format!(
                "the keywords have more than {MAX_CHARS_TOGETHER} characters together, and the \
                 model would not hear of the first: keep those that matter most"
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

/// The words of a text, with commas between them or else spaces.
fn words(hotwords: &Value) -> Vec<Value> {
    let text = hotwords.text.as_str();
    let words: Vec<&str> = match text.contains(',') {
        true => text.split(',').map(str::trim).collect(),
        false => text.split_whitespace().collect(),
    };
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.map(|word| Value { field: hotwords.field.clone(), text: word.to_owned() }).collect()
}
