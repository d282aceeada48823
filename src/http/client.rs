//! Who sent a request.

use std::net::SocketAddr;

use std::convert::Infallible;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::Extensions;
use axum::http::request::Parts;

use crate::scheduler::Caller;

/// Who sent a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// Whom its work is counted for.
    pub(super) caller: Caller,
    /// Whom its jobs belong to, and nobody else can see: the name of its key. Empty without keys.
    pub(super) owner: String,
}

impl Client {
    /// By what the connection and the layers in front have put into the request.
    pub(super) fn of(extensions: &Extensions) -> Self {
        if let Some(client) = extensions.get::<Self>() {
            return client.clone(); // it has a key
        }
        let address = extensions.get::<ConnectInfo<SocketAddr>>();
        let caller = address.map(|ConnectInfo(address)| address.ip().to_string().into());
        Self { caller: caller.unwrap_or_default(), owner: String::new() }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
