//! The HTTP interface: one list of routes, from which router and OpenAPI document are made.
//!
//! Handlers parse, check, act and answer; what they act on is in `pipeline` and `scheduler`.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use metrics::{counter, histogram};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::metrics as names;

mod answer;
mod devices;
mod error;
mod fields;
mod health;
mod models;
mod state;
mod transcriptions;
mod upload;

pub use error::{ErrorBody, ErrorDetail};
pub use state::{AppState, UploadSettings};

use error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a form may weigh beyond its file, in bytes.
const FORM_BYTES: u64 = 16 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "auris",
        description = "Speech to text on the best device that really works. \
                       Speaks OpenAI's audio API.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "audio", description = "Transcription and translation"),
        (name = "models", description = "What can be asked for"),
        (name = "service", description = "Devices, health and metrics"),
    )
)]
struct ApiDoc;

/// The one list of routes.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(transcriptions::transcribe))
        .routes(routes!(transcriptions::translate))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(devices::list))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Everything that the server answers. Serve it with connect info, which tells callers apart.
pub fn router(state: AppState) -> Router {
    let body_limit = state.uploads.max_bytes.saturating_add(FORM_BYTES);
    let (router, document) = routes().split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(usize::try_from(body_limit).unwrap_or(usize::MAX)))
        .layer(middleware::from_fn(count))
        .layer(CatchPanicLayer::custom(panicked))
        // A refusal such as 503 is no failure of ours; what is one has been logged with its cause.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .with_state(state)
}

async fn not_found() -> ApiError {
    let message = "there is nothing at this address: GET /docs shows what there is";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn method_not_allowed() -> ApiError {
    let message = "this address does not take this method: GET /docs shows what it takes";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    ApiError::internal(&format!("a handler panicked: {text}")).into_response()
}

/// Counts requests and their time, by route, so that the number of series stays small.
async fn count(request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "none".to_owned(),
    };
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    histogram!(names::HTTP_SECONDS, "path" => path.clone()).record(started.elapsed());
    counter!(names::HTTP_REQUESTS, "method" => method, "path" => path, "status" => status)
        .increment(1);
    response
}

/// The document as it is committed: pretty, with a newline at its end.
///
/// # Errors
/// None that is known: the document has a JSON form.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi().to_pretty_json().map(|json| json + "\n")
}
