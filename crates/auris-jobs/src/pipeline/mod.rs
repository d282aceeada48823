//! One request from its file to its transcript: decode, route to a model, run the chunks on the
//! scheduler, merge. Runs in the server process; shared by HTTP, jobs and the command line.
//!
//! A [`Transcription`] reports each finished chunk to its caller, who stores or sends it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use auris_audio::{AudioError, ChunkPolicy, Limits};
use auris_core::language::Language;
use auris_core::recording::Selection;
use auris_core::shortage::Shortage;
use auris_core::transcript::Options;
use auris_models::{Catalog, ModelAliases, ModelFile, Routing};
use auris_scheduler::{ChunkError, Refusal, Scheduler, Ticket};

// a file to chunks
mod decoders;
mod reader;
mod prepared;
// which model and language
mod detect;
mod route;
// chunks to text
mod hallucination_filter;
mod chunk_result;
mod segment_merger;
mod merge;
mod transcription;
mod api_failure;

pub use api_failure::{ApiFailure, FailureCode};
pub use chunk_result::ChunkResult;
pub use decoders::Decoders;
pub use detect::Detection;
pub use merge::TranscriptionOutput;
pub use prepared::Prepared;
pub use route::{LastDetected, Route};
pub use segment_merger::SegmentMerger;
pub use transcription::{Checkpoint, Step, Transcription};

pub(crate) use merge::output;

/// What every request needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where chunks run.
    pub scheduler: Scheduler,
    /// The models that requests may ask for, and which of them are installed.
    pub models: Catalog,
    /// Which model takes which language.
    pub routing: Arc<Routing>,
    /// Other names for models.
    pub aliases: Arc<ModelAliases>,
    /// The limits on a file.
    pub limits: Arc<Limits>,
    /// How a file is cut.
    pub chunks: ChunkPolicy,
    /// The decoding threads.
    pub decoders: Decoders,
    /// Which language was detected last.
    pub last_detected: LastDetected,
}

/// How to transcribe a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranscriptionRequest {
    /// The model's name; `None` has it chosen by the language.
    pub model: Option<String>,
    /// What the engine is asked for.
    pub options: Options,
    /// How the file is cut. A stored job keeps it, so that after a restart with another setting its
    /// finished chunks still match.
    pub chunks: ChunkPolicy,
    /// Which track and channels to use.
    pub selection: Selection,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TranscriptionProgress {
    /// Seconds of audio transcribed; the mean of its channels, if each is transcribed on its own.
    pub done_seconds: f64,
    /// Seconds of audio in total: as the file claims, until it is decoded.
    pub total_seconds: f64,
}

/// Why a request has no transcript.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Audio(#[from] AudioError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Shortage(#[from] Shortage),
    #[error(
        "unknown model `{name}`: this server runs {loaded}; with `whisper-1`, or without a model, \
         it chooses one by the language (--model-aliases of the server adds names)"
    )]
    UnknownModel { name: String, loaded: String },
    #[error("the model `{model}` does not know {}: choose another model", language.name())]
    ModelLanguage { model: String, language: Language },
    #[error("no model of this server detects languages: it needs a multilingual one")]
    CannotDetect,
    /// The decoding thread panicked: a bug in the decoder that this file triggers.
    #[error("the audio decoder failed on this file; convert it to WAV or FLAC")]
    DecoderPanicked,
    /// The decoding thread hangs: a bug in the decoder that this file triggers.
    #[error("the audio decoder hangs on this file; convert it to WAV or FLAC")]
    DecoderHangs,
    #[error("nothing can be decoded until the server is restarted; its log says why")]
    NoDecoder,
}

impl Pipeline {
    /// How many chunks of one request may wait or run at once: one for every slot and one that
    /// waits, so that no slot is ever idle and little is held in memory.
    fn chunks_in_flight(&self) -> usize {
        self.scheduler.slots() + 1
    }

    /// Whether a request that began on `route` can continue: its model is still loaded.
    pub(crate) fn can_resume(&self, route: &Route) -> bool {
        self.models.now().runs(&route.model)
    }
}

/// Checks that the model named in a request knows the language given in it.
fn check_language(
    model: Option<&ModelFile>,
    language: Option<Language>,
) -> Result<(), PipelineError> {
    match (model, language) {
        (Some(model), Some(language)) if !model.languages.covers(language) => {
            Err(PipelineError::ModelLanguage { model: model.name.clone(), language })
        }
        _ => Ok(()),
    }
}
