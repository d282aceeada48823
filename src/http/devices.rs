//! `GET /v1/devices`: every device, what it does, and why others are not used.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use auris_scheduler::supervisor::WorkerExit;
use auris_scheduler::{BreakerStatus, DeviceStatus, ModelState, ModelStatus, Snapshot};

/// Every device and the queue.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceList {
    devices: Vec<DeviceView>,
    /// Backends that are not used, and why.
    unused: Vec<UnusedBackendView>,
    /// Chunks in the queue.
    queued_chunks: usize,
    /// Seconds of audio in the queue and on the devices.
    backlog_audio_seconds: f64,
    /// Chunks that are refused because they crashed two workers.
    quarantined_chunks: usize,
    /// Whether new requests are refused because the server is shutting down.
    draining: bool,
}

/// A device in use.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub(super) struct DeviceView {
    /// The id, as in the header `x-device`.
    #[schema(examples("cpu"))]
    id: String,
    #[schema(examples("cpu"))]
    backend: &'static str,
    /// The name that the driver reports.
    name: String,
    /// `ready` if at least one model can be used, `recovering` during the pause after a failure,
    /// else the best state of its models.
    #[schema(examples("ready"))]
    state: &'static str,
    /// Why the device cannot be used.
    #[schema(required)]
    reason: Option<String>,
    /// Stays the same when devices are added or hidden.
    #[schema(required)]
    uuid: Option<String>,
    /// CUDA compute capability.
    #[schema(required, examples("8.6"))]
    compute_capability: Option<String>,
    /// The most chunks at once.
    slots: usize,
    /// The chunks that are running.
    busy_slots: usize,
    memory_total_bytes: u64,
    /// Free memory when the device was found, in bytes.
    memory_free_at_start_bytes: u64,
    /// Free memory as the driver last reported it, in bytes; GPUs only.
    #[schema(required)]
    memory_free_bytes: Option<u64>,
    /// Memory reserved for workers, in bytes; GPUs only.
    #[schema(required)]
    memory_reserved_bytes: Option<u64>,
    /// Utilisation as the driver reports it, from 0 to 100. WSL2's driver does not report it.
    #[schema(required)]
    utilisation_percent: Option<u8>,
    /// The circuit breaker: `closed` in use, `open` during the pause after a failure, `half-open`
    /// while the device is tried again.
    #[schema(examples("closed"))]
    breaker: &'static str,
    /// Seconds until the device is tried again.
    #[schema(required)]
    retry_in_seconds: Option<f64>,
    /// How to avoid that it runs out of memory.
    #[schema(required)]
    advice: Option<String>,
    /// Chunks that ran elsewhere because of this device, by reason.
    fallbacks: BTreeMap<String, u64>,
    /// How often the device recovered.
    returns: u64,
    /// How often it failed again when tried.
    probe_failures: u64,
    /// Seconds lost in failed attempts.
    seconds_lost: f64,
    /// The latest events, the oldest first.
    history: Vec<DeviceEventView>,
    models: Vec<DeviceModelView>,
}

/// An event of a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceEvent)]
pub(super) struct DeviceEventView {
    /// Seconds since 1970.
    at: u64,
    /// `failure`, `opened`, `probe-failed`, `returned`, `squeezed`, `unloaded` or `recycled`.
    #[schema(examples("failure"))]
    kind: &'static str,
    #[schema(required)]
    model: Option<String>,
    /// The reason as a word, as in `x-fallback-reason`.
    #[schema(examples("out-of-memory"))]
    reason: String,
    /// The reason in a sentence.
    detail: String,
}

/// A model on a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceModel)]
pub(super) struct DeviceModelView {
    #[schema(examples("tiny"))]
    name: String,
    /// The loaded model: this one, or a quantised variant if memory is short.
    #[schema(required)]
    loaded: Option<String>,
    /// `starting`, `ready`, `restarting`, `unloaded`, `no-room` or `unavailable`.
    #[schema(examples("ready"))]
    state: &'static str,
    /// The most chunks at once; 0 without a worker.
    slots: usize,
    /// Memory of the worker process, in bytes.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// Device memory that its worker took, in bytes.
    #[schema(required)]
    device_memory_bytes: Option<u64>,
    /// Estimated need of GPU memory, in bytes.
    device_memory_needed_bytes: u64,
    #[schema(required)]
    load_seconds: Option<f64>,
    /// Measured speed of one slot: seconds of audio per second.
    #[schema(required)]
    speed: Option<f64>,
    /// Workers started so far; more than one means that some have ended.
    workers_started: u64,
    /// Finished chunks.
    chunks: u64,
    /// Seconds of audio in finished chunks.
    audio_seconds: f64,
    /// The last failure of a worker.
    #[schema(required)]
    last_failure: Option<WorkerFailure>,
}

/// A failure of a worker.
#[derive(Serialize, ToSchema)]
pub(super) struct WorkerFailure {
    /// The reason as a word, as in `x-fallback-reason`.
    #[schema(examples("out-of-memory"))]
    reason: String,
    /// What happened, and the last output of the worker.
    detail: String,
    /// Seconds since 1970.
    at: u64,
}

/// A backend that is not used.
#[derive(Serialize, ToSchema)]
#[schema(as = UnusedBackend)]
pub(super) struct UnusedBackendView {
    #[schema(examples("cuda"))]
    backend: &'static str,
    /// The reason as a word, as in `x-fallback-reason`; `null` if it was configured.
    #[schema(required, examples("no-driver"))]
    cause: Option<String>,
    /// The reason in a sentence, and what to do about it.
    reason: String,
}

/// List the devices
#[utoipa::path(get, path = "/v1/devices", operation_id = "listDevices", tag = "service", responses(
    (status = 200, description = "Every device", body = DeviceList),
    (status = 500, description = "The scheduler failed", body = ErrorBody),
))]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<DeviceList>, ApiError> {
    let snapshot = state.pipeline.scheduler.snapshot().await;
    let snapshot = snapshot.ok_or_else(|| ApiError::internal(&"the scheduler has ended"))?;
    let Snapshot { devices, unused, queued_chunks, backlog_seconds, draining, .. } = snapshot;
    let quarantined_chunks = snapshot.quarantined_chunks;
    let unused = unused.into_iter().map(|unused| UnusedBackendView {
        backend: unused.backend.into_str(),
        cause: unused.cause.map(|cause| cause.to_string()),
        reason: unused.detail,
    });
    Ok(Json(DeviceList {
        devices: devices.into_iter().map(DeviceView::from).collect(),
        unused: unused.collect(),
        queued_chunks,
        backlog_audio_seconds: backlog_seconds,
        quarantined_chunks,
        draining,
    }))
}

impl From<DeviceStatus> for DeviceView {
    fn from(status: DeviceStatus) -> Self {
        let (state, reason) = state_and_reason(&status);
        let retry_in_seconds = match status.breaker {
            BreakerStatus::Open { retry_in_seconds, .. } => Some(retry_in_seconds),
            _ => None,
        };
        let DeviceStatus { info, event_log, .. } = status;
        Self {
            id: info.id.to_string(),
            backend: info.backend.into_str(),
            state,
            reason,
            name: info.name,
            uuid: info.uuid,
            compute_capability: info.compute_capability,
            slots: status.slots,
            busy_slots: status.busy_slots,
            memory_total_bytes: info.memory_total_bytes,
            memory_free_at_start_bytes: info.memory_free_bytes,
            memory_free_bytes: status.memory_free_bytes,
            memory_reserved_bytes: status.memory_reserved_bytes,
            utilisation_percent: status.utilisation_percent,
            breaker: status.breaker.into_str(),
            retry_in_seconds,
            advice: status.advice,
            fallbacks: event_log
                .fallbacks
                .into_iter()
                .map(|(reason, count)| (reason.to_string(), count))
                .collect(),
            returns: event_log.returns,
            probe_failures: event_log.probe_failures,
            seconds_lost: event_log.seconds_lost,
            history: event_log.events.into_iter().map(DeviceEventView::from).collect(),
            models: status.models.into_iter().map(DeviceModelView::from).collect(),
        }
    }
}

/// The state of a device, and why it cannot be used.
fn state_and_reason(status: &DeviceStatus) -> (&'static str, Option<String>) {
    let failures = status.models.iter().filter_map(|model| model.last_failure.as_ref());
    let latest = failures.max_by_key(|(_, at)| *at);
    let failure = latest.map(|(exit, _)| exit.detail.clone());
    if let BreakerStatus::Open { reason, .. } | BreakerStatus::HalfOpen { reason } = status.breaker
    {
        return ("recovering", Some(failure.unwrap_or_else(|| reason.to_string())));
    }
    let best = [
        ModelState::Ready,
        ModelState::Starting,
        ModelState::Restarting,
        ModelState::Unloaded,
        ModelState::NoRoom,
    ];
    let has = |state: &ModelState| status.models.iter().any(|model| model.state == *state);
    match best.into_iter().find(has).unwrap_or(ModelState::Unavailable) {
        state @ (ModelState::Ready | ModelState::Unloaded) => (state.into_str(), None),
        ModelState::NoRoom => ("no-room", Some("not enough memory for any model".to_owned())),
        state => (state.into_str(), failure),
    }
}

fn since_1970(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl From<auris_scheduler::LoggedEvent> for DeviceEventView {
    fn from(event: auris_scheduler::LoggedEvent) -> Self {
        Self {
            at: since_1970(event.at),
            kind: event.kind.into_str(),
            model: event.model,
            reason: event.reason.to_string(),
            detail: event.detail,
        }
    }
}

impl From<ModelStatus> for DeviceModelView {
    fn from(status: ModelStatus) -> Self {
        let failure = |(exit, at): (WorkerExit, SystemTime)| WorkerFailure {
            reason: exit.kind.to_string(),
            detail: exit.detail,
            at: since_1970(at),
        };
        Self {
            name: status.name,
            loaded: status.loaded,
            state: status.state.into_str(),
            slots: status.slots,
            memory_bytes: status.resident_bytes,
            device_memory_bytes: status.device_bytes,
            device_memory_needed_bytes: status.needed_bytes,
            load_seconds: status.load_seconds,
            speed: status.speed,
            workers_started: status.workers_started,
            chunks: status.chunks,
            audio_seconds: status.audio_seconds,
            last_failure: status.last_failure.map(failure),
        }
    }
}
