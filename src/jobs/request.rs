//! What a stored job was asked for: enough to do it again from its start.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::audio::ChunkPolicy;
use crate::format::Rendering;
use crate::pipeline::Input;
use crate::recording::Selection;
use crate::transcript::Options;

/// What a job was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The model's name; `None` has it chosen by the language.
    pub model: Option<String>,
    /// How it is transcribed.
    pub options: Options,
    /// How its file is cut. Kept with the job, so that a restart with another setting cuts it as
    /// before and finds its finished chunks again.
    pub chunks: ChunkPolicy,
    /// Which part of its file is heard.
    #[serde(default)]
    pub selection: Selection,
    /// What its transcript looks like if nothing else is asked for.
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
