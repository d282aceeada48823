//! `GET /v1/models` and `/v1/models/{id}`.

use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::{ApiError, ErrorBody};
use auris_models::{Availability, ModelFile, Models};

/// The name that OpenAI's clients send; the language decides which model runs.
const ALIAS: &str = "whisper-1";

/// The models of this server.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelList {
    /// Always `list`.
    #[schema(examples("list"))]
    object: &'static str,
    /// The models, and `whisper-1`, which chooses by language.
    data: Vec<ModelView>,
}

/// A model.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub(super) struct ModelView {
    /// The value for `model` in requests.
    #[schema(examples("tiny"))]
    id: String,
    /// Always `model`.
    #[schema(examples("model"))]
    object: &'static str,
    /// The time of the file, in seconds since 1970; 0 while it is missing.
    created: u64,
    /// Always `auris`.
    #[schema(examples("auris"))]
    owned_by: &'static str,
    #[serde(flatten)]
    availability: ModelAvailability,
}

/// Whether a model is installed.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelAvailability {
    /// `installed`; or `downloading`, `loading` or `missing`, while another model stands in.
    #[schema(examples("installed"))]
    state: &'static str,
    /// The model that runs its requests: itself or the bundled one.
    #[schema(examples("tiny"))]
    served_by: String,
    /// Progress of the download, from 0 to 100.
    #[schema(required)]
    download_percent: Option<u8>,
    /// Why it is missing, and what to do about it.
    #[schema(required)]
    reason: Option<String>,
}

impl ModelAvailability {
    pub(super) fn new(models: &Models, model: &ModelFile) -> Self {
        let found = models.iter().find(|(own, _)| own.name == model.name);
        let availability = found.map_or(&Availability::Installed, |(_, availability)| availability);
        Self {
            state: availability.into_str(),
            served_by: models.runner(model).0.to_owned(),
            download_percent: match availability {
                Availability::Downloading { percent } => Some(*percent),
                _ => None,
            },
            reason: match availability {
                Availability::Missing { reason } => Some(reason.clone()),
                _ => None,
            },
        }
    }
}

impl ModelView {
    fn new(id: &str, models: &Models, model: &ModelFile) -> Self {
        let created = std::fs::metadata(&model.path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs());
        let availability = ModelAvailability::new(models, model);
        Self { id: id.to_owned(), object: "model", created, owned_by: "auris", availability }
    }
}

/// List the models
#[utoipa::path(get, path = "/v1/models", operation_id = "listModels", tag = "models",
    responses((status = 200, description = "The models", body = ModelList)))]
pub(super) async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let models = state.pipeline.models.now();
    let own = models.requested.iter().map(|model| ModelView::new(&model.name, &models, model));
    let given = state.pipeline.aliases.of_models().map(|(alias, _)| alias);
    // A model goes before an alias of the same name.
    let given = given.filter(|alias| *alias != ALIAS && models.find(alias).is_none());
    let aliases = [ALIAS].into_iter().chain(given).filter_map(|alias| {
        let model = served(&state, &models, alias)?;
        Some(ModelView::new(alias, &models, &model))
    });
    Json(ModelList { object: "list", data: own.chain(aliases).collect() })
}

/// Get a model
#[utoipa::path(get, path = "/v1/models/{id}", operation_id = "retrieveModel", tag = "models",
    params(("id" = String, Path, description = "The model's id", example = "tiny")),
    responses(
        (status = 200, description = "The model", body = ModelView),
        (status = 404, description = "No such model", body = ErrorBody),
    ))]
pub(super) async fn get(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<ModelView>, ApiError> {
    let models = state.pipeline.models.now();
    match served(&state, &models, &id) {
        Some(model) => Ok(Json(ModelView::new(&id, &models, &model))),
        None => {
            let message = "no such model: GET /v1/models lists what this server runs";
            Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message))
        }
    }
}

/// The model that `name` stands for; the default one if the language decides.
fn served(state: &AppState, models: &Models, name: &str) -> Option<ModelFile> {
    match state.pipeline.find_model(Some(name)).ok()? {
        Some(model) => Some(model),
        None => models.default_model().cloned(),
    }
}
