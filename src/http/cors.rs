//! Which pages of other origins may use the service from a browser.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::response::HEADERS;

const EVERYONE: &str = "*";

/// How long a browser may cache the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// What a page may read beside the headers of transcripts.
const EXPOSED: [&str; 6] =
    ["retry-after", "location", "x-request-id", "x-job-id", "preference-applied", "x-should-retry"];

#[derive(Debug, Clone)]
pub struct Cors {
    pub(super) layer: CorsLayer,
    pub(super) origins: AllowedOrigins,
}

/// The origins whose pages may use the service; `None` for every one.
#[derive(Debug, Clone)]
pub(super) struct AllowedOrigins(Option<Arc<[HeaderValue]>>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    #[error(
        "`{0}` is not an origin: write scheme, host and port in lower case and nothing behind \
         them, such as https://app.example.org or http://localhost:3000, or * for every origin"
    )]
    NoOrigin(String),
    #[error("* stands for every origin: leave the others out")]
    EveryoneAndMore,
}

impl Cors {
    /// From origins such as `https://app.example.org`, or `*` alone for every one.
    pub fn new(origins: &[String]) -> Result<Self, CorsError> {
        let origins: Option<Arc<[HeaderValue]>> = match origins {
            [everyone] if everyone == EVERYONE => None,
            origins if origins.iter().any(|origin| origin == EVERYONE) => {
                return Err(CorsError::EveryoneAndMore);
            }
            origins => Some(origins.iter().map(|origin| parse(origin)).collect::<Result<_, _>>()?),
        };
        let allowed = match &origins {
            None => AllowOrigin::any(),
            Some(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        let exposed = HEADERS.into_iter().map(|(name, ..)| name).chain(EXPOSED);
        let layer = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            // `*` would leave out Authorization, and OpenAI's client sends a dozen of its own.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.map(HeaderName::from_static).collect::<Vec<_>>())
            .max_age(MAX_AGE);
        Ok(Self { layer, origins: AllowedOrigins(origins) })
    }
}

impl AllowedOrigins {
    pub(super) fn contains(&self, origin: &str) -> bool {
        let Self(Some(origins)) = self else { return true };
        origins.iter().any(|allowed| allowed == origin)
    }
}

fn parse(origin: &str) -> Result<HeaderValue, CorsError> {
    let is_origin = origin.parse::<Uri>().is_ok_and(|uri| {
        let whole = |scheme, authority| format!("{scheme}://{authority}") == origin;
        let host = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        uri.scheme_str().zip(host).is_some_and(|(scheme, host)| whole(scheme, host))
    });
    let value = HeaderValue::from_str(origin).ok();
    let value = value.filter(|_| is_origin && origin.to_ascii_lowercase() == origin);
    value.ok_or_else(|| CorsError::NoOrigin(origin.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_taken() {
        let check = |origins: &[&str]| {
            Cors::new(&origins.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>()).err()
        };
        for good in ["*", "https://app.example.org", "http://localhost:3000", "http://[::1]:80"] {
            assert_eq!(check(&[good]), None, "{good}");
        }
        for bad in [
            "app.example.org",
            "https://app.example.org/",
            "https://app.example.org/page",
            "https://App.example.org",
            "https://me@app.example.org",
            "https://*.example.org/x",
            "null",
            "https://",
            "",
        ] {
            assert_eq!(check(&[bad]), Some(CorsError::NoOrigin(bad.to_owned())), "{bad}");
        }
        assert_eq!(check(&["https://a.b", "*"]), Some(CorsError::EveryoneAndMore));
    }
}
