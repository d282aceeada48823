//! `POST /inference`, like whisper.cpp's own server.
//!
//! Programs written for that server work here. Its engine settings beyond OpenAI's fields
//! (thresholds, beams) are ignored and reported, and errors have the shape of this server.

use axum::extract::State;
use axum::response::Response;

use super::AppState;
use super::error::{ApiError, UploadErrors};
use super::fields::{Fields, TextFields, TranscriptionParams, form};
use super::response::TranscriptResponse;
use super::transcriptions;
use super::upload::Upload;
use auris_core::transcript::Task;
use auris_format::{Format, Granularities};

form! {
    /// The form of `POST /inference`.
    pub(super) struct InferenceForm {
        @file file,
        /// Return the text in English.
        #[schema(default = false)]
        translate: Option<bool>,
        ..text: TextFields,
    }
}

/// Transcribe, like whisper.cpp's server
///
/// `json` and `verbose_json` are OpenAI's, and `verbose_json` always has words. Other fields of that
/// server are ignored and listed in the header `x-ignored-fields`.
#[utoipa::path(
    post,
    path = "/inference",
    operation_id = "inference",
    tag = "compatible",
    request_body(content = InferenceForm, content_type = "multipart/form-data"),
    responses(TranscriptResponse, UploadErrors)
)]
pub(super) async fn inference(
    State(state): State<AppState>,
    upload: Upload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::new(&upload.fields);
    let mut params = InferenceForm::read(&mut fields)?.params()?;
    params.ignored = fields.ignored();
    transcriptions::respond(state, upload.ticket, upload.file, params).await
}

impl InferenceForm {
    pub(super) fn params(self) -> Result<TranscriptionParams, ApiError> {
        let mut params = self.text.params()?;
        let format = params.rendering.format;
        let words = format == Format::VerboseJson;
        params.rendering.granularities = Granularities { segments: true, words };
        params.options.words = words || format.needs_words();
        if self.translate == Some(true) {
            params.options.task = Task::Translate;
        }
        Ok(params)
    }
}
