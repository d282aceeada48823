//! `language` and `languages[]`: what is spoken, or what may be.

use super::reader::Fields;
use crate::http::error::ApiError;
use auris_core::language::Language;

/// The language if it is given, else the languages that detection may choose from. If both are
/// empty, any language may be detected.
///
/// `language` says what is spoken and `languages[]` what may be; it is an error if they disagree.
pub(in crate::http) fn language(
    fields: &mut Fields<'_>,
) -> Result<(Option<Language>, Vec<Language>), ApiError> {
    let given = fields.one("language")?.filter(|given| !given.text.eq_ignore_ascii_case("auto"));
    let mut candidates = Vec::new();
    for value in fields.list("languages") {
        let candidate: Language = value.parse()?;
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    let Some(given) = given else {
        return Ok(match candidates[..] {
            [only] => (Some(only), Vec::new()),
            _ => (None, candidates),
        });
    };
    let language: Language = given.parse()?;
    if !candidates.is_empty() && !candidates.contains(&language) {
        let message = format!(
            "language {language} is not among languages[]: leave one of the two fields out"
        );
        return Err(given.wrong(message));
    }
    Ok((Some(language), Vec::new()))
}
