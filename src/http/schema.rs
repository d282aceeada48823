//! What an answer in JSON looks like, for the document only.

use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use auris_format::{TranscriptionJson, TranscriptionVerbose};

/// Either of the two.
///
/// Written by hand, since `derive` says `oneOf`: a long answer has all that makes a short one, and
/// so is both.
pub(super) struct JsonAnswer;

impl PartialSchema for JsonAnswer {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(TranscriptionVerbose::name()))
            .item(Ref::from_schema_name(TranscriptionJson::name()))
            .description(Some("The answer in `verbose_json`, or else in `json`."))
            .into()
    }
}

impl ToSchema for JsonAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TranscriptionVerbose::name().into(), TranscriptionVerbose::schema()));
        schemas.push((TranscriptionJson::name().into(), TranscriptionJson::schema()));
        TranscriptionVerbose::schemas(schemas);
        TranscriptionJson::schemas(schemas);
    }
}
