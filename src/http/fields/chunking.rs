//! `chunking_strategy` and `vad`: how the file is cut, and whether silence is left out.
//!
//! The strategy comes as `auto`, as JSON, or as fields with brackets.

use std::time::Duration;

use super::reader::{Fields, Value};
use crate::http::error::ApiError;
use auris_audio::{ChunkPolicy, Vad};

const STRATEGY: &str = "chunking_strategy";
const TYPE: &str = "chunking_strategy[type]";
const PADDING: &str = "chunking_strategy[prefix_padding_ms]";
const SILENCE: &str = "chunking_strategy[silence_duration_ms]";
const THRESHOLD: &str = "chunking_strategy[threshold]";

/// OpenAI's values of `server_vad`.
const SERVER_VAD: Vad = Vad {
    threshold: 0.5,
    padding: Duration::from_millis(300),
    silence: Duration::from_millis(200),
};

/// What happens to silence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::http) enum Silence {
    /// The server's default.
    #[default]
    AsUsual,
    /// It is transcribed like everything else.
    Heard,
    /// It is left out.
    LeftOut(Vad),
}

impl Silence {
    /// How to cut a file on a server whose default is `usual`.
    pub(in crate::http) fn policy(self, usual: ChunkPolicy) -> ChunkPolicy {
        match self {
            Self::AsUsual => usual,
            Self::Heard => ChunkPolicy { vad: None, ..usual },
            Self::LeftOut(vad) => ChunkPolicy { vad: Some(vad), ..usual },
        }
    }
}

/// `chunking_strategy` and `vad` together.
pub(in crate::http) fn silence(fields: &mut Fields<'_>) -> Result<Silence, ApiError> {
    let server_vad = strategy(fields)?;
    let wanted = wanted(fields)?;
    match (server_vad, wanted) {
        (Some(_), Some((value, false))) => Err(value.wrong(format!(
            "{} cannot be false with {TYPE}=server_vad: leave one of them out",
            value.field
        ))),
        (Some(vad), _) => Ok(Silence::LeftOut(vad)),
        (None, Some((_, true))) => Ok(Silence::LeftOut(Vad::default())),
        (None, Some((_, false))) => Ok(Silence::Heard),
        (None, None) => Ok(Silence::AsUsual),
    }
}

/// `vad`, or else `vad_filter` as faster-whisper's servers call it, with its value.
fn wanted(fields: &mut Fields<'_>) -> Result<Option<(Value, bool)>, ApiError> {
    let mut flag = |field| {
        let value = fields.one(field)?;
        value.map(|value| value.flag().map(|flag| (value, flag))).transpose()
    };
    let (own, alias) = (flag("vad")?, flag("vad_filter")?);
    Ok(own.or(alias))
}

fn strategy(fields: &mut Fields<'_>) -> Result<Option<Vad>, ApiError> {
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
fn settings(fields: &mut Fields<'_>) -> Result<Option<Vad>, ApiError> {
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

fn of_type(kind: &Value, fields: &mut Fields<'_>) -> Result<Option<Vad>, ApiError> {
    match kind.text.as_str() {
        "auto" => Ok(None),
        "server_vad" => Ok(Some(server_vad(fields)?)),
        _ => Err(kind.wrong(format!(
            "unknown chunking strategy {:?}: give `auto` or `server_vad`",
            kind.shown()
        ))),
    }
}

fn server_vad(fields: &mut Fields<'_>) -> Result<Vad, ApiError> {
    let mut vad = SERVER_VAD;
    if let Some(value) = fields.one(PADDING)? {
        vad.padding = milliseconds(value.number(0.0..=10_000.0)?);
    }
    if let Some(value) = fields.one(SILENCE)? {
        vad.silence = milliseconds(value.number(50.0..=10_000.0)?);
    }
    if let Some(value) = fields.one(THRESHOLD)? {
        vad.threshold = value.number(0.0..=1.0)?;
    }
    Ok(vad)
}

/// `number` has been checked to be finite and not negative.
fn milliseconds(number: f64) -> Duration {
    Duration::from_secs_f64(number / 1_000.0)
}
