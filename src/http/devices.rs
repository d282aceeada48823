//! `GET /v1/devices`: what there is to run on, what it does, and why the rest is not used.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use crate::scheduler::{DeviceStatus, ModelState, ModelStatus, Snapshot};

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
    /// `ready` if at least one model can be used, else the best of its models' states.
    #[schema(examples("ready"))]
    state: &'static str,
    /// Why it cannot be used, if so.
    #[schema(required)]
    reason: Option<String>,
    /// How many chunks it can run at once.
    slots: usize,
    /// How many it is running.
    busy_slots: usize,
    /// All of its memory in bytes.
    memory_total_bytes: u64,
    /// The memory that was free when the server started, in bytes.
    memory_free_at_start_bytes: u64,
    /// The models that it runs.
    models: Vec<DeviceModel>,
}

/// A model on a device.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceModel {
    /// Its name.
    #[schema(examples("tiny"))]
    name: String,
    /// `starting`, `ready`, `restarting` or `unavailable`.
    #[schema(examples("ready"))]
    state: &'static str,
    /// Memory of its worker after loading, in bytes.
    #[schema(required)]
    memory_bytes: Option<u64>,
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
    let unused = state.unused.iter().map(|(backend, reason)| UnusedBackend {
        backend: backend.as_str(),
        reason: reason.clone(),
    });
    let Snapshot { devices, queued_chunks, backlog_seconds, draining, .. } = snapshot;
    Ok(Json(DeviceList {
        devices: devices.into_iter().map(Device::from).collect(),
        unused: unused.collect(),
        queued_chunks,
        backlog_audio_seconds: backlog_seconds,
        draining,
    }))
}

impl From<DeviceStatus> for Device {
    fn from(status: DeviceStatus) -> Self {
        let best = [ModelState::Ready, ModelState::Starting, ModelState::Restarting]
            .into_iter()
            .find(|state| status.models.iter().any(|model| model.state == *state))
            .unwrap_or(ModelState::Unavailable);
        let failure = status.models.iter().find_map(|model| model.last_failure.as_ref());
        let reason = failure.filter(|_| best != ModelState::Ready).map(|(_, detail, _)| detail);
        Self {
            id: status.info.id.to_string(),
            backend: status.info.backend.as_str(),
            state: best.as_str(),
            reason: reason.cloned(),
            name: status.info.name,
            slots: status.slots,
            busy_slots: status.busy_slots,
            memory_total_bytes: status.info.memory_total_bytes,
            memory_free_at_start_bytes: status.info.memory_free_bytes,
            models: status.models.into_iter().map(DeviceModel::from).collect(),
        }
    }
}

impl From<ModelStatus> for DeviceModel {
    fn from(status: ModelStatus) -> Self {
        let failure = |(reason, detail, at): (String, String, SystemTime)| WorkerFailure {
            reason,
            detail,
            at: at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        Self {
            name: status.name,
            state: status.state.as_str(),
            memory_bytes: status.resident_bytes,
            load_seconds: status.load_seconds,
            speed: status.speed,
            workers_started: status.workers_started,
            chunks: status.chunks,
            audio_seconds: status.audio_seconds,
            last_failure: status.last_failure.map(failure),
        }
    }
}
