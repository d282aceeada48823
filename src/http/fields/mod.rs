//! What a transcription's fields may be, and what they mean.
//!
//! The fields are OpenAI's and a few of our own. Each form is a struct that the OpenAPI document
//! describes and that requests are read into. An invalid value is an error that names its field; an
//! unknown field is ignored and reported.

mod reader;
mod form;

mod chunking;
mod prompt;
mod forms;

#[cfg(test)]
mod tests;

use super::error::ApiError;
use auris_core::recording::Selection;
use auris_core::transcript::{Options, Task};
use auris_format::Rendering;

pub(super) use chunking::{ChunkingStrategy, SilencePolicy};
pub(super) use form::{form, join_parts, query};
pub(super) use forms::{
    Granularity, Include, JobForm, LayoutFields, SelectionFields, SpeechFields, TaskName,
    TextFields, TranscriptionForm, speakers_refusal,
};
pub(super) use reader::{Fields, FromField, FromFields, Sent, from_field};

/// Where fields were sent to: some are for one endpoint only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// Jobs, which have the field `task` and are never streamed.
    Jobs,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Default)]
pub(super) struct TranscriptionParams {
    /// `None` lets the language choose the model.
    pub(super) model: Option<String>,
    pub(super) options: Options,
    pub(super) silence: SilencePolicy,
    pub(super) selection: Selection,
    pub(super) rendering: Rendering,
    /// Whether to send the text while it is made. Only with a format that can be streamed.
    pub(super) stream: bool,
    /// The address to call when a job is done, as it was sent. Unused without a job.
    pub(super) webhook_url: Option<String>,
    /// The names of unknown fields: each once, safe for a header, and bounded.
    pub(super) ignored: Vec<String>,
}

impl TranscriptionParams {
    /// Reads the fields that were sent to `endpoint`.
    pub(super) fn read(endpoint: Endpoint, fields: &[(String, String)]) -> Result<Self, ApiError> {
        let fields = &mut Fields::new(fields);
        forms::refuse_speakers(fields)?;
        let mut params = match endpoint {
            Endpoint::Jobs => JobForm::read(fields)?.params()?,
            _ => TranscriptionForm::read(fields)?.params()?,
        };
        if endpoint == Endpoint::Translations {
            params.options.task = Task::Translate;
        }
        params.ignored = fields.ignored();
        Ok(params)
    }
}
