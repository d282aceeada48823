//! Which addresses may be called.
//!
//! A webhook makes the server send a request to an address that a client chose, so it must not
//! reach what only the server can reach: services on the same machine or network, and the metadata
//! service of a cloud.

mod public;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use url::{Host, Url};

use crate::store::NewWebhook;

pub(super) use public::objection;

/// The most bytes of an address.
const MAX_BYTES: usize = 2_048;

/// Why a webhook is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    #[error("this server calls no webhooks: set its AURIS_WEBHOOK_SECRET, or poll the job instead")]
    Off,

    #[error("the address is longer than {MAX_BYTES} bytes")]
    TooLong,

    #[error("this is no address ({0}): give one such as https://example.com/hook")]
    Syntax(url::ParseError),

    #[error("the scheme `{0}` is not one of https and http")]
    Scheme(String),

    /// `user:password@`, which would be sent.
    #[error(
        "the address has a user name or password: leave it out and check the signature instead"
    )]
    UserInfo,

    #[error(
        "{host} is {kind}, which is not called: give an address on the public internet, or start \
         the server with --webhook-allow-private"
    )]
    Private { host: String, kind: &'static str },
}

/// The address as it will be called, if it may be. Names are not looked up: what they stand for
/// is checked at each connection.
pub(crate) fn check_address(text: &str, allow_private: bool) -> Result<NewWebhook, WebhookRefusal> {
    let (_, webhook) = parse(text, allow_private)?;
    Ok(webhook)
}

/// Like [`check_address`], but also returns the parsed address.
pub(super) fn parse(text: &str, allow_private: bool) -> Result<(Url, NewWebhook), WebhookRefusal> {
    if text.len() > MAX_BYTES {
        return Err(WebhookRefusal::TooLong);
    }
    let url = Url::parse(text).map_err(WebhookRefusal::Syntax)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(WebhookRefusal::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(WebhookRefusal::UserInfo);
    }
    let host = url.host().ok_or(WebhookRefusal::Syntax(url::ParseError::EmptyHost))?;
    if let Some(kind) = host_objection(&host).filter(|_| !allow_private) {
        return Err(WebhookRefusal::Private { host: host.to_string(), kind });
    }
    let port = url.port_or_known_default().unwrap_or_default();
    let webhook = NewWebhook { url: url.to_string(), host: host.to_string(), port };
    Ok((url, webhook))
}

/// Why a host must not be called. Numbers in any notation have been parsed to addresses by now.
fn host_objection(host: &Host<&str>) -> Option<&'static str> {
    match host {
        Host::Ipv4(ip) => objection(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => objection(IpAddr::V6(*ip)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let is_local = name == "localhost" || name.ends_with(".localhost");
            is_local.then_some("this machine")
        }
    }
}
