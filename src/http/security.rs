//! What the OpenAPI document says about keys, in one place for all routes.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};

use super::keys::is_open;

const SCHEME: &str = "bearer";

/// Adds the scheme, and to each route that asks for a key that it may do so.
pub(super) fn describe(document: &mut OpenApi) {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("A key of this server, if it asks for one".to_owned());
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    let error = Ref::from_schema_name("ErrorBody");
    let denied = ResponseBuilder::new()
        .description("The API key is missing or not known")
        .content("application/json", ContentBuilder::new().schema(Some(error)).build())
        .build();
    let none = SecurityRequirement::default();
    let key = SecurityRequirement::new(SCHEME, [""; 0]);
    for (path, item) in &mut document.paths.paths {
        if is_open(path) {
            continue;
        }
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            operation.security = Some(vec![none.clone(), key.clone()]);
            operation.responses.responses.insert("401".to_owned(), denied.clone().into());
        }
    }
}
