//! The languages that Whisper models know, and how people write their names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One of Whisper's languages. Serialised as its code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u8);

/// The text does not name a language that Whisper knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown language {0:?}: give an ISO 639-1 code such as `en` or `hi`, or an English name such as `hindi`"
)]
pub struct UnknownLanguage(pub String);

impl Language {
    /// English, the target of translation.
    pub const ENGLISH: Self = Self(0);

    /// Reads an ISO 639-1 code (`hi`), a tag with a region (`en-GB`) or an English name (`Hindi`).
    ///
    /// # Errors
    /// [`UnknownLanguage`] if it is not one of Whisper's languages.
    pub fn parse(text: &str) -> Result<Self, UnknownLanguage> {
        let wanted = text.trim().to_lowercase();
        let code = wanted.split(['-', '_']).next().unwrap_or_default();
        let code = ALIASES
            .iter()
            .find(|(alias, _)| *alias == code || *alias == wanted)
            .map_or(code, |(_, code)| code);
        LANGUAGES
            .iter()
            .position(|(own, name)| *own == code || *name == wanted)
            .map(|index| Self(index as u8))
            .ok_or_else(|| UnknownLanguage(text.chars().take(40).collect()))
    }

    /// Its index among the languages of Whisper's vocabulary.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Whether its script separates words with spaces.
    pub fn has_spaces(self) -> bool {
        !matches!(self.code(), "zh" | "ja" | "th" | "lo" | "my" | "yue" | "km" | "bo")
    }

    /// The language that a model without this one takes it for: Chinese for Cantonese, which was
    /// added in large-v3.
    pub fn macrolanguage(self) -> Option<Self> {
        (self.code() == "yue").then(|| Self::parse("zh").ok()).flatten()
    }

    /// Whisper's code: ISO 639-1, except for `yue`, `haw` and the old `jw`.
    pub fn code(self) -> &'static str {
        LANGUAGES[usize::from(self.0)].0
    }

    /// The English name in lower case, as in OpenAI's `verbose_json`.
    pub fn name(self) -> &'static str {
        LANGUAGES[usize::from(self.0)].1
    }

    /// All languages, in the order of Whisper's vocabulary.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANGUAGES.len()).map(|index| Self(index as u8))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Language({})", self.code())
    }
}

impl std::str::FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&code).map_err(serde::de::Error::custom)
    }
}

/// Codes that people use for languages that Whisper lists under another code.
const ALIASES: &[(&str, &str)] = &[
    ("jv", "jw"),
    ("nb", "no"),
    ("fil", "tl"),
    ("iw", "he"),
    ("cmn", "zh"),
    ("mandarin", "zh"),
    ("farsi", "fa"),
    ("castilian", "es"),
    ("flemish", "nl"),
    ("burmese", "my"),
    ("valencian", "ca"),
    ("moldavian", "ro"),
    ("pushto", "ps"),
    ("sinhalese", "si"),
    ("haitian", "ht"),
    ("letzeburgesch", "lb"),
];

/// Codes and English names in the order of the multilingual vocabulary of openai/whisper
/// (`whisper/tokenizer.py`, v20250625), which is also whisper.cpp's numbering.
#[rustfmt::skip] // several a line
const LANGUAGES: &[(&str, &str)] = &[
    ("en", "english"), ("zh", "chinese"), ("de", "german"), ("es", "spanish"), ("ru", "russian"),
    ("ko", "korean"), ("fr", "french"), ("ja", "japanese"), ("pt", "portuguese"), ("tr", "turkish"),
    ("pl", "polish"), ("ca", "catalan"), ("nl", "dutch"), ("ar", "arabic"), ("sv", "swedish"),
    ("it", "italian"), ("id", "indonesian"), ("hi", "hindi"), ("fi", "finnish"),
    ("vi", "vietnamese"), ("he", "hebrew"), ("uk", "ukrainian"), ("el", "greek"), ("ms", "malay"),
    ("cs", "czech"), ("ro", "romanian"), ("da", "danish"), ("hu", "hungarian"), ("ta", "tamil"),
    ("no", "norwegian"), ("th", "thai"), ("ur", "urdu"), ("hr", "croatian"), ("bg", "bulgarian"),
    ("lt", "lithuanian"), ("la", "latin"), ("mi", "maori"), ("ml", "malayalam"), ("cy", "welsh"),
    ("sk", "slovak"), ("te", "telugu"), ("fa", "persian"), ("lv", "latvian"), ("bn", "bengali"),
    ("sr", "serbian"), ("az", "azerbaijani"), ("sl", "slovenian"), ("kn", "kannada"),
    ("et", "estonian"), ("mk", "macedonian"), ("br", "breton"), ("eu", "basque"),
    ("is", "icelandic"), ("hy", "armenian"), ("ne", "nepali"), ("mn", "mongolian"),
    ("bs", "bosnian"), ("kk", "kazakh"), ("sq", "albanian"), ("sw", "swahili"), ("gl", "galician"),
    ("mr", "marathi"), ("pa", "punjabi"), ("si", "sinhala"), ("km", "khmer"), ("sn", "shona"),
    ("yo", "yoruba"), ("so", "somali"), ("af", "afrikaans"), ("oc", "occitan"), ("ka", "georgian"),
    ("be", "belarusian"), ("tg", "tajik"), ("sd", "sindhi"), ("gu", "gujarati"), ("am", "amharic"),
    ("yi", "yiddish"), ("lo", "lao"), ("uz", "uzbek"), ("fo", "faroese"), ("ht", "haitian creole"),
    ("ps", "pashto"), ("tk", "turkmen"), ("nn", "nynorsk"), ("mt", "maltese"), ("sa", "sanskrit"),
    ("lb", "luxembourgish"), ("my", "myanmar"), ("bo", "tibetan"), ("tl", "tagalog"),
    ("mg", "malagasy"), ("as", "assamese"), ("tt", "tatar"), ("haw", "hawaiian"), ("ln", "lingala"),
    ("ha", "hausa"), ("ba", "bashkir"), ("jw", "javanese"), ("su", "sundanese"),
    ("yue", "cantonese"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_regions_names_and_aliases_are_understood() {
        for (text, code) in [
            ("en", "en"),
            ("EN", "en"),
            ("en-GB", "en"),
            ("pt_BR", "pt"),
            (" Hindi ", "hi"),
            ("jv", "jw"),
            ("Mandarin", "zh"),
            ("yue", "yue"),
            ("haitian creole", "ht"),
        ] {
            assert_eq!(Language::parse(text).map(Language::code), Ok(code), "{text}");
        }
    }

    #[test]
    fn cantonese_is_chinese_to_a_model_that_does_not_know_it() {
        let code = |text| Language::parse(text).unwrap().macrolanguage().map(Language::code);
        assert_eq!((code("yue"), code("zh")), (Some("zh"), None));
    }

    #[test]
    fn unknown_languages_are_refused() {
        for text in ["", "xx", "klingon", "en\0", "e", "english please"] {
            assert!(Language::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_alias_leads_to_a_language() {
        for (alias, _) in ALIASES {
            assert!(Language::parse(alias).is_ok(), "{alias}");
        }
    }
}
