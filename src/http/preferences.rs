//! How a client wants the response: RFC 7240's `Prefer`, and `Idempotency-Key`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::error::ApiError;

/// The path under which every request is a job.
pub(super) const JOBS_PATH: &str = "/v1/jobs";

/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The IETF's draft of that name.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most characters of an idempotency key.
const MAX_KEY_CHARS: usize = 255;

/// How a client wants the response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Preferences {
    /// A job at once, instead of a transcript later.
    pub(super) respond_async: bool,
    /// Whether the client itself asked for that.
    pub(super) is_preferred: bool,
    /// How long it would wait for the transcript all the same.
    pub(super) wait: Option<Duration>,
    /// Its name for the request: the same one makes no second job.
    pub(super) idempotency_key: Option<String>,
}

impl Preferences {
    /// Reads the headers. Unknown preferences are ignored, as RFC 7240 requires.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut preferences = Self::default();
        let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => {
                    (preferences.respond_async, preferences.is_preferred) = (true, true);
                }
                "wait" => {
                    let seconds = value.trim().trim_matches('"').parse().ok();
                    preferences.wait = seconds.map(Duration::from_secs);
                }
                _ => {}
            }
        }
        preferences.idempotency_key = idempotency_key(headers)?;
        Ok(preferences)
    }

    /// Whether the request outlives its client.
    pub(super) fn is_durable(&self) -> bool {
        self.respond_async || self.idempotency_key.is_some()
    }
}

impl IntoParams for Preferences {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = |name: &str, description: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(description))
                .schema(Some(schema.schema_type(Type::String)))
                .build()
        };
        vec![
            header(
                "Prefer",
                "`respond-async` returns a job instead of the transcript; with `wait=10`, only if \
                 the transcript takes longer than 10 seconds. `/v1/jobs` always responds so",
                ObjectBuilder::new().examples(["respond-async, wait=10"]),
            ),
            header(
                "Idempotency-Key",
                "Your name for the request, such as a UUID. The request then continues without \
                 you, and sending it again returns the same response without new work",
                ObjectBuilder::new()
                    .min_length(Some(1))
                    .max_length(Some(MAX_KEY_CHARS))
                    .pattern(Some("^[!#-~]+$")),
            ),
        ]
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refused = || {
        let message = format!(
            "the header Idempotency-Key must be one text of 1 to {MAX_KEY_CHARS} ASCII characters, \
             such as a UUID"
        );
        ApiError::bad_field("Idempotency-Key", message)
    };
    let key = value.to_str().map_err(|_| refused())?.trim().trim_matches('"');
    if values.next().is_some() || key.is_empty() || key.len() > MAX_KEY_CHARS {
        return Err(refused());
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Preferences, ApiError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        Preferences::read(&map)
    }

    #[test]
    fn preferences_come_in_one_header_or_in_several() {
        let wanted = Preferences {
            respond_async: true,
            is_preferred: true,
            wait: Some(Duration::from_secs(5)),
            idempotency_key: None,
        };
        assert_eq!(read(&[("prefer", "Respond-Async, wait=5, x=y")]).unwrap(), wanted);
        assert_eq!(read(&[("prefer", "wait=\"5\""), ("prefer", "respond-async")]).unwrap(), wanted);
        assert_eq!(read(&[("prefer", "return=minimal")]).unwrap(), Preferences::default());
    }

    #[test]
    fn an_idempotency_key_is_one_short_text() {
        let key = |value: &str| read(&[("idempotency-key", value)]).map(|own| own.idempotency_key);
        assert_eq!(key("\"8e03978e\"").unwrap().as_deref(), Some("8e03978e"));
        assert!(key("").is_err() && key(" ").is_err() && key(&"k".repeat(256)).is_err());
        assert!(read(&[("idempotency-key", "a"), ("idempotency-key", "b")]).is_err());
    }
}
