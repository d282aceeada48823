//! Delays answers to clients that guess keys.
//!
//! A client whose address sends many wrong keys waits before each answer, and its connection may be
//! closed for another one meanwhile. Nobody is locked out: a valid key works at once, also from that
//! address, which a proxy may share between many clients.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::counter;

use super::connections::network;
use auris_core::metrics as names;

/// Wrong keys in a minute that are answered at once.
const FREE_ATTEMPTS: NonZeroU32 = NonZeroU32::new(10).expect("above 0");

/// The wait before any further answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The most addresses that are remembered; beyond them, every wrong key waits.
const MOST_ADDRESSES: usize = 10_000;

type AttemptsByNetwork = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// The wrong keys of the last minutes, by address.
#[derive(Debug)]
pub(super) struct KeyAttempts {
    attempts: AttemptsByNetwork,
    /// A sweep looks at every address.
    sweeps: DefaultDirectRateLimiter,
    warnings: DefaultDirectRateLimiter,
}

impl Default for KeyAttempts {
    fn default() -> Self {
        Self {
            attempts: RateLimiter::hashmap(Quota::per_minute(FREE_ATTEMPTS)),
            sweeps: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN)),
            warnings: RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN)),
        }
    }
}

impl KeyAttempts {
    /// Counts a wrong key, and returns how long its answer must wait.
    pub(super) fn count(&self, address: IpAddr) -> Duration {
        counter!(names::REFUSALS, "reason" => "key").increment(1);
        if self.attempts.len() >= MOST_ADDRESSES && self.sweeps.check().is_ok() {
            self.attempts.retain_recent();
        }
        let is_known = self.attempts.len() < MOST_ADDRESSES;
        if is_known && self.attempts.check_key(&network(address)).is_ok() {
            return Duration::ZERO;
        }
        if self.warnings.check().is_ok() {
            tracing::warn!(
                "{address} sends many wrong API keys; their answers are delayed by {PAUSE:?}"
            );
        }
        PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wrong_keys_from_one_network_wait() {
        let attempts = KeyAttempts::default();
        let count = |address: &str| attempts.count(address.parse().unwrap());
        for _ in 0..FREE_ATTEMPTS.get() {
            assert_eq!(count("2001:db8::1"), Duration::ZERO);
        }
        assert_eq!(count("2001:db8:0:1::2"), PAUSE, "of the same network");
        assert_eq!(count("2001:db8:0:100::1"), Duration::ZERO, "of another one");
    }

    #[test]
    fn addresses_without_end_cost_no_memory() {
        let attempts = KeyAttempts::default();
        for number in 0..2 * MOST_ADDRESSES as u32 {
            let _ = attempts.count(IpAddr::V4(number.into()));
        }
        assert!(attempts.attempts.len() <= MOST_ADDRESSES);
        assert_eq!(attempts.count([255, 0, 0, 1].into()), PAUSE);
    }
}
