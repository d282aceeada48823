//! `chunking_strategy` and `vad`: how the file is cut, and whether silence is skipped.

use std::time::Duration;

use strum::{EnumString, VariantNames};
use utoipa::ToSchema;

use super::form::form;
use super::reader::{Fields, Sent, from_field};
use crate::http::error::ApiError;
use auris_audio::{ChunkPolicy, Vad};

const STRATEGY: &str = "chunking_strategy";
const TYPE: &str = "chunking_strategy[type]";

/// OpenAI's values of `server_vad`.
const SERVER_VAD: Vad = Vad {
    threshold: 0.5,
    padding: Duration::from_millis(300),
    silence: Duration::from_millis(200),
};

/// What happens to silence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::http) enum SilencePolicy {
    #[default]
    ServerDefault,
    Transcribe,
    Skip(Vad),
}

impl SilencePolicy {
    /// How to cut a file on a server with the policy `default`.
    pub(in crate::http) fn policy(self, default: ChunkPolicy) -> ChunkPolicy {
        match self {
            Self::ServerDefault => default,
            Self::Transcribe => ChunkPolicy { vad: None, ..default },
            Self::Skip(vad) => ChunkPolicy { vad: Some(vad), ..default },
        }
    }
}

form! {
    /// How the file is cut, and whether silence is skipped.
    pub(in crate::http) struct ChunkingFields {
        /// Skip silence, so that no text is made up for it. By default as the server is configured:
        /// `true` unless it was started with `--no-vad`.
        #[schema(value_type = Option<bool>, examples(true))]
        vad: Option<Sent<bool>>,
        /// The same as `vad`, under the name that faster-whisper's servers use. `vad` takes precedence.
        #[schema(value_type = Option<bool>)]
        vad_filter: Option<Sent<bool>>,
        /// How the file is cut. `auto` cuts in pauses, 20 to 30 s after the last cut, and at silence
        /// of 5 s. `server_vad` cuts at every pause, which is finer and slower. Its settings may also
        /// be sent as JSON: `{"type": "server_vad", "threshold": 0.5}`.
        #[schema(value_type = Option<String>, default = "auto", examples("auto"))]
        chunking_strategy: Option<Sent>,
        ..strategy: StrategyFields,
    }
}

form! {
    /// A strategy as fields with brackets, or as the members of an object in JSON.
    pub(in crate::http) struct StrategyFields {
        /// The strategy, if `chunking_strategy` itself is not sent.
        kind as "chunking_strategy[type]": Option<ChunkingStrategy>,
        /// How much silence beside speech is kept, in milliseconds; at most a quarter of the longest
        /// chunk.
        #[schema(default = 300)]
        padding as "chunking_strategy[prefix_padding_ms]" in 0.0..=10_000.0: Option<f64>,
        /// The shortest pause that ends a chunk, in milliseconds.
        #[schema(default = 200)]
        silence as "chunking_strategy[silence_duration_ms]" in 50.0..=10_000.0: Option<f64>,
        /// The lowest probability of speech, from 0 to 1. Below 0.3, everything is speech.
        #[schema(default = 0.5)]
        threshold as "chunking_strategy[threshold]" in 0.0..=1.0: Option<f32>,
    }
}

/// How a file is cut.
#[derive(Debug, Clone, Copy, EnumString, VariantNames, ToSchema)]
#[strum(serialize_all = "snake_case")]
#[schema(rename_all = "snake_case")]
pub(in crate::http) enum ChunkingStrategy {
    Auto,
    ServerVad,
}

from_field!(choice: ChunkingStrategy);

impl ChunkingFields {
    pub(super) fn silence(self) -> Result<SilencePolicy, ApiError> {
        let Self { vad, vad_filter, chunking_strategy, strategy } = self;
        let server_vad = match chunking_strategy {
            None => strategy.server_vad()?,
            Some(sent) if sent.value.starts_with('{') => from_json(&sent)?.server_vad()?,
            Some(sent) => {
                let kind = Some(sent.choice()?);
                StrategyFields { kind, ..strategy }.server_vad()?
            }
        };
        match (server_vad, vad.or(vad_filter)) {
            (Some(_), Some(vad)) if !vad.value => Err(vad.wrong(format!(
                "{} cannot be false with {TYPE}=server_vad: leave one of them out",
                vad.field
            ))),
            (Some(server_vad), _) => Ok(SilencePolicy::Skip(server_vad)),
            (None, Some(vad)) if vad.value => Ok(SilencePolicy::Skip(Vad::default())),
            (None, Some(_)) => Ok(SilencePolicy::Transcribe),
            (None, None) => Ok(SilencePolicy::ServerDefault),
        }
    }
}

impl StrategyFields {
    /// The settings of `server_vad`; `None` for `auto`.
    fn server_vad(self) -> Result<Option<Vad>, ApiError> {
        let Self { kind, padding, silence, threshold } = self;
        match kind {
            Some(ChunkingStrategy::ServerVad) => Ok(Some(Vad {
                padding: padding.map_or(SERVER_VAD.padding, milliseconds),
                silence: silence.map_or(SERVER_VAD.silence, milliseconds),
                threshold: threshold.unwrap_or(SERVER_VAD.threshold),
            })),
            Some(ChunkingStrategy::Auto) | None => {
                let settings = [
                    ("prefix_padding_ms", padding.is_some()),
                    ("silence_duration_ms", silence.is_some()),
                    ("threshold", threshold.is_some()),
                ];
                let Some((name, _)) = settings.into_iter().find(|(_, is_sent)| *is_sent) else {
                    return Ok(None);
                };
                let name = format!("{STRATEGY}[{name}]");
                let message = format!("{name} needs {TYPE}=server_vad");
                Err(ApiError::bad_field(&name, message))
            }
        }
    }
}

/// Reads a strategy in JSON: its members are named as fields are.
fn from_json(sent: &Sent) -> Result<StrategyFields, ApiError> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&sent.value)
        .map_err(|error| sent.wrong(format!("{STRATEGY} is not valid JSON: {error}")))?;
    let member = |(name, value): (String, serde_json::Value)| {
        let text = match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        (format!("{STRATEGY}[{name}]"), text)
    };
    let members: Vec<(String, String)> = object.into_iter().map(member).collect();
    let mut members = Fields::new(&members);
    let strategy = StrategyFields::read(&mut members)?;
    match members.ignored().first() {
        Some(unknown) => Err(sent.wrong(format!("{unknown} is not a setting of {STRATEGY}"))),
        None => Ok(strategy),
    }
}

/// `number` has been checked to be finite and not negative.
fn milliseconds(number: f64) -> Duration {
    Duration::from_secs_f64(number / 1_000.0)
}
