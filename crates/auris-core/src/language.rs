//! The languages that Whisper models know, and how people write their names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One of Whisper's languages. Serialised as its code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u8);

/// The text does not name a language that Whisper knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown language {0:?}: give an ISO 639 code such as `en` or `hin`, or an English name such as `hindi`"
)]
pub struct UnknownLanguage(pub String);

impl Language {
    /// English, the target of translation.
    pub const ENGLISH: Self = Self(0);

    /// Reads an ISO 639 code of two or three letters (`hi`, `hin`, `ger`), a tag with a region or
    /// script (`en-GB`, `zh-Hans`) or an English name (`Hindi`), in any case.
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
            .position(|(own, iso, name)| *own == code || *iso == code || *name == wanted)
            .map(|index| Self(index as u8))
            .ok_or_else(|| UnknownLanguage(text.chars().take(40).collect()))
    }

    /// Reads what clients send for the spoken language: as [`Language::parse`], or `None` for
    /// `auto` and `und` (ISO 639 for undetermined), which leave it to detection.
    ///
    /// # Errors
    /// [`UnknownLanguage`] if it is neither.
    pub fn parse_or_detect(text: &str) -> Result<Option<Self>, UnknownLanguage> {
        let is_detect = ["auto", "und"].iter().any(|word| text.trim().eq_ignore_ascii_case(word));
        if is_detect { Ok(None) } else { Self::parse(text).map(Some) }
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
        LANGUAGES[usize::from(self.0)].2
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

/// Codes and names that people use for languages that the table lists under others: ISO 639-2/B,
/// codes that ISO has withdrawn but Java sends (`in`, `iw`, `ji`), members of macrolanguages, and
/// other English names.
const ALIASES: &[(&str, &str)] = &[
    ("alb", "sq"),
    ("arm", "hy"),
    ("baq", "eu"),
    ("bur", "my"),
    ("chi", "zh"),
    ("cze", "cs"),
    ("dut", "nl"),
    ("fre", "fr"),
    ("geo", "ka"),
    ("ger", "de"),
    ("gre", "el"),
    ("ice", "is"),
    ("mac", "mk"),
    ("mao", "mi"),
    ("may", "ms"),
    ("per", "fa"),
    ("rum", "ro"),
    ("slo", "sk"),
    ("tib", "bo"),
    ("wel", "cy"),
    ("in", "id"),
    ("iw", "he"),
    ("ji", "yi"),
    ("jv", "jw"),
    ("mo", "ro"),
    ("mol", "ro"),
    ("scc", "sr"),
    ("scr", "hr"),
    ("arb", "ar"),
    ("cmn", "zh"),
    ("ekk", "et"),
    ("fil", "tl"),
    ("lvs", "lv"),
    ("nb", "no"),
    ("nob", "no"),
    ("pes", "fa"),
    ("swh", "sw"),
    ("zsm", "ms"),
    ("bangla", "bn"),
    ("bokmål", "no"),
    ("burmese", "my"),
    ("castilian", "es"),
    ("farsi", "fa"),
    ("filipino", "tl"),
    ("flemish", "nl"),
    ("haitian", "ht"),
    ("letzeburgesch", "lb"),
    ("mandarin", "zh"),
    ("moldavian", "ro"),
    ("norwegian bokmål", "no"),
    ("norwegian nynorsk", "nn"),
    ("panjabi", "pa"),
    ("pushto", "ps"),
    ("sinhalese", "si"),
    ("slovene", "sl"),
    ("valencian", "ca"),
];

/// Whisper's code, the ISO 639-2/T code and the English name of each language, in the order of the
/// multilingual vocabulary of openai/whisper (`whisper/tokenizer.py`, v20250625), which is also
/// whisper.cpp's numbering.
const LANGUAGES: &[(&str, &str, &str)] = &[
    ("en", "eng", "english"),
    ("zh", "zho", "chinese"),
    ("de", "deu", "german"),
    ("es", "spa", "spanish"),
    ("ru", "rus", "russian"),
    ("ko", "kor", "korean"),
    ("fr", "fra", "french"),
    ("ja", "jpn", "japanese"),
    ("pt", "por", "portuguese"),
    ("tr", "tur", "turkish"),
    ("pl", "pol", "polish"),
    ("ca", "cat", "catalan"),
    ("nl", "nld", "dutch"),
    ("ar", "ara", "arabic"),
    ("sv", "swe", "swedish"),
    ("it", "ita", "italian"),
    ("id", "ind", "indonesian"),
    ("hi", "hin", "hindi"),
    ("fi", "fin", "finnish"),
    ("vi", "vie", "vietnamese"),
    ("he", "heb", "hebrew"),
    ("uk", "ukr", "ukrainian"),
    ("el", "ell", "greek"),
    ("ms", "msa", "malay"),
    ("cs", "ces", "czech"),
    ("ro", "ron", "romanian"),
    ("da", "dan", "danish"),
    ("hu", "hun", "hungarian"),
    ("ta", "tam", "tamil"),
    ("no", "nor", "norwegian"),
    ("th", "tha", "thai"),
    ("ur", "urd", "urdu"),
    ("hr", "hrv", "croatian"),
    ("bg", "bul", "bulgarian"),
    ("lt", "lit", "lithuanian"),
    ("la", "lat", "latin"),
    ("mi", "mri", "maori"),
    ("ml", "mal", "malayalam"),
    ("cy", "cym", "welsh"),
    ("sk", "slk", "slovak"),
    ("te", "tel", "telugu"),
    ("fa", "fas", "persian"),
    ("lv", "lav", "latvian"),
    ("bn", "ben", "bengali"),
    ("sr", "srp", "serbian"),
    ("az", "aze", "azerbaijani"),
    ("sl", "slv", "slovenian"),
    ("kn", "kan", "kannada"),
    ("et", "est", "estonian"),
    ("mk", "mkd", "macedonian"),
    ("br", "bre", "breton"),
    ("eu", "eus", "basque"),
    ("is", "isl", "icelandic"),
    ("hy", "hye", "armenian"),
    ("ne", "nep", "nepali"),
    ("mn", "mon", "mongolian"),
    ("bs", "bos", "bosnian"),
    ("kk", "kaz", "kazakh"),
    ("sq", "sqi", "albanian"),
    ("sw", "swa", "swahili"),
    ("gl", "glg", "galician"),
    ("mr", "mar", "marathi"),
    ("pa", "pan", "punjabi"),
    ("si", "sin", "sinhala"),
    ("km", "khm", "khmer"),
    ("sn", "sna", "shona"),
    ("yo", "yor", "yoruba"),
    ("so", "som", "somali"),
    ("af", "afr", "afrikaans"),
    ("oc", "oci", "occitan"),
    ("ka", "kat", "georgian"),
    ("be", "bel", "belarusian"),
    ("tg", "tgk", "tajik"),
    ("sd", "snd", "sindhi"),
    ("gu", "guj", "gujarati"),
    ("am", "amh", "amharic"),
    ("yi", "yid", "yiddish"),
    ("lo", "lao", "lao"),
    ("uz", "uzb", "uzbek"),
    ("fo", "fao", "faroese"),
    ("ht", "hat", "haitian creole"),
    ("ps", "pus", "pashto"),
    ("tk", "tuk", "turkmen"),
    ("nn", "nno", "nynorsk"),
    ("mt", "mlt", "maltese"),
    ("sa", "san", "sanskrit"),
    ("lb", "ltz", "luxembourgish"),
    ("my", "mya", "myanmar"),
    ("bo", "bod", "tibetan"),
    ("tl", "tgl", "tagalog"),
    ("mg", "mlg", "malagasy"),
    ("as", "asm", "assamese"),
    ("tt", "tat", "tatar"),
    ("haw", "haw", "hawaiian"),
    ("ln", "lin", "lingala"),
    ("ha", "hau", "hausa"),
    ("ba", "bak", "bashkir"),
    ("jw", "jav", "javanese"),
    ("su", "sun", "sundanese"),
    ("yue", "yue", "cantonese"),
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
            ("ENGLISH", "en"),
            ("deu", "de"),
            ("ger", "de"),
            ("zho", "zh"),
            ("chi", "zh"),
            ("FRE", "fr"),
            ("in", "id"),
            ("iw_IL", "he"),
            ("ji", "yi"),
            ("zh-Hans-CN", "zh"),
            ("eng-US", "en"),
            ("jav", "jw"),
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
    fn auto_and_und_leave_the_language_to_detection() {
        for text in ["auto", "und", " AUTO ", "Und"] {
            assert_eq!(Language::parse_or_detect(text), Ok(None), "{text:?}");
        }
        assert_eq!(Language::parse_or_detect("hin"), Language::parse("hi").map(Some));
        assert!(Language::parse_or_detect("undefined").is_err());
    }

    #[test]
    fn no_text_names_two_languages() {
        let texts = LANGUAGES.iter().flat_map(|(code, iso, name)| [code, iso, name]);
        let mut seen = std::collections::HashMap::new();
        for (text, language) in texts.map(|text| (text, Language::parse(text).unwrap())) {
            assert!(seen.insert(text, language).is_none_or(|other| other == language), "{text}");
        }
        let listed =
            |text| LANGUAGES.iter().any(|(code, iso, name)| [code, iso, name].contains(&text));
        assert!(ALIASES.iter().all(|(alias, _)| !listed(alias)));
    }

    #[test]
    fn every_alias_leads_to_a_language() {
        for (alias, _) in ALIASES {
            assert!(Language::parse(alias).is_ok(), "{alias}");
        }
    }
}
