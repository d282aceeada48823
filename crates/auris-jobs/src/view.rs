//! A job as responses and webhooks show it.

use serde::Serialize;
use utoipa::ToSchema;

use super::progress::ProgressState;
use super::request::JobRequest;
use super::store::{JobState, StoredJob};
use crate::pipeline::{ApiFailure, Route};
use auris_core::transcript::Task;
use auris_format::{Format, TranscriptionLosses, TranscriptionRun};

/// A transcription that runs in the background.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    /// The id of the job.
    #[schema(examples("01983e5b-6f3a-7d10-b7a4-0f3c1d2e4a5b"))]
    pub id: String,
    /// Always `job`.
    #[schema(examples("job"))]
    pub object: &'static str,
    /// `queued`, `running`, `finished`, `failed` or `cancelled`.
    #[schema(value_type = String, examples("running"))]
    pub state: JobState,
    /// `transcribe` or `translate`.
    #[schema(value_type = String, examples("transcribe"))]
    pub task: Task,
    /// The default format of its transcript.
    pub response_format: Format,
    /// The share of the audio that is transcribed, in percent.
    #[schema(examples(42.5), minimum = 0, maximum = 100)]
    pub percent: f64,
    /// Estimated seconds until the job ends, once known.
    #[schema(required, examples(12.5))]
    pub eta_seconds: Option<f64>,
    /// The length of the audio; an estimate until it is decoded.
    #[schema(examples(601.3))]
    pub audio_seconds: f64,
    /// Whether the file breaks off or its end cannot be read. `false` until it is decoded.
    pub truncated: bool,
    /// What is missing of the recording, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lost: Option<TranscriptionLosses>,
    /// When the job was accepted, in seconds since 1970.
    #[schema(examples(1_782_036_000))]
    pub created_at: i64,
    /// When the job started, in seconds since 1970.
    #[schema(required, examples(1_782_036_001))]
    pub started_at: Option<i64>,
    /// When the job ended, in seconds since 1970.
    #[schema(required)]
    pub ended_at: Option<i64>,
    /// The model that runs, once chosen.
    #[schema(required, examples("medium"))]
    pub model: Option<String>,
    /// The spoken language, once known: its English name in lower case.
    #[schema(required, examples("hindi"))]
    pub language: Option<String>,
    /// The text so far, without gaps. `null` in lists.
    #[schema(required, examples("The quick brown fox"))]
    pub text: Option<String>,
    /// Which device and model transcribed each part of the audio. Missing in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<TranscriptionRun>,
    /// Why the job failed.
    #[schema(required)]
    pub error: Option<ApiFailure>,
    /// Whether the failed job can be run again: the server may be at fault, and the audio is there.
    pub retryable: bool,
    /// The delivery of the event to the webhook, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub webhook: Option<JobWebhook>,
}

/// The delivery of a job's event to its webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobWebhook {
    /// The address of the webhook.
    #[schema(examples("https://example.com/hooks/auris"))]
    pub url: String,
    /// `waiting` for the job's end, then `pending`, `delivered` or `failed`.
    #[schema(examples("delivered"))]
    pub state: &'static str,
    /// Attempts so far.
    #[schema(examples(1))]
    pub attempts: u32,
    /// The HTTP status of the last response.
    #[schema(required, examples(200))]
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    #[schema(required)]
    pub last_error: Option<String>,
}

impl Job {
    /// From the stored job, and its progress if it is to be shown in full. `waits` is whether it
    /// waits for its turn, at first or after a restart.
    pub(super) fn new(stored: &StoredJob, state: Option<&ProgressState>, waits: bool) -> Self {
        let request: Option<JobRequest> = serde_json::from_str(&stored.request_json).ok();
        let route: Option<Route> =
            stored.route_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let progress = state.and_then(|state| state.progress);
        let done_seconds = match progress {
            Some(progress) => progress.done_seconds,
            None => stored.done_seconds(route.as_ref().map_or(1, |own| own.parts.signals())),
        };
        let audio_seconds = progress.map_or(stored.audio_seconds, |known| known.total_seconds);
        let eta = state.and_then(ProgressState::eta_seconds);
        let finished = stored.state == JobState::Finished;
        let ended = stored.state.is_ended();
        let error: Option<ApiFailure> =
            stored.error_json.as_deref().and_then(|json| serde_json::from_str(json).ok());
        let losses = stored.decoded().losses;
        let seconds = |milliseconds: i64| milliseconds.div_euclid(1000);
        Self {
            id: stored.id.to_string(),
            object: "job",
            state: if waits && !ended { JobState::Queued } else { stored.state },
            task: request
                .as_ref()
                .map_or_else(Task::default, |request| request.transcription.options.task),
            response_format: request.map_or_else(Format::default, |own| own.rendering.format),
            percent: if finished { 100.0 } else { percent(done_seconds, audio_seconds) },
            eta_seconds: if ended { Some(0.0) } else { eta.map(|eta| (eta * 10.0).round() / 10.0) },
            audio_seconds: (audio_seconds * 1000.0).round() / 1000.0,
            truncated: losses.truncated,
            lost: TranscriptionLosses::of(&losses),
            created_at: seconds(stored.created_at_ms),
            started_at: stored.started_at_ms.map(seconds),
            ended_at: stored.ended_at_ms.map(seconds),
            model: route.as_ref().map(|route| route.model.clone()),
            language: route.map(|route| route.language.name().to_owned()),
            text: state.map(ProgressState::text),
            runs: state.map(ProgressState::runs).unwrap_or_default(),
            retryable: error.as_ref().is_some_and(|error| error.code.may_be_servers_fault()),
            error,
            webhook: stored.webhook_url.clone().map(|url| webhook(url, stored)),
        }
    }
}

fn webhook(url: String, stored: &StoredJob) -> JobWebhook {
    let delivery = stored.delivery.as_ref();
    JobWebhook {
        url,
        state: delivery.map_or("waiting", |delivery| delivery.state.as_str()),
        attempts: delivery.map_or(0, |delivery| delivery.attempts),
        last_status: delivery.and_then(|delivery| delivery.last_status),
        last_error: delivery.and_then(|delivery| delivery.last_error.clone()),
    }
}

/// The part that is done, from 0 to 100 with one decimal.
pub fn percent(done_seconds: f64, total_seconds: f64) -> f64 {
    let part = done_seconds / total_seconds.max(1e-3);
    (part.clamp(0.0, 1.0) * 1000.0).round() / 10.0
}
