//! A stored job.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use auris_audio::SAMPLE_RATE_HZ;
use auris_core::recording::DecodedAudio;

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
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
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
    /// The state's name, in the API and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether nothing more will happen to the job.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// A job to be stored. Its audio is in the spool by then.
// Stored as JSON beside the audio, for `Jobs::recover`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewJob {
    pub(crate) id: JobId,
    /// The name of the API key that sent it; empty without keys.
    pub(crate) owner: String,
    /// The request, as JSON from the caller.
    pub(crate) request_json: String,
    /// When it was accepted, as returned by [`unix_ms`].
    pub(crate) created_at_ms: i64,
    /// An estimate of its length.
    pub(crate) audio_seconds: f64,
    /// The owner's name for the request: repeating it creates no second job.
    pub(crate) idempotency_key: Option<String>,
    /// A hash over fields and file, which distinguishes a repetition from another request.
    pub(crate) fingerprint: String,
    /// The webhook to call when the job ends.
    pub(crate) webhook: Option<NewWebhook>,
}

/// The webhook to call when a job ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWebhook {
    /// Where to send the event.
    pub url: String,
    /// The receiver's host, as written in the address.
    pub host: String,
    /// 443 or 80 if the address has none.
    pub port: u16,
}

/// The result of [`JobStore::insert`](super::JobStore::insert).
#[derive(Debug)]
pub(crate) enum Inserted {
    New,
    /// The same request was stored before, as this job.
    Same(Box<StoredJob>),
    /// The idempotency key belongs to another request.
    Reused,
}

/// A stored job with its current state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredJob {
    pub(crate) id: JobId,
    /// The name of the API key that sent it; empty without keys.
    pub(crate) owner: String,
    pub(crate) state: JobState,
    pub(crate) request_json: String,
    pub(crate) created_at_ms: i64,
    /// When it first began.
    pub(crate) started_at_ms: Option<i64>,
    /// When it finished, failed or was cancelled.
    pub(crate) ended_at_ms: Option<i64>,
    /// Its length: an estimate until it is decoded.
    pub(crate) audio_seconds: f64,
    /// How many samples of it are transcribed, at 16 kHz.
    pub(crate) done_samples: u64,
    /// Model and language as JSON, once they are decided.
    pub(crate) route_json: Option<String>,
    /// What decoding found out about the whole file, as JSON, once it is decoded.
    pub(crate) decoded_json: Option<String>,
    pub(crate) error_json: Option<String>,
    /// The webhook to call when the job ends.
    pub(crate) webhook_url: Option<String>,
    /// How far that is; `None` before the job's end.
    pub(crate) delivery: Option<DeliveryReport>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) enum JobOutcome {
    Finished,
    /// With the reason, as JSON from the caller.
    Failed {
        error_json: String,
    },
    Cancelled,
}

impl From<&JobOutcome> for JobState {
    fn from(outcome: &JobOutcome) -> Self {
        match outcome {
            JobOutcome::Finished => Self::Finished,
            JobOutcome::Failed { .. } => Self::Failed,
            JobOutcome::Cancelled => Self::Cancelled,
        }
    }
}

impl StoredJob {
    /// How many seconds of it are transcribed, if it has this many signals.
    pub(crate) fn done_seconds(&self, signals: usize) -> f64 {
        self.done_samples as f64 / f64::from(SAMPLE_RATE_HZ) / signals as f64
    }

    /// What decoding found out about its file.
    pub(crate) fn decoded(&self) -> DecodedAudio {
        let read = self.decoded_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
        read.unwrap_or(DecodedAudio { duration: self.audio_seconds, ..DecodedAudio::default() })
    }

    /// The job after it ended with `outcome`.
    pub(crate) fn ended(self, outcome: &JobOutcome, now_ms: i64) -> Self {
        let error_json = match outcome {
            JobOutcome::Failed { error_json } => Some(error_json.clone()),
            JobOutcome::Finished | JobOutcome::Cancelled => None,
        };
        Self { state: outcome.into(), ended_at_ms: Some(now_ms), error_json, ..self }
    }
}

/// The result of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredChunk {
    /// Its place in the file, from 0.
    pub(crate) index: u32,
    /// Where it begins, at 16 kHz.
    pub(crate) start_sample: u64,
    pub(crate) samples: u64,
    /// Its result, as JSON from the caller.
    pub(crate) result_json: String,
    /// When it was done.
    pub(crate) done_at_ms: i64,
}

/// Whether the event of a job's end has been delivered. The names are those in the API and in the
/// database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum DeliveryState {
    /// Not yet; it will be tried, maybe again.
    Pending,
    /// The receiver has confirmed it.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The state of an event's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryReport {
    /// Whether it has been delivered.
    pub(crate) state: DeliveryState,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// The status of the last answer, if there was one.
    pub(crate) last_status: Option<u16>,
    /// Why the last attempt failed, without the address.
    pub(crate) last_error: Option<String>,
}

/// The event of a job's end, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewDelivery {
    /// The event's id, the same for every attempt.
    pub(crate) event: String,
    pub(crate) body: String,
}

/// Now, in milliseconds since 1970 (UTC).
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
