//! Which model transcribes a language when the caller names none.
//!
//! Pure: a table and the list of loaded models in, one of them out.

use std::fmt;
use std::str::FromStr;

use super::store::ModelFile;
use auris_core::language::Language;

/// The languages of the Eighth Schedule of India's constitution that Whisper knows. The others
/// of the 22 (Bodo, Dogri, Kashmiri, Konkani, Maithili, Manipuri, Odia, Santali) it does not;
/// Sinhala and Tibetan are not in the schedule and go to the default.
pub const INDIAN_LANGUAGES: [&str; 14] =
    ["as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "sa", "sd", "ta", "te", "ur"];

/// A table from languages to model names, with a default for the languages that it does not name.
///
/// As text: `en=tiny,hi+ta+te=medium,*=medium`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    rules: Vec<(Language, String)>,
    default: String,
}

/// What is wrong with a routing table's text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoutingError {
    /// A rule without `=`, or with nothing on one side of it.
    #[error("routing rule `{0}` is not of the form LANGUAGE=MODEL, such as `hi+ta=medium`")]
    Form(String),
    /// A rule for a language that Whisper does not know.
    #[error("routing rule `{rule}`: {source}")]
    Language { rule: String, source: auris_core::language::UnknownLanguage },
    /// Two rules for one language.
    #[error("the routing table names two models for `{0}`: keep one")]
    Twice(String),
    /// No rule for the other languages.
    #[error("the routing table has no model for other languages: add `*=MODEL`")]
    NoDefault,
}

impl Routing {
    /// The model for speech in `language` among those that are `loaded`; `None` if none is.
    ///
    /// The table's model if it is loaded and knows the language, else a variant of the same size
    /// (`tiny.en-q5_1` for `tiny`), else the first that knows the language, else the first
    /// multilingual one. So a model for English alone gets another language only where every
    /// loaded model is for English alone.
    pub fn route<'a>(&self, language: Language, loaded: &'a [ModelFile]) -> Option<&'a ModelFile> {
        let wanted = self.target(language);
        let rank = |model: &&ModelFile| {
            if !model.languages.covers(language) {
                if model.languages.is_multilingual() { 3 } else { 4 }
            } else if model.name == wanted {
                0
            } else if family(&model.name) == family(wanted) {
                1
            } else {
                2
            }
        };
        loaded.iter().min_by_key(rank)
    }

    /// The models that the table names, each once, so that a caller can find those not loaded.
    pub fn targets(&self) -> Vec<&str> {
        let mut targets: Vec<&str> = self.rules.iter().map(|(_, model)| model.as_str()).collect();
        targets.push(&self.default);
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    fn target(&self, language: Language) -> &str {
        let rule = self.rules.iter().find(|(own, _)| *own == language);
        rule.map_or(&self.default, |(_, model)| model)
    }
}

/// The model that detects the spoken language: the first multilingual one. `None` if all are for
/// English alone.
pub fn detector(loaded: &[ModelFile]) -> Option<&ModelFile> {
    loaded.iter().find(|model| model.languages.is_multilingual())
}

impl Default for Routing {
    /// `tiny` for English, where it is good enough to be the fastest, `medium` for the rest.
    fn default() -> Self {
        let indian = INDIAN_LANGUAGES.iter().filter_map(|code| Language::parse(code).ok());
        let mut rules: Vec<_> = indian.map(|language| (language, "medium".to_owned())).collect();
        rules.insert(0, (Language::ENGLISH, "tiny".to_owned()));
        Self { rules, default: "medium".to_owned() }
    }
}

impl FromStr for Routing {
    type Err = RoutingError;

    fn from_str(text: &str) -> Result<Self, RoutingError> {
        let mut rules: Vec<(Language, String)> = Vec::new();
        let mut default = None;
        for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            let (languages, model) = rule
                .split_once('=')
                .map(|(languages, model)| (languages.trim(), model.trim()))
                .filter(|(languages, model)| !languages.is_empty() && !model.is_empty())
                .ok_or_else(|| RoutingError::Form(rule.to_owned()))?;
            for language in languages.split('+').map(str::trim) {
                if language == "*" {
                    if default.replace(model.to_owned()).is_some() {
                        return Err(RoutingError::Twice("*".to_owned()));
                    }
                    continue;
                }
                let language = Language::parse(language)
                    .map_err(|source| RoutingError::Language { rule: rule.to_owned(), source })?;
                if rules.iter().any(|(own, _)| *own == language) {
                    return Err(RoutingError::Twice(language.to_string()));
                }
                rules.push((language, model.to_owned()));
            }
        }
        Ok(Self { rules, default: default.ok_or(RoutingError::NoDefault)? })
    }
}

impl fmt::Display for Routing {
    /// The text that [`Routing::from_str`] reads, with neighbours of the same model joined.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rules in self.rules.chunk_by(|(_, one), (_, other)| one == other) {
            let codes: Vec<_> = rules.iter().map(|(language, _)| language.code()).collect();
            write!(f, "{}={},", codes.join("+"), rules[0].1)?;
        }
        write!(f, "*={}", self.default)
    }
}

/// The size of a model by its name: `tiny` for `tiny.en-q5_1`.
fn family(name: &str) -> &str {
    let whole = name.split_once("-q").map_or(name, |(whole, _)| whole);
    whole.strip_suffix(".en").unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::super::registry;
    use super::*;

    fn loaded(names: &[&str]) -> Vec<ModelFile> {
        let entries = names.iter().map(|name| registry::find(name).unwrap());
        entries.map(|entry| entry.file_at(entry.file_name.into())).collect()
    }

    fn check(routing: &str, names: &[&str], cases: &[(&str, &str)]) {
        let (routing, loaded) = (routing.parse::<Routing>().unwrap(), loaded(names));
        for (language, expected) in cases {
            let chosen = routing.route(Language::parse(language).unwrap(), &loaded).unwrap();
            assert_eq!(chosen.name, *expected, "{language} of {names:?}");
        }
    }

    #[test]
    fn english_goes_to_tiny_and_indian_languages_to_medium() {
        let default = Routing::default();
        insta::assert_snapshot!(default, @"en=tiny,as+bn+gu+hi+kn+ml+mr+ne+pa+sa+sd+ta+te+ur=medium,*=medium");
        let other = default.to_string().replace("*=medium", "*=small");
        let indian = ["hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa", "ur", "as", "ne"];
        let cases: Vec<_> = indian.iter().map(|language| (*language, "medium")).collect();
        check(&other, &["tiny", "small", "medium"], &cases);
        check(
            &other,
            &["medium", "tiny", "small"],
            &[("en", "tiny"), ("fr", "small"), ("si", "small")],
        );
    }

    #[test]
    fn a_model_that_is_not_loaded_is_replaced_by_its_variant_first() {
        let table = "en=tiny,*=medium";
        check(table, &["base", "tiny.en-q5_1"], &[("en", "tiny.en-q5_1"), ("hi", "base")]);
        check(table, &["tiny", "medium-q5_0"], &[("hi", "medium-q5_0")]);
        check("*=large-v3", &["large-v3-turbo", "large-v3-q5_0"], &[("fr", "large-v3-q5_0")]);
        check(table, &["small", "base"], &[("hi", "small")]);
    }

    #[test]
    fn a_model_for_english_alone_gets_other_languages_only_if_nothing_else_is_loaded() {
        let table = "en=tiny,hi=medium.en,*=medium.en";
        check(table, &["medium.en", "tiny"], &[("hi", "tiny"), ("fr", "tiny"), ("en", "tiny")]);
        check(table, &["medium.en"], &[("fr", "medium.en")]);
    }

    #[test]
    fn cantonese_goes_to_a_model_that_has_it() {
        check("*=medium", &["medium", "large-v3"], &[("yue", "large-v3"), ("zh", "medium")]);
    }

    #[test]
    fn nothing_loaded_routes_nowhere() {
        assert_eq!(Routing::default().route(Language::ENGLISH, &[]), None);
    }

    #[test]
    fn the_first_multilingual_model_detects_the_language() {
        let of = |names: &[&str]| detector(&loaded(names)).map(|model| model.name.clone());
        assert_eq!(of(&["tiny.en", "base", "tiny"]).as_deref(), Some("base"));
        assert_eq!(of(&["tiny.en"]), None);
    }

    #[test]
    fn a_table_with_mistakes_is_refused_with_the_place() {
        let refusal = |text: &str| text.parse::<Routing>().expect_err("refused").to_string();
        insta::assert_snapshot!(refusal("en"), @"routing rule `en` is not of the form LANGUAGE=MODEL, such as `hi+ta=medium`");
        insta::assert_snapshot!(refusal("en=,*=tiny"), @"routing rule `en=` is not of the form LANGUAGE=MODEL, such as `hi+ta=medium`");
        insta::assert_snapshot!(refusal("hi+xx=medium,*=tiny"), @r#"routing rule `hi+xx=medium`: unknown language "xx": give an ISO 639 code such as `en` or `hin`, or an English name such as `hindi`"#);
        insta::assert_snapshot!(refusal("hi=tiny,hindi=medium,*=tiny"), @"the routing table names two models for `hi`: keep one");
        insta::assert_snapshot!(refusal("*=tiny,*=medium"), @"the routing table names two models for `*`: keep one");
        insta::assert_snapshot!(refusal("en=tiny"), @"the routing table has no model for other languages: add `*=MODEL`");
        insta::assert_snapshot!(refusal(""), @"the routing table has no model for other languages: add `*=MODEL`");
    }

    #[test]
    fn a_tables_text_reads_back_as_itself() {
        for text in ["*=tiny", "en=tiny,hi+ta=medium,*=base", "en=a,hi=b,ta=a,*=a"] {
            assert_eq!(text.parse::<Routing>().unwrap().to_string(), text);
        }
        let spaced: Routing = " Hindi + ta = medium , * = tiny ,".parse().unwrap();
        assert_eq!(spaced.to_string(), "hi+ta=medium,*=tiny");
        assert_eq!(spaced.targets(), ["medium", "tiny"]);
    }
}
