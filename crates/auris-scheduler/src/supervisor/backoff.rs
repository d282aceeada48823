//! How long to wait before restarting a worker.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after `failures` consecutive failed starts or runs. The first restart is immediate:
/// most failures are single events, and the chunk's client is waiting.
pub fn restart_delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => FIRST.saturating_mul(2u32.saturating_pow(n - 2)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit() {
        let waits: Vec<u64> = (0..=9).map(|n| restart_delay(n).as_millis() as u64).collect();
        assert_eq!(waits, [0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000]);
        assert_eq!(restart_delay(u32::MAX), LONGEST);
    }
}
