//! Reads the fields of a form or a query by name, and reports the unknown ones.
//!
//! Form encoders write a list as `x[]`, `x[0]` or repeated `x`, and SDKs send unset fields as empty
//! text: here all of them are the field `x`, and empty text is no value.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use strum::VariantNames;

use crate::http::error::ApiError;
use auris_core::recording::{ChannelChoice, TrackChoice};
use auris_format::Format;

/// The most names that are reported, and the most characters of one: proxies limit headers.
const MAX_IGNORED: usize = 20;
const MAX_NAME_CHARS: usize = 40;

/// The most values of a list: more than any field has a use for.
const MAX_VALUES: usize = 1_000;

/// The fields of a request, and which of them have been read.
pub(in crate::http) struct Fields<'a> {
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: &'a str,
    text: &'a str,
    read: bool,
}

/// A field's value, with the name under which it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::http) struct Sent<T = String> {
    pub(in crate::http) field: String,
    /// Text is not empty and has no spaces at its ends.
    pub(in crate::http) value: T,
}

impl<'a> Fields<'a> {
    /// Names and texts as they were sent.
    pub(in crate::http) fn new(pairs: impl IntoIterator<Item = &'a (String, String)>) -> Self {
        let field = |(name, text): &'a (String, String)| Field { name, text, read: false };
        Self { fields: pairs.into_iter().map(field).collect() }
    }

    /// A number in `range`.
    pub(in crate::http) fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(sent) = self.one(name)? else { return Ok(None) };
        match sent.value.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (field, least, most) = (&sent.field, range.start(), range.end());
                Err(sent.wrong(format!("{field} must be a number from {least} to {most}")))
            }
        }
    }

    /// The names of the fields that were not read: each once, safe for a header, and bounded.
    pub(in crate::http) fn ignored(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for field in self.fields.iter().filter(|field| !field.read) {
            let safe = field.name.chars().filter(|c| c.is_ascii_graphic() && *c != ',');
            let name: String = safe.take(MAX_NAME_CHARS).collect();
            if !name.is_empty() && !names.contains(&name) && names.len() < MAX_IGNORED {
                names.push(name);
            }
        }
        names
    }

    fn one(&mut self, name: &str) -> Result<Option<Sent>, ApiError> {
        let mut values = self.take(name);
        match values.pop() {
            Some(sent) if !values.is_empty() => Err(sent.wrong("the field is given twice")),
            sent => Ok(sent),
        }
    }

    /// The values of a field that may have several: sent one by one, or separated by commas.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Sent>, ApiError> {
        let mut list = Vec::new();
        for Sent { field, value } in self.take(name) {
            for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                list.push(Sent { field: field.clone(), value: part.to_owned() });
                if list.len() > MAX_VALUES {
                    let message = format!("{name} has more than {MAX_VALUES} values");
                    return Err(ApiError::bad_field(&field, message));
                }
            }
        }
        Ok(list)
    }

    fn take(&mut self, name: &str) -> Vec<Sent> {
        let name = without_index(name);
        let mut values = Vec::new();
        for field in self.fields.iter_mut().filter(|field| without_index(field.name) == name) {
            field.read = true;
            let text = field.text.trim();
            if !text.is_empty() {
                values.push(Sent { field: field.name.to_owned(), value: text.to_owned() });
            }
        }
        values
    }
}

/// `x` for `x[]` and `x[12]`.
fn without_index(name: &str) -> &str {
    let list = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    match list {
        Some((name, index)) if index.len() < 6 && index.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    }
}

impl<T> Sent<T> {
    /// An error for this value.
    pub(in crate::http) fn wrong(&self, message: impl Into<String>) -> ApiError {
        ApiError::bad_field(&self.field, message)
    }
}

impl Sent {
    pub(super) fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, ApiError> {
        self.value.parse().map_err(|error: T::Err| self.wrong(error.to_string()))
    }

    /// One of the names of an enum's variants.
    pub(in crate::http) fn choice<T: FromStr + VariantNames>(&self) -> Result<T, ApiError> {
        self.value.parse().map_err(|_| {
            let shown: String = self.value.chars().take(MAX_NAME_CHARS).collect();
            let names: Vec<String> = T::VARIANTS.iter().map(|name| format!("`{name}`")).collect();
            let (field, names) = (without_index(&self.field), names.join(" or "));
            self.wrong(format!("unknown {field} {shown:?}: give {names}"))
        })
    }
}

/// A field of a form: an `Option` for one value, a `Vec` for a list.
pub(in crate::http) trait FromFields: Sized {
    fn from_fields(fields: &mut Fields<'_>, name: &str) -> Result<Self, ApiError>;
}

impl<T: FromField> FromFields for Option<T> {
    fn from_fields(fields: &mut Fields<'_>, name: &str) -> Result<Self, ApiError> {
        fields.one(name)?.map(T::from_field).transpose()
    }
}

impl<T: FromField> FromFields for Vec<T> {
    fn from_fields(fields: &mut Fields<'_>, name: &str) -> Result<Self, ApiError> {
        fields.list(name)?.into_iter().map(T::from_field).collect()
    }
}

/// The value of a field.
pub(in crate::http) trait FromField: Sized {
    fn from_field(sent: Sent) -> Result<Self, ApiError>;
}

impl<T: FromField> FromField for Sent<T> {
    fn from_field(sent: Sent) -> Result<Self, ApiError> {
        Ok(Self { field: sent.field.clone(), value: T::from_field(sent)? })
    }
}

impl FromField for String {
    fn from_field(sent: Sent) -> Result<Self, ApiError> {
        Ok(sent.value)
    }
}

impl FromField for bool {
    fn from_field(sent: Sent) -> Result<Self, ApiError> {
        match sent.value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(sent.wrong(format!("{} must be true or false, or 1 or 0", sent.field))),
        }
    }
}

impl FromField for Format {
    fn from_field(sent: Sent) -> Result<Self, ApiError> {
        if sent.value == "diarized_json" {
            return Err(sent.wrong(
                "auris does not distinguish speakers: use response_format=verbose_json for the \
                 text with its times",
            ));
        }
        sent.parse()
    }
}

/// Types whose text is parsed, and enums whose text is the name of a variant.
macro_rules! from_field {
    ($read:ident: $($Type:ty),+) => {$(
        impl $crate::http::fields::FromField for $Type {
            fn from_field(
                sent: $crate::http::fields::Sent,
            ) -> Result<Self, $crate::http::error::ApiError> {
                sent.$read()
            }
        }
    )+};
}
pub(in crate::http) use from_field;

from_field!(parse: TrackChoice, ChannelChoice);

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_list_may_be_written_in_every_way_that_encoders_have() {
        for fields in [
            &[("x[]", "a"), ("x[]", "b")][..],
            &[("x", "a"), ("x", " b ")],
            &[("x[0]", "a"), ("x[1]", "b")],
            &[("x", "a,, b")],
            &[("x", ""), ("x[]", "a"), ("x", "b")],
        ] {
            let pairs = pairs(fields);
            let mut fields = Fields::new(&pairs);
            let texts: Vec<_> =
                fields.list("x").unwrap().into_iter().map(|value| value.value).collect();
            assert_eq!(texts, ["a", "b"], "{pairs:?}");
            assert!(fields.ignored().is_empty());
        }
    }

    #[test]
    fn empty_text_is_no_value() {
        let pairs = pairs(&[("x", " "), ("y", ""), ("y", "1")]);
        let mut fields = Fields::new(&pairs);
        assert_eq!(fields.one("x").unwrap(), None);
        assert_eq!(fields.one("y").unwrap().unwrap().value, "1");
    }

    #[test]
    fn unread_fields_are_reported_once_and_header_safe() {
        let long = "l".repeat(90);
        let pairs = pairs(&[
            ("read", "1"),
            ("new", "1"),
            ("new", "2"),
            ("a\r\nb, c\u{e9}", "1"),
            ("x[y]", "1"),
            (&long, "1"),
            ("\n", "1"),
        ]);
        let mut fields = Fields::new(&pairs);
        let _ = fields.one("read");
        assert_eq!(fields.ignored(), ["new", "abc", "x[y]", &long[..40]]);
    }

    #[test]
    fn no_more_names_are_reported_than_a_proxy_takes() {
        let pairs: Vec<_> = (0..1000).map(|n| (format!("x{n}"), String::new())).collect();
        assert_eq!(Fields::new(&pairs).ignored().len(), MAX_IGNORED);
    }

    #[test]
    fn flags_are_four_words() {
        let flag =
            |text: &str| bool::from_field(Sent { field: "stream".into(), value: text.into() }).ok();
        for (text, expected) in [
            ("true", Some(true)),
            ("True", Some(true)),
            ("1", Some(true)),
            ("FALSE", Some(false)),
            ("0", Some(false)),
            ("yes", None),
            ("2", None),
        ] {
            assert_eq!(flag(text), expected, "{text}");
        }
    }
}
