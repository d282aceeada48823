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

use super::cors::{AllowedOrigins, Cors};
use super::error::ApiError;

/// Domains that are not in the public DNS (RFC 6762, RFC 8375, ICANN's resolution of 2024).
const NETWORK_DOMAINS: [&str; 3] = [".local", ".home.arpa", ".internal"];

/// What is accepted. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: AcceptedNames,
    pages: PostingPages,
}

/// By which names the server may be called, beside `localhost` and addresses.
#[derive(Debug, Clone, Default)]
enum AcceptedNames {
    #[default]
    All,
    Some {
        names: Arc<[String]>,
        /// Also names that only the network of the server knows.
        of_network: bool,
    },
}

/// Which pages may post.
#[derive(Debug, Clone, Default)]
enum PostingPages {
    #[default]
    All,
    Own,
    OwnAnd(AllowedOrigins),
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
    #[error("pages without an origin, such as files, may not post to a server without keys")]
    NoOrigin,
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
            HostError::Page(_) | HostError::NoOrigin => {
                (StatusCode::FORBIDDEN, "origin_not_allowed")
            }
            HostError::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl Hosts {
    /// Accepts `names` in lower case, `localhost` and addresses; names that only the network knows
    /// too if the server is there for the network.
    pub fn named(self, names: Vec<String>, of_network: bool) -> Self {
        Self { names: AcceptedNames::Some { names: names.into(), of_network }, ..self }
    }

    /// Lets only pages of this server and those of `cors` post.
    pub fn with_pages_of(self, cors: Option<&Cors>) -> Self {
        let and = |cors: &Cors| PostingPages::OwnAnd(cors.origins.clone());
        Self { pages: cors.map_or(PostingPages::Own, and), ..self }
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
        let Some(origin) = origin(headers).filter(|_| !is_read) else { return Ok(()) };
        let is_allowed = match &self.pages {
            PostingPages::All => true,
            PostingPages::Own => false,
            PostingPages::OwnAnd(origins) => origins.contains(origin),
        };
        if is_allowed || host.is_some_and(|host| is_same_site(origin, &host)) {
            return Ok(());
        }
        Err(if origin == "null" { HostError::NoOrigin } else { HostError::Page(shown(origin)) })
    }

    /// Only a name can be made to point to this machine from elsewhere.
    fn accepts(&self, host: &str) -> bool {
        let AcceptedNames::Some { names, of_network } = &self.names else { return true };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_of_network = || {
            !host.is_empty() && !host.contains('.')
                || NETWORK_DOMAINS.iter().any(|domain| host.ends_with(domain))
        };
        address.unwrap_or(&host).parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || names.contains(&host)
            || *of_network && is_of_network()
    }
}

/// A name for [`Hosts::named`]; `None` if it is not one.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_name)).then_some(name)
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
    let host = match (sent.next(), sent.next()) {
        (None, _) if request.version() == Version::HTTP_10 => return Ok(None),
        (Some(host), None) => host,
        _ => return Err(HostError::NoHost),
    };
    let host = Authority::try_from(host.as_bytes()).map_err(|_| HostError::NoHost)?;
    // The address of a request takes precedence over the header.
    let host = request.uri().authority().cloned().unwrap_or(host);
    if host.as_str().contains('@') { Err(HostError::NoHost) } else { Ok(Some(host)) }
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
        let add = |request: axum::http::request::Builder, header: &(&str, &str)| {
            request.header(header.0, header.1)
        };
        headers.iter().fold(request, add).body(Body::empty()).unwrap()
    }

    #[track_caller]
    fn check_names(hosts: &Hosts, names: &str, is_accepted: bool) {
        for host in names.split(' ') {
            let checked = hosts.check(&request("GET", &[("host", host)]));
            assert_eq!(checked.is_ok(), is_accepted, "{host}: {checked:?}");
        }
    }

    #[test]
    fn only_names_that_lead_here_for_certain_are_accepted() {
        let names = || vec!["auris.lan".to_owned()];
        let local = Hosts::default().named(names(), false);
        let sure = "localhost LOCALHOST:8000 localhost. api.localhost 127.0.0.1:8000 [::1]:8000 \
                    192.168.1.5 auris.lan:80 Auris.LAN";
        let public = "evil.example localhost.evil.example 127.0.0.1.evil.example auris.lan.evil \
                      xauris.lan me@localhost local.example";
        let of_network = "auris nas.local auris.home.arpa host.docker.internal";
        check_names(&local, sure, true);
        check_names(&local, public, false);
        check_names(&local, of_network, false);
        check_names(&local, "", false);
        let network = Hosts::default().named(names(), true);
        check_names(&network, sure, true);
        check_names(&network, public, false);
        check_names(&network, of_network, true);
        check_names(&network, "", false);
        check_names(&Hosts::default(), "any.example", true);
    }

    #[test]
    fn a_request_names_one_host() {
        let hosts = Hosts::default().named(Vec::new(), false);
        let check = |headers: &[(&str, &str)]| hosts.check(&request("GET", headers));
        assert_eq!(check(&[]), Err(HostError::NoHost));
        assert_eq!(check(&[("host", "localhost"), ("host", "localhost")]), Err(HostError::NoHost));
        assert_eq!(check(&[("host", "localhost")]), Ok(()));
        let mut old = request("GET", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(hosts.check(&old), Ok(()));
        let mut absolute = request("GET", &[("host", "localhost")]);
        *absolute.uri_mut() = "http://evil.example/".parse().unwrap();
        assert_eq!(hosts.check(&absolute), Err(HostError::Name("evil.example".to_owned())));
    }

    #[test]
    fn names_to_accept_are_names() {
        assert_eq!(host_name("Auris.Example."), Some("auris.example".to_owned()));
        for wrong in ["https://x", "x:80", "*", "", "a b", "me@x"] {
            assert_eq!(host_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_own_and_allowed_pages_may_post() {
        let cors = Cors::new(&["https://app.example".to_owned()]).unwrap();
        let hosts = Hosts::default().with_pages_of(Some(&cors));
        let check = |method: &str, origin: &str| {
            let headers = [("host", "localhost:8000"), ("origin", origin)];
            hosts.check(&request(method, &headers))
        };
        assert_eq!(check("POST", "http://localhost:8000"), Ok(()));
        assert_eq!(check("POST", "https://app.example"), Ok(()));
        assert_eq!(check("GET", "https://evil.example"), Ok(()));
        for bad in ["https://evil.example", "http://localhost:9000", "http://localhost"] {
            assert_eq!(check("POST", bad), Err(HostError::Page(bad.to_owned())), "{bad}");
            assert!(check("DELETE", bad).is_err(), "{bad}");
        }
        assert_eq!(check("POST", "null"), Err(HostError::NoOrigin));
        assert_eq!(hosts.check(&request("POST", &[("host", "localhost")])), Ok(()), "no browser");
        let everyone = Cors::new(&["*".to_owned()]).unwrap();
        let hosts = Hosts::default().with_pages_of(Some(&everyone));
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
