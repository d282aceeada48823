//! Who sent a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;

use super::connections::{network, peer};
use auris_scheduler::Caller;

#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// The caller that its work counts against.
    pub(super) caller: Caller,
    /// The owner of its jobs, who alone can see them: the name of its key. Empty without keys.
    pub(super) owner: String,
}

impl Client {
    /// From what the connection and the layers in front have added to the request.
    pub(super) fn of(extensions: &Extensions) -> Self {
        if let Some(client) = extensions.get::<Self>() {
            return client.clone(); // it has a key
        }
        let caller = network(peer(extensions)).to_string().into();
        Self { caller, owner: String::new() }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
