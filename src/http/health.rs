//! `GET /healthz`, `/readyz` and `/metrics`: for orchestrators and monitoring.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};

/// Whether the path is one of these, which respond even if there are too many connections.
pub(super) fn is_check(path: &str) -> bool {
    ["/healthz", "/readyz", "/metrics"].contains(&path)
}

/// The state of the server.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Always `ok`.
    #[schema(examples("ok"))]
    status: &'static str,
}

/// Liveness check
///
/// Responds within milliseconds, whatever the devices are doing.
#[utoipa::path(get, path = "/healthz", operation_id = "checkHealth", tag = "service",
    responses((status = 200, description = "The server is alive", body = Status)))]
pub(super) async fn healthz() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// The server is ready.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// Always `ready`.
    #[schema(examples("ready"))]
    status: &'static str,
    /// The requested models.
    models: Vec<ModelReadiness>,
}

/// The state of a model.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelReadiness {
    #[schema(examples("tiny"))]
    id: String,
    /// `installed`; or `downloading`, `loading` or `missing`, while another model stands in.
    #[schema(examples("installed"))]
    state: &'static str,
    /// The model that runs its requests.
    #[schema(examples("tiny"))]
    served_by: String,
}

/// Readiness check
///
/// Succeeds once the default model, or the one that stands in for it, is loaded on at least one
/// device.
#[utoipa::path(get, path = "/readyz", operation_id = "checkReadiness", tag = "service", responses(
    (status = 200, description = "The server can transcribe", body = Readiness),
    (status = 503, description = "The server cannot transcribe; the message has the reason", body = ErrorBody),
))]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<Json<Readiness>, ApiError> {
    let models = state.pipeline.models.now();
    let default = models.default_model().map_or("", |model| models.runner(model).0);
    let Some(snapshot) = state.pipeline.scheduler.snapshot().await else {
        return Err(ApiError::not_ready("the scheduler has ended"));
    };
    if snapshot.draining {
        return Err(ApiError::not_ready("the service is shutting down"));
    }
    if snapshot.is_ready(default) {
        let readiness = models.iter().map(|(model, availability)| ModelReadiness {
            id: model.name.clone(),
            state: availability.into_str(),
            served_by: models.runner(model).0.to_owned(),
        });
        return Ok(Json(Readiness { status: "ready", models: readiness.collect() }));
    }
    let failure = snapshot.models(default).find_map(|status| status.last_failure.as_ref());
    Err(ApiError::not_ready(match failure {
        Some((exit, _)) => format!("the default model `{default}` is not loaded: {}", exit.detail),
        None => format!("the default model `{default}` is being loaded"),
    }))
}

/// Metrics in Prometheus' text format
#[utoipa::path(get, path = "/metrics", operation_id = "readMetrics", tag = "service",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(state): State<AppState>) -> String {
    state.metrics.render()
}
