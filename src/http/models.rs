//! `GET /v1/models` and `/v1/models/{id}`.

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use crate::models::ModelFile;

/// The name that OpenAI's clients send; the language decides which model runs.
const ALIAS: &str = "whisper-1";

/// The models of this server.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelList {
    /// Always `list`.
    #[schema(examples("list"))]
    object: &'static str,
    /// The models, and `whisper-1` for the choice by language.
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    /// What to send as `model`.
    #[schema(examples("tiny"))]
    id: String,
    /// Always `model`.
    #[schema(examples("model"))]
    object: &'static str,
    /// When its file was written, in seconds since 1970.
    created: u64,
    /// Always `auris`.
    #[schema(examples("auris"))]
    owned_by: &'static str,
}

impl Model {
    fn new(id: &str, file: Option<&ModelFile>) -> Self {
        let created = file
            .and_then(|file| std::fs::metadata(&file.path).ok()?.modified().ok())
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs());
        Self { id: id.to_owned(), object: "model", created, owned_by: "auris" }
    }
}

/// List the models
#[utoipa::path(get, path = "/v1/models", operation_id = "listModels", tag = "models",
    responses((status = 200, description = "The models", body = ModelList)))]
pub(super) async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let models = &state.pipeline.models;
    let own = models.iter().map(|model| Model::new(&model.name, Some(model)));
    let alias = Model::new(ALIAS, models.first());
    Json(ModelList { object: "list", data: own.chain([alias]).collect() })
}

/// Describe a model
#[utoipa::path(get, path = "/v1/models/{id}", operation_id = "retrieveModel", tag = "models",
    params(("id" = String, Path, description = "The model's id", example = "tiny")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 404, description = "No such model", body = ErrorBody),
    ))]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    match state.pipeline.models.iter().find(|model| model.name == id) {
        Some(model) => Ok(Json(Model::new(&model.name, Some(model)))),
        None if id == ALIAS => Ok(Json(Model::new(ALIAS, state.pipeline.models.first()))),
        None => {
            let message = "no such model: GET /v1/models lists what this server runs";
            Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message))
        }
    }
}
