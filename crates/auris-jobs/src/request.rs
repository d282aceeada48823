//! The request of a stored job: enough to run it again from its start.

use serde::{Deserialize, Serialize};

use crate::pipeline::TranscriptionRequest;
use auris_format::Rendering;

/// The request of a job. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRequest {
    /// How to transcribe its file.
    pub transcription: TranscriptionRequest,
    /// The default format of its transcript.
    pub rendering: Rendering,
}
