//! Who may send requests, and how many: API keys as `Authorization: Bearer KEY`.
//!
//! Only the keys' SHA-256 digests are held, and all of them are compared for each request, so that
//! the time it takes reveals nothing. `auris-scheduler` limits how much of the queue a key may use.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::counter;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::time::sleep;

use super::client::Client;
use super::connections;
use super::error::ApiError;
use super::key_attempts::KeyAttempts;
use auris_core::metrics as names;
use auris_scheduler::Caller;

/// Other headers in which clients send a key.
const OTHER_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-auth-token"];
const OTHER_PARAMETERS: [&str; 6] =
    ["api_key", "api-key", "apikey", "key", "token", "access_token"];

pub type KeyDigest = [u8; 32];

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The holder's name, which owns the jobs: a new key with an earlier name gets its jobs.
    pub name: String,
    pub digest: KeyDigest,
    pub requests_per_minute: Option<NonZeroU32>,
    /// The share of the queue that it may use: above 0, at most 1; `None` for the default.
    pub queue_share: Option<f64>,
}

impl Key {
    pub fn digest(key: &str) -> KeyDigest {
        Sha256::digest(key).into()
    }
}

/// The accepted keys. Without any, no key is required. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    accepted: Arc<[AcceptedKey]>,
    wrong: Arc<KeyAttempts>,
}

#[derive(Debug)]
struct AcceptedKey {
    client: Client,
    digest: KeyDigest,
    limit: Option<(NonZeroU32, DefaultDirectRateLimiter)>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    #[error("no API key was sent: send it in the header `Authorization: Bearer KEY`")]
    Missing,
    #[error("the API key was sent in {place}: send it in the header `Authorization: Bearer KEY`")]
    Misplaced { place: String },
    #[error("unknown API key: check it, or ask the operator of this server for one")]
    Unknown,
    #[error("this key may send {limit} requests a minute; try again in {retry_after} s")]
    TooMany { limit: NonZeroU32, retry_after: u64 },
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::TooMany { retry_after, .. } => Self::rate_limited(message, retry_after),
            AuthError::Missing | AuthError::Misplaced { .. } | AuthError::Unknown => {
                Self::unauthorized(message)
            }
        }
    }
}

impl Keys {
    /// `keys` have different names and digests.
    pub fn new(keys: Vec<Key>) -> Self {
        let entry = |Key { name, digest, requests_per_minute, queue_share }: Key| AcceptedKey {
            client: Client {
                caller: Caller { name: name.as_str().into(), share: queue_share },
                owner: name,
            },
            digest,
            limit: requests_per_minute
                .map(|limit| (limit, RateLimiter::direct(Quota::per_minute(limit)))),
        };
        Self { accepted: keys.into_iter().map(entry).collect(), wrong: Arc::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    /// Finds a key in constant time, wherever it is in the list and also if it is not.
    fn find(&self, key: &str) -> Option<&AcceptedKey> {
        let digest = Key::digest(key);
        let mut found = 0; // counted from 1
        for (number, entry) in (1_u64..).zip(self.accepted.iter()) {
            found.conditional_assign(&number, entry.digest.ct_eq(&digest));
        }
        self.accepted.get(usize::try_from(found).ok()?.checked_sub(1)?)
    }

    fn admit(&self, request: &Request) -> Result<&Client, AuthError> {
        let entry = self.find(presented(request.headers(), request.uri())?);
        let entry = entry.ok_or(AuthError::Unknown)?;
        if let Some((limit, limiter)) = &entry.limit
            && is_transcription(request)
            && let Err(until) = limiter.check()
        {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs_f64();
            let retry_after = wait.ceil().max(1.0) as u64;
            return Err(AuthError::TooMany { limit: *limit, retry_after });
        }
        Ok(&entry.client)
    }
}

/// Lets a request through if it has a valid key, and adds the client to it.
pub(super) async fn authenticate(
    State(keys): State<Keys>,
    mut request: Request,
    next: Next,
) -> Response {
    if keys.is_empty() || request.method() == Method::OPTIONS || is_open(request.uri().path()) {
        return next.run(request).await;
    }
    match keys.admit(&request) {
        Ok(client) => {
            request.extensions_mut().insert(client.clone());
            next.run(request).await
        }
        Err(error) => {
            match error {
                AuthError::TooMany { .. } => {
                    counter!(names::REFUSALS, "reason" => "rate").increment(1);
                }
                AuthError::Unknown => {
                    connections::mark_idle(&request);
                    sleep(keys.wrong.count(connections::peer(request.extensions()))).await;
                }
                AuthError::Missing | AuthError::Misplaced { .. } => {}
            }
            ApiError::from(error).into_response()
        }
    }
}

/// Whether a path needs no key: health checks for orchestrators, and the documentation.
pub(super) fn is_open(path: &str) -> bool {
    let is_page = path == "/docs" || path.starts_with("/docs/");
    is_page || ["/healthz", "/readyz", "/openapi.json"].contains(&path)
}

/// Everything that is posted is audio.
fn is_transcription(request: &Request) -> bool {
    request.method() == Method::POST
}

fn presented<'a>(headers: &'a HeaderMap, uri: &Uri) -> Result<&'a str, AuthError> {
    let misplaced = |place: &str| Err(AuthError::Misplaced { place: place.to_owned() });
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        if let Some(name) = OTHER_HEADERS.iter().find(|name| headers.contains_key(**name)) {
            return misplaced(&format!("the header `{name}`"));
        }
        let mut parameters = uri.query().unwrap_or_default().split('&');
        let is_other = |parameter: &str| {
            let name = parameter.split('=').next().unwrap_or_default();
            OTHER_PARAMETERS.iter().any(|other| other.eq_ignore_ascii_case(name))
        };
        return if parameters.any(is_other) {
            misplaced("the address, where logs keep it")
        } else {
            Err(AuthError::Missing)
        };
    };
    let Ok(value) = value.to_str() else { return Err(AuthError::Unknown) };
    let (scheme, key) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    match (scheme.to_ascii_lowercase().as_str(), key.trim()) {
        ("bearer", "") | ("", _) => Err(AuthError::Missing),
        ("bearer", key) => Ok(key),
        ("basic", _) => misplaced("a user's name and password"),
        _ => misplaced("`Authorization` without the word `Bearer`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Keys {
        let key = |name: &&str| Key {
            name: (*name).to_owned(),
            digest: Key::digest(&format!("secret of {name}")),
            requests_per_minute: None,
            queue_share: None,
        };
        Keys::new(names.iter().map(key).collect())
    }

    #[test]
    fn each_key_is_found_wherever_it_is() {
        let keys = keys(&["first", "second", "third"]);
        let owner = |key: &str| keys.find(key).map(|entry| entry.client.owner.as_str());
        for name in ["first", "second", "third"] {
            assert_eq!(owner(&format!("secret of {name}")), Some(name));
        }
        assert_eq!(owner("secret of fourth"), None);
        assert_eq!(owner(""), None);
    }

    #[test]
    fn a_key_is_read_from_one_place_and_others_are_reported() {
        let check = |name: &'static str, value: &str, uri: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            match presented(&headers, &uri.parse().unwrap()) {
                Ok(key) => key.to_owned(),
                Err(AuthError::Misplaced { place }) => format!("misplaced: {place}"),
                Err(error) => format!("{error:?}"),
            }
        };
        assert_eq!(check("authorization", "Bearer k", "/"), "k");
        assert_eq!(check("authorization", "bearer  k ", "/?api_key=x"), "k");
        assert_eq!(check("authorization", "Bearer", "/"), "Missing");
        assert_eq!(check("accept", "*/*", "/?monkey=1&model=key"), "Missing");
        assert_eq!(check("x-api-key", "k", "/"), "misplaced: the header `x-api-key`");
        let address = "misplaced: the address, where logs keep it";
        assert_eq!(check("accept", "*/*", "/?a=1&API_KEY=k"), address);
        let basic = "misplaced: a user's name and password";
        assert_eq!(check("authorization", "Basic azo=", "/"), basic);
        let bare = "misplaced: `Authorization` without the word `Bearer`";
        assert_eq!(check("authorization", "k", "/"), bare);
        assert_eq!(check("authorization", "Token k", "/"), bare);
    }
}
