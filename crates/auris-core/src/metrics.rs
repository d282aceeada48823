//! Every metric's name, unit and help, in one place.
//!
//! All code that counts uses these names; the server program decides how to export them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Declares a constant for each metric, and `describe`.
macro_rules! metrics {
    ($($describe:ident $constant:ident = $name:literal, $($unit:ident,)? $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )*

        /// Registers units and help texts with the installed recorder.
        pub fn describe() {
            $($describe!($constant, $(Unit::$unit,)? $help);)*
        }
    };
}

metrics! {
    describe_counter HTTP_REQUESTS = "auris_http_requests_total", "HTTP requests by method, path and status";
    describe_histogram HTTP_SECONDS = "auris_http_request_seconds", Seconds, "Time to answer an HTTP request";
    describe_histogram AUDIO_SECONDS = "auris_chunk_audio_seconds", Seconds, "Seconds of audio of finished chunks";
    describe_counter CHUNKS = "auris_chunks_total", "Chunks finished by outcome";
    describe_histogram QUEUE_SECONDS = "auris_queue_seconds", Seconds, "Time of a chunk in the queue";
    describe_histogram INFERENCE_SECONDS = "auris_inference_seconds", Seconds, "Time of a chunk in the engine";
    describe_counter RETRIES = "auris_chunk_retries_total", "Chunks run again, by reason";
    describe_histogram RETRY_DELAY_SECONDS = "auris_chunk_retry_delay_seconds", Seconds, "Time to a chunk's next attempt";
    describe_counter FALLBACKS = "auris_fallbacks_total", "Chunks that ran elsewhere because of a device, by reason";
    describe_counter MODEL_FALLBACKS = "auris_model_fallbacks_total", "Chunks that another model did for a missing one";
    describe_gauge MODEL_AVAILABLE = "auris_model_available", "1 if a model is installed, 0 while another one replaces it";
    describe_counter RETURNS = "auris_device_returns_total", "Times that a device was used again after it had failed";
    describe_counter PROBE_FAILURES = "auris_device_probe_failures_total", "Times that a device failed again when it was tried";
    describe_gauge LOST_SECONDS = "auris_device_lost_seconds", Seconds, "Time lost to attempts that failed on a device";
    describe_counter QUARANTINE_REFUSALS = "auris_quarantine_refusals_total", "Chunks refused because they crash workers";
    describe_gauge DEVICE_FREE_BYTES = "auris_device_free_bytes", Bytes, "Free memory of a device";
    describe_gauge DEVICE_USED = "auris_device_used", "1 if a device is used, 0 while it is left alone";
    describe_gauge WORKER_BYTES = "auris_worker_resident_bytes", Bytes, "Resident memory of a worker";
    describe_counter WORKER_FAILURES = "auris_worker_failures_total", "Workers that ended badly, by reason";
    describe_counter REFUSALS = "auris_refusals_total", "Requests refused, by reason";
    describe_counter EVICTED_CONNECTIONS = "auris_evicted_connections_total", "Stalled connections that were closed for new ones";
    describe_gauge BACKLOG_SECONDS = "auris_backlog_audio_seconds", Seconds, "Seconds of audio that wait or run";
    describe_gauge QUEUED_CHUNKS = "auris_queued_chunks", "Chunks that wait";
    describe_counter JOBS = "auris_jobs_total", "Jobs by how they were taken up or ended";
    describe_gauge UNFINISHED_JOBS = "auris_unfinished_jobs", "Jobs that are not finished";
    describe_gauge BUSY_SLOTS = "auris_busy_slots", "Slots in use";
}

/// Bucket bounds of all `_seconds` histograms, in seconds.
pub const SECONDS_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
