//! `chunking_strategy`: how the file is cut.
//!
//! As `auto`, as JSON, or as fields with brackets.

use std::time::Duration;

use super::reader::{Fields, Value};
use crate::audio::{ChunkPolicy, Pauses};
use crate::http::error::ApiError;

const STRATEGY: &str = "chunking_strategy";
const TYPE: &str = "chunking_strategy[type]";
const PADDING: &str = "chunking_strategy[prefix_padding_ms]";
const SILENCE: &str = "chunking_strategy[silence_duration_ms]";
const THRESHOLD: &str = "chunking_strategy[threshold]";

/// How the file is cut; `None` is as the server cuts all.
pub(in crate::http) fn chunking(fields: &mut Fields<'_>) -> Result<Option<ChunkPolicy>, ApiError> {
    let Some(whole) = fields.one(STRATEGY)? else { return settings(fields) };
    if !whole.text.starts_with('{') {
        return of_type(&whole, fields);
    }
    let members = members(&whole)?;
    let mut members = Fields::new(&members);
    let policy = settings(&mut members)?;
    match members.ignored().first() {
        Some(unknown) => Err(whole.wrong(format!("{unknown} is not known"))),
        None => Ok(policy),
    }
}

/// The members of an object in JSON, under the names that they have as fields.
fn members(whole: &Value) -> Result<Vec<(String, String)>, ApiError> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&whole.text)
        .map_err(|error| whole.wrong(format!("{STRATEGY} is not valid JSON: {error}")))?;
    let member = |(name, value): (String, serde_json::Value)| {
        let text = match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        (format!("{STRATEGY}[{name}]"), text)
    };
    Ok(object.into_iter().map(member).collect())
}

/// The strategy that the fields with brackets describe.
fn settings(fields: &mut Fields<'_>) -> Result<Option<ChunkPolicy>, ApiError> {
    if let Some(kind) = fields.one(TYPE)? {
        return of_type(&kind, fields);
    }
    for name in [PADDING, SILENCE, THRESHOLD] {
        if let Some(setting) = fields.one(name)? {
            return Err(setting.wrong(format!("{name} needs {TYPE}=server_vad")));
        }
    }
    Ok(None)
}

fn of_type(kind: &Value, fields: &mut Fields<'_>) -> Result<Option<ChunkPolicy>, ApiError> {
    match kind.text.as_str() {
        "auto" => Ok(None),
        "server_vad" => {
            let pauses = Some(pauses(fields)?);
            Ok(Some(ChunkPolicy { pauses, ..ChunkPolicy::default() }))
        }
        _ => Err(kind.wrong(format!(
            "unknown chunking strategy {:?}: give `auto` or `server_vad`",
            kind.shown()
        ))),
    }
}

fn pauses(fields: &mut Fields<'_>) -> Result<Pauses, ApiError> {
    let mut pauses = Pauses::default();
    if let Some(value) = fields.one(PADDING)? {
        pauses.padding = milliseconds(value.number(0.0..=10_000.0)?);
    }
    if let Some(value) = fields.one(SILENCE)? {
        pauses.shortest = milliseconds(value.number(50.0..=10_000.0)?);
    }
    if let Some(value) = fields.one(THRESHOLD)? {
        pauses.threshold = value.number(0.0..=1.0)?;
    }
    Ok(pauses)
}

/// `number` has been checked to be finite and not negative.
fn milliseconds(number: f64) -> Duration {
    Duration::from_secs_f64(number / 1_000.0)
}
