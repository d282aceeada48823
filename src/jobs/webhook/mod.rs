//! Webhooks: who asked for it is told of a job's end.
//!
//! An [`event`] is stored together with the job's end, and the [`Deliverer`] sends it until the
//! receiver confirms it: at least once, over about an hour, also across restarts. Receivers tell
//! repetitions by `webhook-id`, and us by the [`Signer`]'s signature
//! (<https://www.standardwebhooks.com>, version 1). Addresses within the server's own network are
//! not called. Parent side.

// whom we may call
mod address;
mod resolve;
// what is sent
mod event;
mod sign;
// how it gets there
mod deliver;
mod send;

#[cfg(test)]
mod tests;

pub use address::{AddressError, check_address};
pub use deliver::{Deliverer, RetryPolicy};
pub use event::event;
pub use sign::{Secret, SecretError, Signer};
