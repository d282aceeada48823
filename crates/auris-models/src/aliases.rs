//! Other names for models, which clients written for another service send.

use std::fmt;
use std::str::FromStr;

/// The model that stands for the choice by language.
const BY_LANGUAGE: &str = "auto";

/// OpenAI's names. What they ask for is a good transcript, which the routing table gives.
const OPENAI: [&str; 7] = [
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "whisper-large-v3-turbo",
];

/// A table from names to models. A model of the server goes before an alias of the same name.
///
/// As text: `gpt-4o-transcribe=medium,fast=tiny,whisper-1=auto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAliases(Vec<(String, AliasTarget)>);

/// What an alias stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasTarget {
    /// The model that the routing table has for the language.
    ByLanguage,
    /// The model of this name.
    Model(String),
}

/// What is wrong with a table of aliases.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AliasError {
    /// An entry without `=`, or with nothing on one side of it.
    #[error("model alias `{0}` is not of the form NAME=MODEL, such as `gpt-4o-transcribe=medium`")]
    Form(String),
    /// Two entries for one name.
    #[error("two model aliases are called `{0}`: keep one")]
    Twice(String),
}

impl ModelAliases {
    /// What `name` stands for, in any case; `None` if it is not an alias. No name at all leaves
    /// the choice to the routing table.
    pub fn resolve(&self, name: &str) -> Option<&AliasTarget> {
        let name = name.trim();
        if name.is_empty() {
            return Some(&AliasTarget::ByLanguage);
        }
        self.0.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, target)| target)
    }

    /// The aliases of single models, each with its model, which a server has to run.
    pub fn of_models(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, target)| match target {
            AliasTarget::Model(model) => Some((name.as_str(), model.as_str())),
            AliasTarget::ByLanguage => None,
        })
    }
}

impl Default for ModelAliases {
    /// OpenAI's names, each for the choice by language.
    fn default() -> Self {
        Self(OPENAI.map(|name| (name.to_owned(), AliasTarget::ByLanguage)).into())
    }
}

impl FromStr for ModelAliases {
    type Err = AliasError;

    /// Reads entries that are added to the default ones, or replace them.
    fn from_str(text: &str) -> Result<Self, AliasError> {
        let mut given: Vec<(String, AliasTarget)> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, model) = entry
                .split_once('=')
                .map(|(name, model)| (name.trim(), model.trim()))
                .filter(|(name, model)| !name.is_empty() && !model.is_empty())
                .ok_or_else(|| AliasError::Form(entry.to_owned()))?;
            if given.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                return Err(AliasError::Twice(name.to_owned()));
            }
            let target = match model {
                BY_LANGUAGE => AliasTarget::ByLanguage,
                _ => AliasTarget::Model(model.to_owned()),
            };
            given.push((name.to_owned(), target));
        }
        let Self(defaults) = Self::default();
        let replaced = |name: &str| given.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let kept: Vec<_> = defaults.into_iter().filter(|(name, _)| !replaced(name)).collect();
        given.extend(kept);
        Ok(Self(given))
    }
}

impl fmt::Display for ModelAliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, target)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let model = match target {
                AliasTarget::ByLanguage => BY_LANGUAGE,
                AliasTarget::Model(model) => model,
            };
            write!(f, "{comma}{name}={model}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_names_are_routed_by_language() {
        let aliases = ModelAliases::default();
        for name in ["", " ", "whisper-1", "gpt-4o-transcribe", "GPT-Transcribe"] {
            assert_eq!(aliases.resolve(name), Some(&AliasTarget::ByLanguage), "{name:?}");
        }
        assert_eq!(aliases.resolve("tiny"), None);
        assert_eq!(aliases.resolve("gpt-5"), None);
    }

    #[test]
    fn given_aliases_join_and_replace_the_default_ones() {
        let aliases: ModelAliases = "fast=tiny, whisper-1 = medium,other=auto".parse().unwrap();
        let model = |name: &str| AliasTarget::Model(name.to_owned());
        assert_eq!(aliases.resolve("fast"), Some(&model("tiny")));
        assert_eq!(aliases.resolve("whisper-1"), Some(&model("medium")));
        assert_eq!(aliases.resolve("other"), Some(&AliasTarget::ByLanguage));
        assert_eq!(aliases.resolve("gpt-transcribe"), Some(&AliasTarget::ByLanguage));
        let of_models: Vec<_> = aliases.of_models().collect();
        assert_eq!(of_models, [("fast", "tiny"), ("whisper-1", "medium")]);
        assert_eq!(aliases.to_string().parse(), Ok(aliases));
    }

    #[test]
    fn tables_that_cannot_be_meant_are_refused() {
        for text in ["fast", "=tiny", "fast="] {
            assert_eq!(text.parse::<ModelAliases>(), Err(AliasError::Form(text.to_owned())));
        }
        let twice = Err(AliasError::Twice("FAST".to_owned()));
        assert_eq!("fast=tiny,FAST=medium".parse::<ModelAliases>(), twice);
    }
}
