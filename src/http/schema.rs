//! The schema of a transcript in JSON.

use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use auris_format::{TranscriptionJson, TranscriptionVerbose};

/// `json` or `verbose_json`.
///
/// Written by hand, since `derive` writes `oneOf`: `verbose_json` has every field of `json`, and so
/// matches both.
pub(super) struct JsonTranscript;

impl PartialSchema for JsonTranscript {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(TranscriptionVerbose::name()))
            .item(Ref::from_schema_name(TranscriptionJson::name()))
            .description(Some("A transcript in `verbose_json` or `json`."))
            .into()
    }
}

impl ToSchema for JsonTranscript {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TranscriptionVerbose::name().into(), TranscriptionVerbose::schema()));
        schemas.push((TranscriptionJson::name().into(), TranscriptionJson::schema()));
        TranscriptionVerbose::schemas(schemas);
        TranscriptionJson::schemas(schemas);
    }
}
