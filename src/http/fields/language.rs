//! `language` and `languages[]`: what is spoken, or what may be.

use super::reader::{Fields, Value};
use crate::http::error::ApiError;
use auris_core::language::Language;

/// The language if it is given, else the languages that detection may choose from. If both are
/// empty, any language may be detected.
///
/// `language` says what is spoken and `languages[]` what may be; it is an error if they disagree.
pub(in crate::http) fn language(
    fields: &mut Fields<'_>,
) -> Result<(Option<Language>, Vec<Language>), ApiError> {
    let parse = |value: &Value| {
        Language::parse_or_detect(&value.text).map_err(|error| value.wrong(error.to_string()))
    };
    let mut candidates = Vec::new();
    for value in fields.list("languages") {
        let new = parse(&value)?.filter(|candidate| !candidates.contains(candidate));
        candidates.extend(new);
    }
    let given = match fields.one("language")? {
        Some(value) => parse(&value)?.map(|language| (value, language)),
        None => None,
    };
    let Some((value, language)) = given else {
        return Ok(match candidates[..] {
            [only] => (Some(only), Vec::new()),
            _ => (None, candidates),
        });
    };
    if !candidates.is_empty() && !candidates.contains(&language) {
        let message = format!(
            "language {language} is not among languages[]: leave one of the two fields out"
        );
        return Err(value.wrong(message));
    }
    Ok((Some(language), Vec::new()))
}
