//! Webhooks: report the end of a job to the address that its client gave.
//!
//! An [`event`] is stored together with the job's end, and the [`Deliverer`] sends it until the
//! receiver confirms it: at least once, over about an hour, also across restarts. Receivers
//! recognise repetitions by `webhook-id`, and this server by the [`Signer`]'s signature
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

pub use address::{AddressError, check_address};
pub use deliver::{Deliverer, RetryPolicy};
pub use event::event;
pub use sign::{Secret, SecretError, Signer};
