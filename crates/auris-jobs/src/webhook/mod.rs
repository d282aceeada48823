//! Webhooks: report the end of a job to the address that its client gave.
//!
//! An [`event`] is stored together with the job's end, and the [`Deliverer`] sends it until the
//! receiver confirms it: at least once, over about an hour, also across restarts. Receivers
//! recognise repetitions by `webhook-id`, and this server by its signature
//! (<https://www.standardwebhooks.com>, version 1). Addresses within the server's own network are
//! not called. Runs in the server process.

// which addresses may be called
mod address;
mod resolve;
// what is sent
mod event;
mod sign;
// how it is sent
mod deliver;
mod send;

#[cfg(test)]
mod tests;

pub use address::WebhookRefusal;
pub use sign::Secret;

pub(crate) use address::check_address;
pub(crate) use deliver::{Deliverer, RetryPolicy};
pub(crate) use event::event;

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The secrets that sign events; the first is the newest.
    pub secrets: Vec<Secret>,
    /// Whether addresses in the server's own network may be called.
    pub allow_private: bool,
}
