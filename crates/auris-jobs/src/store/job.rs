//! A stored job.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use auris_audio::SAMPLE_RATE_HZ;

/// A job's id. Later jobs have greater ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct JobId(Uuid);

impl JobId {
    /// An id that no other job has.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for JobId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Accepted, and not begun.
    Queued,
    /// Begun. After a restart it continues where it was.
    Running,
    /// Every chunk is done.
    Finished,
    /// Failed; its error says why.
    Failed,
    /// Cancelled by its owner.
    Cancelled,
}

impl JobState {
    /// Every state, in the order in which a job goes through them.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Finished, Self::Failed, Self::Cancelled];

    /// The state's name, in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to the job.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// A job to be stored. Its audio is in the spool by then.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// The name of the API key that sent it; empty without keys.
    pub owner: String,
    /// The request, as JSON from the caller.
    pub request_json: String,
    /// When it was accepted, as returned by [`unix_ms`].
    pub created_at_ms: i64,
    /// An estimate of its length.
    pub audio_seconds: f64,
    /// The owner's name for the request: repeating it creates no second job.
    pub idempotency_key: Option<String>,
    /// A hash over fields and file, which distinguishes a repetition from another request.
    pub fingerprint: String,
    /// The webhook to call when the job ends.
    pub webhook: Option<NewWebhook>,
}

/// The webhook to call when a job ends.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where to send the event.
    pub url: String,
    /// The receiver's host, as written in the address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The result of [`Store::insert`](super::Store::insert).
#[derive(Debug)]
pub enum Inserted {
    /// The job is stored.
    New,
    /// The same request was stored before, as this job.
    Same(Box<StoredJob>),
    /// The idempotency key belongs to another request.
    Reused,
}

/// A stored job with its current state.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// Its name.
    pub id: JobId,
    /// The name of the API key that sent it; empty without keys.
    pub owner: String,
    /// Where it stands.
    pub state: JobState,
    /// What is asked for.
    pub request_json: String,
    /// When it was accepted.
    pub created_at_ms: i64,
    /// When it first began.
    pub started_at_ms: Option<i64>,
    /// When it finished, failed or was cancelled.
    pub ended_at_ms: Option<i64>,
    /// Its length: an estimate until it is decoded.
    pub audio_seconds: f64,
    /// How many samples of it are transcribed, at 16 kHz.
    pub done_samples: u64,
    /// Model and language as JSON, once they are decided.
    pub route_json: Option<String>,
    /// Why it failed.
    pub error_json: Option<String>,
    /// The webhook to call when the job ends.
    pub webhook_url: Option<String>,
    /// How far that is; `None` before the job's end.
    pub delivery: Option<DeliveryReport>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Every chunk is done.
    Finished,
    /// Failed, with the reason as JSON from the caller.
    Failed {
        /// The reason.
        error_json: String,
    },
    /// Cancelled by its owner.
    Cancelled,
}

impl From<&Outcome> for JobState {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Finished => Self::Finished,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl StoredJob {
    /// How many seconds of it are transcribed, if it has this many signals.
    pub fn done_seconds(&self, signals: usize) -> f64 {
        self.done_samples as f64 / f64::from(SAMPLE_RATE_HZ) / signals as f64
    }

    /// The job after it ended with `outcome`.
    pub fn ended(self, outcome: &Outcome, now_ms: i64) -> Self {
        let error_json = match outcome {
            Outcome::Failed { error_json } => Some(error_json.clone()),
            Outcome::Finished | Outcome::Cancelled => None,
        };
        Self { state: outcome.into(), ended_at_ms: Some(now_ms), error_json, ..self }
    }
}

/// The result of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    /// Its place in the file, from 0.
    pub index: u32,
    /// Where it begins, at 16 kHz.
    pub start_sample: u64,
    /// Its length.
    pub samples: u64,
    /// Its result, as JSON from the caller.
    pub result_json: String,
    /// When it was done.
    pub done_at_ms: i64,
}

/// Whether the event of a job's end has been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Not yet; it will be tried, maybe again.
    Pending,
    /// The receiver has confirmed it.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub(super) const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The state's name, in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// The state of an event's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Whether it has been delivered.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// The status of the last answer, if there was one.
    pub last_status: Option<u16>,
    /// Why the last attempt failed, without the address.
    pub last_error: Option<String>,
}

/// The event of a job's end, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The event's id, the same for every attempt.
    pub event: String,
    /// What is sent.
    pub body: String,
}

/// Now, in milliseconds since 1970 (UTC).
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
