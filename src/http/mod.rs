//! The HTTP interface: one list of routes, from which router and OpenAPI document are built.
//!
//! Handlers parse, check, act and respond; the work is done in `auris-jobs` and `auris-scheduler`.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, histogram};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tracing::Span;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use auris_core::metrics as names;

mod schema;
mod allowance;
mod asr;
mod client;
mod connections;
mod cors;
mod devices;
mod error;
mod fields;
mod health;
mod jobs;
mod durable;
mod hosts;
mod key_attempts;
mod keys;
mod page;
mod ndjson;
mod drain_body;
mod models;
mod preferences;
mod security;
mod state;
mod stream;
mod transcriptions;
mod upload;
mod response;
mod whisper_cpp;
mod fuzzing;

pub use connections::{ConnectionLimits, ConnectionSettings, listen, serve};
pub use cors::{Cors, CorsError};
pub use error::{ErrorBody, ErrorDetail};
#[doc(hidden)]
pub use fuzzing::read_fields;
pub use hosts::{Hosts, host_name};
pub use keys::{Key, KeyDigest, Keys};
pub use state::{AccessControl, AppState, UploadSettings};
pub use upload::OpenUploads;
#[doc(hidden)]
pub use upload::receive_form;

use auris_format::TranscriptionLine;
use error::ApiError;
use schema::JsonTranscript;
use stream::ServerSentEvent;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client that is kept, in bytes.
const MAX_ID_BYTES: usize = 128;

const JSON: &str = "application/json";

/// Where the OpenAPI document is.
const DOCUMENT_PATH: &str = "/openapi.json";

/// The largest size of a form without its file, in bytes.
const FORM_BYTES: u64 = 16 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "auris",
        description = "Speech to text on the best device that really works. \
                       Speaks OpenAI's audio API.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    // Referenced by descriptions that are built by hand.
    components(schemas(
        asr::AsrOutput, fields::ChunkingStrategy, fields::Granularity, fields::Include, fields::TaskName,
        ErrorBody, JsonTranscript, ServerSentEvent, TranscriptionLine,
    )),
    tags(
        (name = "audio", description = "Transcription and translation"),
        (name = "jobs", description = "Transcriptions in the background"),
        (name = "compatible", description = "The interfaces of other servers"),
        (name = "models", description = "Available models"),
        (name = "service", description = "Devices, health and metrics"),
    )
)]
struct ApiDoc;

/// The one list of routes.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(transcriptions::transcribe))
        .routes(routes!(transcriptions::translate))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::transcript))
        .routes(routes!(jobs::retry))
        .routes(routes!(whisper_cpp::inference))
        .routes(routes!(asr::asr))
        .routes(routes!(asr::detect_language))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(devices::list))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    fields::join_parts(&mut document);
    security::describe(&mut document);
    document
}

/// The whole application. Serve it with connect info, which identifies callers.
///
/// # Errors
/// The document cannot be written as JSON.
pub fn router(state: AppState, access: AccessControl) -> Result<Router, serde_json::Error> {
    let body_limit = state.uploads.max_bytes.saturating_add(FORM_BYTES);
    // Written once: everybody may ask for it.
    let document = Bytes::from(openapi().to_json()?);
    let router = Router::from(routes())
        .route(DOCUMENT_PATH, get(([(header::CONTENT_TYPE, JSON)], document)))
        .merge(SwaggerUi::new("/docs").config(Config::from(DOCUMENT_PATH)))
        .layer(DefaultBodyLimit::max(usize::try_from(body_limit).unwrap_or(usize::MAX)));
    Ok(guarded(router, access).with_state(state))
}

/// Layers for every route: errors in OpenAI's shape whatever happens, and tracing.
fn guarded<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    access: AccessControl,
) -> Router<S> {
    let cors = access.cors.map(|cors| cors.layer);
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(access.keys, keys::authenticate))
        .layer(middleware::from_fn_with_state(access.hosts, hosts::check))
        .layer(middleware::from_fn(drain_body::linger))
        .layer(middleware::map_response(to_api_error))
        .layer(middleware::from_fn(connections::refuse_beyond_limits))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(option_layer(cors))
        // Outside of the panics, so that they are counted.
        .layer(middleware::from_fn(count))
        // A refusal such as 503 is not a failure; real failures have been logged with their cause.
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(middleware::map_request(drop_invalid_request_id))
        .layer(middleware::map_response(page::restrict))
}

/// Leaves out an id that is not fit to be repeated in responses and logs; another one is made.
async fn drop_invalid_request_id(mut request: Request) -> Request {
    let is_plain = |id: &HeaderValue| {
        id.len() <= MAX_ID_BYTES && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let headers = request.headers_mut();
    if headers.get(REQUEST_ID).is_some_and(|id| !is_plain(id)) {
        headers.remove(REQUEST_ID);
    }
    request
}

/// Leaves out the query, in which some clients send keys.
fn span(request: &Request) -> Span {
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
}

async fn not_found() -> ApiError {
    let message = "unknown path: GET /docs lists the paths";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn method_not_allowed() -> ApiError {
    let message = "this path does not support this method: GET /docs lists the methods";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Replaces a library's response to a bad request, which is plain text or empty.
async fn to_api_error(response: Response) -> Response {
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == JSON);
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    match status {
        StatusCode::NOT_FOUND => not_found().await.into_response(),
        status if status.is_server_error() => {
            ApiError::internal(&format!("a library answered {status}")).into_response()
        }
        status => {
            let message = format!("the request cannot be understood ({status}): see GET /docs");
            ApiError::new(status, "invalid_request", message).into_response()
        }
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    ApiError::internal(&format!("a handler panicked: {text}")).into_response()
}

/// Counts requests and their time, by route, so that the number of series stays small.
async fn count(request: Request, next: Next) -> Response {
    let method = known_method(request.method());
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

/// The name of a method; strangers may invent more of them than there is memory for.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// The document as it is committed: pretty, with a newline at its end.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi().to_pretty_json().map(|json| json + "\n")
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    /// The status and the error that `GET path` is answered with.
    async fn check(path: &str, handler: axum::routing::MethodRouter) -> (u16, serde_json::Value) {
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Body::empty()).unwrap();
        let router = guarded(Router::new().route("/", handler), AccessControl::default());
        let response = router.oneshot(request).await.unwrap();
        assert!(response.headers().contains_key(REQUEST_ID));
        assert_eq!(response.headers()["x-should-retry"], "false");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_hides_its_cause() {
        async fn broken() {
            panic!("secret cause");
        }
        let (status, body) = check("/", get(broken)).await;
        assert_eq!((status, &body["error"]["code"]), (500, &"internal_error".into()));
        assert!(!body.to_string().contains("secret"), "{body}");
    }

    #[tokio::test]
    async fn what_a_library_refuses_is_reported_in_our_shape() {
        let refusal = |status: StatusCode| get(async move || (status, "plain words"));
        let (status, body) = check("/", refusal(StatusCode::BAD_REQUEST)).await;
        assert_eq!((status, &body["error"]["code"]), (400, &"invalid_request".into()));
        let (status, body) = check("/", refusal(StatusCode::NOT_FOUND)).await;
        assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()));
        let (status, body) = check("/", refusal(StatusCode::BAD_GATEWAY)).await;
        assert_eq!((status, &body["error"]["code"]), (500, &"internal_error".into()));
    }
}
