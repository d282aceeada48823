//! API keys in the OpenAPI document, for all routes.

use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

use super::error::described;
use super::keys::is_open;

const SCHEME: &str = "bearer";

/// Adds the scheme, and the optional key to each route that may require one.
pub(super) fn describe(document: &mut OpenApi) {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("An API key, if the server requires one".to_owned());
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    let denied = described("The API key is missing or unknown");
    let foreign = described(
        "A server without keys does not accept the name it is called by, or a page of another site",
    );
    let none = SecurityRequirement::default();
    let key = SecurityRequirement::new(SCHEME, [""; 0]);
    for (path, item) in &mut document.paths.paths {
        if is_open(path) {
            continue;
        }
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            operation.security = Some(vec![none.clone(), key.clone()]);
            operation.responses.responses.insert("401".to_owned(), denied.clone());
            operation.responses.responses.insert("403".to_owned(), foreign.clone());
        }
    }
}
