//! Every metric's name, unit and help, in one place.
//!
//! All code that counts uses these names; the server program decides how to export them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// HTTP requests by `method`, `path` (the route) and `status`.
pub const HTTP_REQUESTS: &str = "auris_http_requests_total";
/// Time to answer an HTTP request, by `path`.
pub const HTTP_SECONDS: &str = "auris_http_request_seconds";
/// Seconds of audio of each finished chunk, by `device` and `model`; the sum is all of it.
pub const AUDIO_SECONDS: &str = "auris_chunk_audio_seconds";
/// Chunks finished, by `device`, `model` and `outcome`.
pub const CHUNKS: &str = "auris_chunks_total";
/// Time of a chunk from its arrival in the queue to its start.
pub const QUEUE_SECONDS: &str = "auris_queue_seconds";
/// Time of a chunk in the engine, by `device` and `model`.
pub const INFERENCE_SECONDS: &str = "auris_inference_seconds";
/// Chunks run again, by `device` and `reason`.
pub const RETRIES: &str = "auris_chunk_retries_total";
/// Time from a chunk's failure to the start of its next attempt.
pub const RETRY_DELAY_SECONDS: &str = "auris_chunk_retry_delay_seconds";
/// Chunks that ran elsewhere because of a `device` or a kind of device, by `reason`.
pub const FALLBACKS: &str = "auris_fallbacks_total";
/// Chunks that a `model` did because another one is missing, by `reason`.
pub const MODEL_FALLBACKS: &str = "auris_model_fallbacks_total";
/// Whether a requested `model` does its own work: 1, or 0 while another model does it.
pub const MODEL_AVAILABLE: &str = "auris_model_available";
/// Times that a `device` returned to use after a failure.
pub const RETURNS: &str = "auris_device_returns_total";
/// Times that a `device` failed again when it was tried.
pub const PROBE_FAILURES: &str = "auris_device_probe_failures_total";
/// Seconds that attempts which failed on a `device` took, plus the waits until the next attempts.
pub const LOST_SECONDS: &str = "auris_device_lost_seconds";
/// Chunks refused because they crashed two workers before.
pub const QUARANTINE_REFUSALS: &str = "auris_quarantine_refusals_total";
/// Free memory of a `device` in bytes, as last reported by the driver.
pub const DEVICE_FREE_BYTES: &str = "auris_device_free_bytes";
/// Whether a `device` is used: 1, or 0 while it is left alone after a failure.
pub const DEVICE_USED: &str = "auris_device_used";
/// Resident memory of a worker in bytes, by `device` and `model`; 0 while there is none.
pub const WORKER_BYTES: &str = "auris_worker_resident_bytes";
/// Failed workers, by `device`, `model` and `reason`.
pub const WORKER_FAILURES: &str = "auris_worker_failures_total";
/// Requests refused by `reason`: `full`, `share`, `draining`, or `rate` for a key's requests per
/// minute.
pub const REFUSALS: &str = "auris_refusals_total";
/// Seconds of audio that wait or run.
pub const BACKLOG_SECONDS: &str = "auris_backlog_audio_seconds";
/// Waiting chunks.
pub const QUEUED_CHUNKS: &str = "auris_queued_chunks";
/// Jobs by event: `accepted`, `resumed`, `finished`, `failed`, `cancelled`.
pub const JOBS: &str = "auris_jobs_total";
/// Jobs that are not finished.
pub const UNFINISHED_JOBS: &str = "auris_unfinished_jobs";
/// Slots in use, by `device`.
pub const BUSY_SLOTS: &str = "auris_busy_slots";

/// Bucket bounds of all `_seconds` histograms, in seconds.
pub const SECONDS_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// Registers units and help texts with the installed recorder.
pub fn describe() {
    describe_counter!(HTTP_REQUESTS, "HTTP requests by method, path and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "Time to answer an HTTP request");
    describe_histogram!(AUDIO_SECONDS, Unit::Seconds, "Seconds of audio of finished chunks");
    describe_counter!(CHUNKS, "Chunks finished by outcome");
    describe_histogram!(QUEUE_SECONDS, Unit::Seconds, "Time of a chunk in the queue");
    describe_histogram!(INFERENCE_SECONDS, Unit::Seconds, "Time of a chunk in the engine");
    describe_counter!(RETRIES, "Chunks run again, by reason");
    describe_histogram!(RETRY_DELAY_SECONDS, Unit::Seconds, "Time to a chunk's next attempt");
    describe_counter!(FALLBACKS, "Chunks that ran elsewhere because of a device, by reason");
    describe_counter!(MODEL_FALLBACKS, "Chunks done by another model than that asked for");
    describe_gauge!(MODEL_AVAILABLE, "1 if a model is here, 0 while another one does its work");
    describe_counter!(RETURNS, "Times that a device was used again after it had failed");
    describe_counter!(PROBE_FAILURES, "Times that a device failed again when it was tried");
    describe_gauge!(LOST_SECONDS, Unit::Seconds, "Time lost to attempts that failed on a device");
    describe_counter!(QUARANTINE_REFUSALS, "Chunks refused because they crash workers");
    describe_gauge!(DEVICE_FREE_BYTES, Unit::Bytes, "Free memory of a device");
    describe_gauge!(DEVICE_USED, "1 if a device is used, 0 while it is left alone");
    describe_gauge!(WORKER_BYTES, Unit::Bytes, "Resident memory of a worker");
    describe_counter!(WORKER_FAILURES, "Workers that ended badly, by reason");
    describe_counter!(REFUSALS, "Requests refused, by reason");
    describe_gauge!(BACKLOG_SECONDS, Unit::Seconds, "Seconds of audio that wait or run");
    describe_gauge!(QUEUED_CHUNKS, "Chunks that wait");
    describe_counter!(JOBS, "Jobs by how they were taken up or ended");
    describe_gauge!(UNFINISHED_JOBS, "Jobs that are not finished");
    describe_gauge!(BUSY_SLOTS, "Slots in use");
}
