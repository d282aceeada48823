//! The request of a stored job: enough to run it again from its start.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::pipeline::Input;
use auris_audio::ChunkPolicy;
use auris_core::recording::Selection;
use auris_core::transcript::Options;
use auris_format::Rendering;

/// The request of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The model's name; `None` has it chosen by the language.
    pub model: Option<String>,
    /// How it is transcribed.
    pub options: Options,
    /// How its file is cut. Stored with the job, so that after a restart with another setting it is
    /// cut as before and its finished chunks still match.
    pub chunks: ChunkPolicy,
    /// Which track and channels of its file to use.
    #[serde(default)]
    pub selection: Selection,
    /// The default format of its transcript.
    pub rendering: Rendering,
}

impl JobRequest {
    /// The request for `file`, which is at its start.
    pub(super) fn input(&self, file: File) -> Input {
        Input {
            file,
            model: self.model.clone(),
            options: self.options.clone(),
            chunks: Some(self.chunks),
            selection: self.selection.clone(),
        }
    }
}
