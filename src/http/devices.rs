//! `GET /v1/devices`: what there is to run on, what it does, and why the rest is not used.

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

/// Every device and the queue before them.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceList {
    /// The devices in use.
    devices: Vec<Device>,
    /// Kinds of devices that are not used.
    unused: Vec<UnusedBackend>,
    /// Chunks that wait.
    queued_chunks: usize,
    /// Seconds of audio that wait or run.
    backlog_audio_seconds: f64,
    /// Chunks that are refused because they crashed two workers.
    quarantined_chunks: usize,
    /// Whether new requests are refused because the server is about to end.
    draining: bool,
}

/// A device in use.
#[derive(Serialize, ToSchema)]
pub(super) struct Device {
    /// Its name here, as in the header `x-device`.
    #[schema(examples("cpu"))]
    id: String,
    /// What drives it.
    #[schema(examples("cpu"))]
    backend: &'static str,
    /// The name that it gives itself.
    name: String,
    /// `ready` if at least one model can be used, `recovering` while it is left alone after a
    /// failure, else the best of its models' states.
    #[schema(examples("ready"))]
    state: &'static str,
    /// Why it cannot be used, if so.
    #[schema(required)]
    reason: Option<String>,
    /// The name that stays the same when devices are added or hidden.
    #[schema(required)]
    uuid: Option<String>,
    /// The CUDA architecture.
    #[schema(required, examples("8.6"))]
    compute_capability: Option<String>,
    /// How many chunks it can run at once.
    slots: usize,
    /// How many it is running.
    busy_slots: usize,
    /// All of its memory in bytes.
    memory_total_bytes: u64,
    /// The memory that was free when it was found, in bytes.
    memory_free_at_start_bytes: u64,
    /// Its free memory as the driver told last, in bytes; of GPUs only.
    #[schema(required)]
    memory_free_bytes: Option<u64>,
    /// Its memory that is promised to workers, in bytes; of GPUs only.
    #[schema(required)]
    memory_reserved_bytes: Option<u64>,
    /// How busy the driver says it is, from 0 to 100. Under WSL2 it does not say.
    #[schema(required)]
    utilisation_percent: Option<u8>,
    /// `closed` while it is used, `open` while it is left alone after a failure, `half-open`
    /// while it is tried again.
    #[schema(examples("closed"))]
    breaker: &'static str,
    /// Seconds until it is tried again.
    #[schema(required)]
    retry_in_seconds: Option<f64>,
    /// What to change so that it runs out of memory less often.
    #[schema(required)]
    advice: Option<String>,
    /// How often a chunk ran elsewhere because of it, by reason.
    fallbacks: BTreeMap<String, u64>,
    /// How often it was used again after it had failed.
    returns: u64,
    /// How often it failed again when it was tried.
    probe_failures: u64,
    /// Seconds lost to attempts that failed on it.
    seconds_lost: f64,
    /// What has happened to it, the oldest first.
    history: Vec<DeviceEvent>,
    /// The models that it runs.
    models: Vec<DeviceModel>,
}

/// Something that happened to a device.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceEvent {
    /// When, in seconds since 1970.
    at: u64,
    /// `failure`, `opened`, `probe-failed`, `returned`, `squeezed`, `unloaded` or `recycled`.
    #[schema(examples("failure"))]
    kind: &'static str,
    /// The model that it happened with.
    #[schema(required)]
    model: Option<String>,
    /// The reason in a word.
    #[schema(examples("out-of-memory"))]
    reason: String,
    /// The reason in words.
    detail: String,
}

/// A model on a device.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceModel {
    /// Its name.
    #[schema(examples("tiny"))]
    name: String,
    /// What is loaded for it: itself, or a quantised variant for lack of memory.
    #[schema(required)]
    loaded: Option<String>,
    /// `starting`, `ready`, `restarting`, `unloaded`, `no-room` or `unavailable`.
    #[schema(examples("ready"))]
    state: &'static str,
    /// How many chunks its worker runs at once; 0 without one.
    slots: usize,
    /// Memory of its worker, in bytes.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// Device memory that its worker took, in bytes.
    #[schema(required)]
    device_memory_bytes: Option<u64>,
    /// Memory that it would be expected to need on a GPU, in bytes.
    device_memory_needed_bytes: u64,
    /// Seconds that loading took.
    #[schema(required)]
    load_seconds: Option<f64>,
    /// Seconds of audio that one slot transcribes in a second, as measured.
    #[schema(required)]
    speed: Option<f64>,
    /// Workers started so far; more than one means that some ended.
    workers_started: u64,
    /// Chunks finished.
    chunks: u64,
    /// Seconds of audio in them.
    audio_seconds: f64,
    /// How the last worker that ended badly did.
    #[schema(required)]
    last_failure: Option<WorkerFailure>,
}

/// How a worker ended.
#[derive(Serialize, ToSchema)]
pub(super) struct WorkerFailure {
    /// The class.
    #[schema(examples("out-of-memory"))]
    reason: String,
    /// What happened, and what the worker last said.
    detail: String,
    /// When, in seconds since 1970.
    at: u64,
}

/// A kind of device that is not used.
#[derive(Serialize, ToSchema)]
pub(super) struct UnusedBackend {
    /// The kind.
    #[schema(examples("cuda"))]
    backend: &'static str,
    /// The reason in a word, as in the header `x-fallback-reason`; `null` if it is by choice.
    #[schema(required, examples("no-driver"))]
    cause: Option<String>,
    /// Why, and what to do about it.
    reason: String,
}

/// Tell what every device is doing
#[utoipa::path(get, path = "/v1/devices", operation_id = "listDevices", tag = "service", responses(
    (status = 200, description = "Every device", body = DeviceList),
    (status = 500, description = "The scheduler has ended", body = ErrorBody),
))]
pub(super) async fn list(State(state): State<AppState>) -> Result<Json<DeviceList>, ApiError> {
    let snapshot = state.pipeline.scheduler.snapshot().await;
    let snapshot = snapshot.ok_or_else(|| ApiError::internal(&"the scheduler has ended"))?;
    let Snapshot { devices, unused, queued_chunks, backlog_seconds, draining, .. } = snapshot;
    let quarantined_chunks = snapshot.quarantined_chunks;
    let unused = unused.into_iter().map(|unused| UnusedBackend {
        backend: unused.backend.into_str(),
        cause: unused.cause.map(|cause| cause.to_string()),
        reason: unused.detail,
    });
    Ok(Json(DeviceList {
        devices: devices.into_iter().map(Device::from).collect(),
        unused: unused.collect(),
        queued_chunks,
        backlog_audio_seconds: backlog_seconds,
        quarantined_chunks,
        draining,
    }))
}

impl From<DeviceStatus> for Device {
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
            history: event_log.events.into_iter().map(DeviceEvent::from).collect(),
            models: status.models.into_iter().map(DeviceModel::from).collect(),
        }
    }
}

/// What a device is good for, and why it is not, if so.
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

impl From<auris_scheduler::LoggedEvent> for DeviceEvent {
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

impl From<ModelStatus> for DeviceModel {
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
