//! One request from its file to its transcript: decode, route to a model, run the chunks on the
//! scheduler, merge. Parent side; shared by HTTP, jobs and the command line.
//!
//! A [`Transcription`] is pulled from chunk to chunk, so that whoever pulls can tell, store or
//! stream what is there. It stores and sends nothing itself.

use std::fs::File;
use std::sync::Arc;

use crate::audio::{AudioError, ChunkPolicy, Limits};
use crate::language::Language;
use crate::models::{self, Catalog, ModelFile, Routing};
use crate::recording::Selection;
use crate::scheduler::{ChunkError, Refusal, Scheduler, Ticket};
use crate::transcript::Options;

mod decoders;
mod detect;
mod fault;
mod gates;
mod merge;
mod reader;
mod route;
mod transcription;
mod turns;

pub use decoders::Decoders;
pub use detect::Detection;
pub use fault::Fault;
pub use merge::{ChunkResult, Output, output};
pub use route::{LastDetected, Route};
pub use transcription::{Recall, Step, Transcription};
pub use turns::Turns;

use reader::Reader;
use route::check_language;
use transcription::Prepared;

/// What every request needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where chunks run.
    pub scheduler: Scheduler,
    /// The models that requests may ask for, and which of them are here.
    pub models: Catalog,
    /// Which model takes which language.
    pub routing: Arc<Routing>,
    /// What a file may ask for.
    pub limits: Arc<Limits>,
    /// How a file is cut.
    pub chunks: ChunkPolicy,
    /// Who decodes.
    pub decoders: Decoders,
    /// Which language was detected last.
    pub last_detected: LastDetected,
}

/// What is to be transcribed.
#[derive(Debug)]
pub struct Input {
    /// The uploaded file, at its start.
    pub file: File,
    /// The model's name; `None` has it chosen by the language.
    pub model: Option<String>,
    /// How.
    pub options: Options,
    /// How it is cut, if not as the server's files are.
    pub chunks: Option<ChunkPolicy>,
    /// Which part of it is heard.
    pub selection: Selection,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio transcribed; the mean of its channels, where each is heard on its own.
    pub done_seconds: f64,
    /// Seconds of audio in all: as the file claims, until it is decoded.
    pub total_seconds: f64,
}

/// A request has no transcript.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The file is not audio that can be decoded.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// There is no room for it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A chunk has no result.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The named model is not loaded.
    #[error("unknown model `{name}`: this server runs {loaded}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// What there is.
        loaded: String,
    },
    /// The named model does not know the language.
    #[error("the model `{model}` does not know {}: choose another model", language.name())]
    ModelLanguage {
        /// The model's name.
        model: String,
        /// What was asked for.
        language: Language,
    },
    /// The language of speech is asked for, and every model is for one language only.
    #[error("no model of this server detects languages: it needs a multilingual one")]
    CannotDetect,
    /// The decoding thread panicked: a fault of the decoder on this file.
    #[error("the audio decoder failed on this file; convert it to WAV or FLAC")]
    DecoderPanicked,
    /// The decoding thread does not return: a fault of the decoder on this file.
    #[error("the audio decoder hangs on this file; convert it to WAV or FLAC")]
    DecoderHangs,
    /// Every decoding thread hangs.
    #[error("nothing can be decoded until the server is restarted; its log says why")]
    NoDecoder,
}

impl Pipeline {
    /// How many chunks of one request may wait or run at once: one for every slot and one that
    /// waits, so that no slot is ever idle, and few enough to keep little in memory.
    fn chunks_in_flight(&self) -> usize {
        self.scheduler.slots() + 1
    }

    /// Finds a model of this server by name. `None` for names that leave the choice to the service.
    ///
    /// # Errors
    /// [`PipelineError::UnknownModel`].
    pub fn find_model(&self, name: Option<&str>) -> Result<Option<ModelFile>, PipelineError> {
        let Some(name) = name.filter(|name| !models::is_routed(name)) else { return Ok(None) };
        let models = self.models.now();
        match models.find(name) {
            Some(model) => Ok(Some(model.clone())),
            None => {
                let loaded: Vec<&str> = models.asked.iter().map(|m| m.name.as_str()).collect();
                let (name, loaded) = (name.chars().take(60).collect(), loaded.join(", "));
                Err(PipelineError::UnknownModel { name, loaded })
            }
        }
    }

    /// Whether a request that began on `route` can go on: its model is still loaded.
    pub fn can_resume(&self, route: &Route) -> bool {
        self.models.now().runs(&route.model)
    }

    /// Opens a file that somebody waits for, if there is room for its length. `ticket` is from
    /// [`Scheduler::admit`]. Dropping the transcription takes back all that is unfinished.
    ///
    /// # Errors
    /// [`PipelineError`], but for those of single chunks.
    pub async fn open(&self, input: Input, ticket: Ticket) -> Result<Transcription, PipelineError> {
        let prepared = self.prepare(input).await?;
        let work_seconds = prepared.reader.estimated_seconds() * prepared.reader.signals();
        ticket.measure(work_seconds).await?;
        Ok(Transcription::new(self.clone(), prepared, ticket, Recall::default()))
    }

    /// Opens a file that was promised to be done: it is let in whatever waits, behind short
    /// requests that somebody waits for, and goes on from what is recalled.
    ///
    /// # Errors
    /// [`PipelineError`], but for those of single chunks.
    pub async fn resume(
        &self,
        input: Input,
        recall: Recall,
    ) -> Result<Transcription, PipelineError> {
        let prepared = self.prepare(input).await?;
        let ticket = self.scheduler.admit_kept().await?;
        Ok(Transcription::new(self.clone(), prepared, ticket, recall))
    }

    /// Checks whether a request can be done, and tells the length of its audio in seconds: a guess
    /// where the file does not say.
    ///
    /// # Errors
    /// [`PipelineError`], but for those of refusals and single chunks.
    pub async fn inspect(&self, input: Input) -> Result<f64, PipelineError> {
        Ok(self.prepare(input).await?.reader.estimated_seconds())
    }

    async fn prepare(&self, input: Input) -> Result<Prepared, PipelineError> {
        let Input { file, model, options, chunks, selection } = input;
        let model = self.find_model(model.as_deref())?;
        check_language(model.as_ref(), options.language)?;
        let reader = Reader::open(file, chunks.unwrap_or(self.chunks), selection, self).await?;
        Ok(Prepared { reader, model, options })
    }

    /// Transcribes a file, telling of its progress. Dropping the future takes everything back.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub async fn transcribe(
        &self,
        input: Input,
        ticket: Ticket,
        mut tell: impl FnMut(Progress) + Send,
    ) -> Result<Output, PipelineError> {
        let mut transcription = self.open(input, ticket).await?;
        while transcription.next().await?.is_some() {
            tell(transcription.progress());
        }
        Ok(transcription.finish())
    }
}
