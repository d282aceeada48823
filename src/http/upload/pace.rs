//! How slow an upload may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::http::allowance::Allowance;
use crate::http::error::ApiError;
use crate::http::state::UploadSettings;

/// How long an upload may send nothing at its start, and after it was fast: less than the least.
const GRACE: Duration = Duration::from_secs(10);
const MOST_PAID: Duration = Duration::from_secs(30);

/// An upload's clock.
pub(super) struct UploadPace {
    started: Instant,
    idle_timeout: Duration,
    longest: Duration,
    min_bytes_per_second: u64,
    /// `None` without a least speed.
    allowance: Option<Arc<Mutex<Allowance>>>,
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
        let speed = settings.min_bytes_per_second;
        let allowance = (speed > 0).then(|| Allowance::new(speed, MOST_PAID, GRACE));
        Self {
            started: Instant::now(),
            idle_timeout: settings.idle_timeout,
            longest: settings.longest,
            min_bytes_per_second: speed,
            allowance: allowance.map(|allowance| Arc::new(Mutex::new(allowance))),
        }
    }

    /// What must be called with every part that is received.
    pub(super) fn receiver(&self) -> impl Fn(usize) + Send + use<> {
        let allowance = self.allowance.clone();
        move |bytes| {
            if let Some(allowance) = &allowance {
                lock(allowance).pay(bytes as u64, Instant::now());
            }
        }
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
        match &self.allowance {
            Some(allowance) if lock(allowance).until() < first.0 => {
                (lock(allowance).until(), TooSlow::Trickle(self.min_bytes_per_second))
            }
            _ => first,
        }
    }
}

fn lock(allowance: &Mutex<Allowance>) -> MutexGuard<'_, Allowance> {
    allowance.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(min_bytes_per_second: u64) -> UploadPace {
        UploadPace::new(&UploadSettings {
            spool: "/tmp".into(),
            max_bytes: 1,
            idle_timeout: 20 * SECOND,
            min_bytes_per_second,
            longest: 600 * SECOND,
            most_per_client: 1,
        })
    }

    /// When an upload is given up of which nothing more arrives, and why.
    fn end(pace: &UploadPace, seconds: u32) -> (u64, TooSlow) {
        let idle_until = pace.started + seconds * SECOND + pace.idle_timeout;
        let (deadline, why) = pace.deadline(idle_until);
        ((deadline - pace.started).as_secs_f64().round() as u64, why)
    }

    #[test]
    fn an_upload_must_keep_a_pace_after_a_grace() {
        let (trickle, stalled) = (TooSlow::Trickle(1_000), TooSlow::Stalled(20 * SECOND));
        let slow = pace(1_000);
        assert_eq!(end(&slow, 0), (10, trickle));
        slow.receiver()(5_000);
        assert_eq!(end(&slow, 5), (15, trickle));
        slow.receiver()(1_000_000);
        assert_eq!(end(&slow, 5), (25, stalled), "a fast one may pause");
        assert_eq!(end(&slow, 500), (30, trickle), "and not for what it has paid long ago");
        let unlimited = pace(0);
        assert_eq!(end(&unlimited, 0), (20, stalled));
        assert_eq!(end(&unlimited, 599), (600, TooSlow::TooLong(600 * SECOND)));
    }

    #[tokio::test]
    async fn what_arrives_in_time_is_returned_and_silence_is_not_waited_for() {
        let idle_timeout = Duration::from_millis(100);
        let pace = UploadPace { idle_timeout, ..pace(1_000) };
        assert_eq!(pace.await_part(async { 7 }).await, Ok(7));
        let error = pace.await_part(pending::<()>()).await;
        assert_eq!(error, Err(TooSlow::Stalled(idle_timeout)));
    }
}
