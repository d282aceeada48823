//! How slow an upload may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::http::error::ApiError;
use crate::http::state::UploadSettings;

/// How long an upload may be slower than it must be in the mean.
const GRACE: Duration = Duration::from_secs(10);

/// An upload's clock.
pub(super) struct UploadPace {
    started: Instant,
    idle_timeout: Duration,
    min_bytes_per_second: u64,
    longest: Duration,
    received_bytes: Arc<AtomicU64>,
}

/// Why an upload is given up.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(super) enum TooSlow {
    #[error("nothing was received for {} s: send it again", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("less than {0} bytes were received per second: send it again over a faster connection")]
    Trickle(u64),
    #[error("the upload took longer than {} s: send a compressed file (FLAC, Opus, MP3)", .0.as_secs_f64())]
    TooLong(Duration),
}

impl From<TooSlow> for ApiError {
    fn from(error: TooSlow) -> Self {
        let code = match error {
            TooSlow::Stalled(_) => "upload_stalled",
            TooSlow::Trickle(_) | TooSlow::TooLong(_) => "upload_too_slow",
        };
        Self::new(StatusCode::REQUEST_TIMEOUT, code, error.to_string())
    }
}

impl UploadPace {
    /// Starts now.
    pub(super) fn new(settings: &UploadSettings) -> Self {
        Self {
            started: Instant::now(),
            idle_timeout: settings.idle_timeout,
            min_bytes_per_second: settings.min_bytes_per_second,
            longest: settings.longest,
            received_bytes: Arc::default(),
        }
    }

    /// What every received byte must be added to.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received_bytes)
    }

    /// Awaits the next part of an upload.
    ///
    /// # Errors
    /// The client is too slow.
    pub(super) async fn await_part<T>(&self, part: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut part = std::pin::pin!(part);
        let idle_until = Instant::now() + self.idle_timeout;
        loop {
            let (deadline, too_slow) = self.deadline(idle_until);
            match timeout_at(deadline, &mut part).await {
                Ok(part) => return Ok(part),
                // What has arrived meanwhile may have moved it.
                Err(_) if self.deadline(idle_until).0 > deadline => {}
                Err(_) => return Err(too_slow),
            }
        }
    }

    /// When an upload of which nothing more arrives is given up, and why.
    fn deadline(&self, idle_until: Instant) -> (Instant, TooSlow) {
        let stalled = (idle_until, TooSlow::Stalled(self.idle_timeout));
        let too_long = (self.started + self.longest, TooSlow::TooLong(self.longest));
        let first = if too_long.0 < stalled.0 { too_long } else { stalled };
        let received = self.received_bytes.load(Ordering::Relaxed);
        let Some(paid_seconds) = received.checked_div(self.min_bytes_per_second) else {
            return first;
        };
        let trickle_at = self.started + GRACE + Duration::from_secs(paid_seconds);
        if trickle_at < first.0 {
            return (trickle_at, TooSlow::Trickle(self.min_bytes_per_second));
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> UploadPace {
        UploadPace {
            started: Instant::now(),
            idle_timeout: 60 * SECOND,
            min_bytes_per_second: 1_000,
            longest: 600 * SECOND,
            received_bytes: Arc::default(),
        }
    }

    /// When an upload is given up of which `bytes` have arrived after `seconds`, and nothing more
    /// does: in seconds from its start, and why.
    fn end(pace: &UploadPace, seconds: u32, bytes: u64) -> (u64, TooSlow) {
        pace.received_bytes.store(bytes, Ordering::Relaxed);
        let idle_until = pace.started + seconds * SECOND + pace.idle_timeout;
        let (deadline, why) = pace.deadline(idle_until);
        ((deadline - pace.started).as_secs(), why)
    }

    #[test]
    fn an_upload_must_keep_a_pace_after_a_grace() {
        let (trickle, stalled) = (TooSlow::Trickle(1_000), TooSlow::Stalled(60 * SECOND));
        assert_eq!(end(&pace(), 0, 0), (10, trickle));
        assert_eq!(end(&pace(), 10, 5_000), (15, trickle));
        assert_eq!(end(&pace(), 10, 1_000_000), (70, stalled), "a fast one may pause");
        let too_long = TooSlow::TooLong(600 * SECOND);
        assert_eq!(end(&pace(), 599, 600_000), (600, too_long));
        let unlimited = UploadPace { min_bytes_per_second: 0, ..pace() };
        assert_eq!(end(&unlimited, 0, 0), (60, stalled));
    }

    #[tokio::test]
    async fn what_arrives_moves_the_deadline_and_silence_meets_it() {
        let idle_timeout = Duration::from_millis(100);
        let pace = UploadPace { idle_timeout, ..pace() };
        assert_eq!(pace.await_part(async { 7 }).await, Ok(7));
        let error = pace.await_part(pending::<()>()).await;
        assert_eq!(error, Err(TooSlow::Stalled(idle_timeout)));
    }
}
