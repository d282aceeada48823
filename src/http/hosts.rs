//! Which names a request may call this server by, and which pages may post to it.
//!
//! A server without keys trusts whoever reaches it, and a web browser on the same machine reaches it
//! for any page. Such a page posts a form without being asked for permission, and after DNS
//! rebinding it reads the responses as well. Browsers say where a page is from (`Origin`) and by
//! which name it calls the server (`Host`).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cors::Cors;
use super::error::ApiError;

/// Domains that are not in the public DNS (RFC 6761, RFC 6762, ICANN's resolution of 2024).
const LOCAL_DOMAINS: [&str; 3] = [".localhost", ".local", ".internal"];

/// What is accepted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// Names beside local names and addresses; `None` if every name is accepted.
    names: Option<Arc<[String]>>,
    /// The pages that may post; `None` if any may, since they have no key.
    pages: Option<Option<Cors>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum HostError {
    #[error("the request needs one header `Host`, with the name of the server")]
    NoHost,
    #[error(
        "this server does not accept the name `{0}`: call it by its address or a local name, or start \
         it with --allowed-hosts {0}"
    )]
    Name(String),
    #[error(
        "web pages of {0} may not post to this server: start it with --cors-origins {0}, or require \
         keys (--api-keys)"
    )]
    Page(String),
    #[error("the header `Expect` may be `100-continue` only")]
    Expectation,
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        let (status, code) = match error {
            HostError::NoHost => (StatusCode::BAD_REQUEST, "invalid_request"),
            HostError::Name(_) => (StatusCode::FORBIDDEN, "host_not_allowed"),
            HostError::Page(_) => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            HostError::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl Hosts {
    /// Accepts `names`, local names and addresses; with `None`, every name.
    pub fn named(self, names: Option<Vec<String>>) -> Self {
        Self { names: names.map(Into::into), ..self }
    }

    /// Lets only pages of this server and those of `cors` post.
    pub fn with_pages_of(self, cors: Option<Cors>) -> Self {
        Self { pages: Some(cors), ..self }
    }

    fn check(&self, request: &Request) -> Result<(), HostError> {
        let headers = request.headers();
        if headers.get(header::EXPECT).is_some_and(|value| !is_continue(value.as_bytes())) {
            return Err(HostError::Expectation);
        }
        let host = host(request)?;
        if let Some(host) = &host
            && !self.accepts(host.host())
        {
            return Err(HostError::Name(shown(host.host())));
        }
        let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        match (&self.pages, origin(headers)) {
            (Some(cors), Some(origin)) if !is_read => {
                let is_own = host.is_some_and(|host| is_same_site(origin, &host));
                let is_allowed = cors.as_ref().is_some_and(|cors| cors.allows(origin));
                (is_own || is_allowed).then_some(()).ok_or_else(|| HostError::Page(shown(origin)))
            }
            _ => Ok(()),
        }
    }

    /// Addresses and local names are safe: only a name in the public DNS can be made to point here.
    fn accepts(&self, host: &str) -> bool {
        let Some(names) = &self.names else { return true };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        address.unwrap_or(&host).parse::<IpAddr>().is_ok()
            || !host.is_empty() && !host.contains('.')
            || LOCAL_DOMAINS.iter().any(|domain| host.ends_with(domain))
            || names.contains(&host)
    }
}

/// Refuses requests that call the server by another name, or come from another page.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// The name that a request calls the server by. HTTP/1.0 needs none (RFC 9112, 3.2).
fn host(request: &Request) -> Result<Option<Authority>, HostError> {
    let mut sent = request.headers().get_all(header::HOST).iter();
    let parse = |text: &[u8]| Authority::try_from(text).map_err(|_| HostError::NoHost);
    match (sent.next(), sent.next(), request.uri().authority()) {
        (Some(_), Some(_), _) => Err(HostError::NoHost),
        (_, None, Some(authority)) => Ok(Some(authority.clone())),
        (Some(host), None, None) => parse(host.as_bytes()).map(Some),
        (None, _, _) if request.version() == Version::HTTP_10 => Ok(None),
        (None, _, _) => Err(HostError::NoHost),
    }
}

/// The page that sends the request; an origin that cannot be read is of no page that is accepted.
fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("an unreadable origin"))
}

/// Whether the page is this server's. The scheme may differ behind a proxy.
fn is_same_site(origin: &str, host: &Authority) -> bool {
    let site = origin.split_once("://").map(|(_, site)| site);
    site.is_some_and(|site| site.eq_ignore_ascii_case(host.as_str()))
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().method(method).uri("/");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_local_names_and_addresses_are_accepted() {
        let hosts = Hosts::default().named(Some(vec!["auris.lan".to_owned()]));
        let check = |host: &str| hosts.check(&request("GET", &[("host", host)])).is_ok();
        for good in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "api.localhost",
            "127.0.0.1:8000",
            "[::1]:8000",
            "192.168.1.5",
            "auris.lan:80",
            "Auris.LAN",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "auris.lan.evil",
            "xauris.lan",
            "",
            "a b",
            "local.example",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(Hosts::default().check(&request("GET", &[("host", "any.example")])).is_ok());
    }

    #[test]
    fn a_request_names_one_host() {
        let hosts = Hosts::default();
        let check = |headers: &[(&str, &str)]| hosts.check(&request("GET", headers));
        assert_eq!(check(&[]), Err(HostError::NoHost));
        assert_eq!(check(&[("host", "a"), ("host", "b")]), Err(HostError::NoHost));
        assert_eq!(check(&[("host", "a")]), Ok(()));
        let mut old = request("GET", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(hosts.check(&old), Ok(()));
        let uri = request("GET", &[]);
        let (mut parts, body) = uri.into_parts();
        parts.uri = "http://localhost/".parse().unwrap();
        assert_eq!(hosts.check(&Request::from_parts(parts, body)), Ok(()));
    }

    #[test]
    fn only_own_and_allowed_pages_may_post() {
        let cors = Cors::new(&["https://app.example".to_owned()]).unwrap();
        let hosts = Hosts::default().with_pages_of(Some(cors));
        let check = |method: &str, origin: &str| {
            let headers = [("host", "localhost:8000"), ("origin", origin)];
            hosts.check(&request(method, &headers))
        };
        assert_eq!(check("POST", "http://localhost:8000"), Ok(()));
        assert_eq!(check("POST", "https://app.example"), Ok(()));
        assert_eq!(check("GET", "https://evil.example"), Ok(()));
        for bad in ["https://evil.example", "null", "http://localhost:9000", "http://localhost"] {
            assert_eq!(check("POST", bad), Err(HostError::Page(bad.to_owned())), "{bad}");
            assert!(check("DELETE", bad).is_err(), "{bad}");
        }
        assert_eq!(hosts.check(&request("POST", &[("host", "localhost")])), Ok(()), "no browser");
        let everyone = Cors::new(&["*".to_owned()]).unwrap();
        let hosts = Hosts::default().with_pages_of(Some(everyone));
        let headers = [("host", "a"), ("origin", "https://evil.example")];
        assert_eq!(hosts.check(&request("POST", &headers)), Ok(()));
    }

    #[test]
    fn no_other_expectation_is_met() {
        let check = |expect: &str| {
            Hosts::default().check(&request("POST", &[("host", "a"), ("expect", expect)]))
        };
        assert_eq!(check("100-Continue"), Ok(()));
        assert_eq!(check("999-foo"), Err(HostError::Expectation));
    }
}
