//! How long a client may keep the server waiting, paid in bytes.

use std::time::Duration;

use tokio::time::Instant;

/// Time that a client has paid for. What it sends pays for a while ahead and not for longer, so that
/// nobody pays at once for an hour of silence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    bytes_per_second: u64,
    /// The furthest that is paid ahead.
    most: Duration,
    until: Instant,
}

impl Allowance {
    /// Begins with `grace` before the first byte.
    pub(super) fn new(bytes_per_second: u64, most: Duration, grace: Duration) -> Self {
        Self { bytes_per_second, most, until: Instant::now() + grace }
    }

    /// Until when the client has paid.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn pay(&mut self, bytes: u64, now: Instant) {
        let seconds = bytes as f64 / self.bytes_per_second.max(1) as f64;
        // More than the most is cut anyway, and a Duration cannot hold everything.
        let paid = Duration::from_secs_f64(seconds.min(self.most.as_secs_f64()));
        self.until = (self.until.max(now) + paid).min(now + self.most).max(self.until);
    }

    /// Nothing is owed up to `now`: it was the server that was not ready.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.until = self.until.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pay_for_a_while_ahead() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut allowance = Allowance::new(1_000, Duration::from_secs(30), Duration::from_secs(10));
        let paid = |allowance: &Allowance| (allowance.until() - start).as_secs();
        assert_eq!(paid(&allowance), 10, "the grace");
        allowance.pay(5_000, after(0));
        assert_eq!(paid(&allowance), 15);
        allowance.pay(100_000_000, after(5));
        assert_eq!(paid(&allowance), 35, "no hour of silence");
        allowance.pay(1_000, after(100));
        assert_eq!(paid(&allowance), 101, "what was owed is not paid later");
        allowance.excuse(after(200));
        assert_eq!(paid(&allowance), 200);
    }
}
