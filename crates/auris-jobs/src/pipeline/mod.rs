//! One request from its file to its transcript: decode, route to a model, run the chunks on the
//! scheduler, merge. Runs in the server process; shared by HTTP, jobs and the command line.
//!
//! The caller pulls a [`Transcription`] chunk by chunk and can report, store or stream each
//! result. It stores and sends nothing itself.

use std::fs::File;
use std::sync::Arc;

use auris_audio::{AudioError, ChunkPolicy, Limits};
use auris_core::language::Language;
use auris_core::recording::Selection;
use auris_core::transcript::Options;
use auris_models::{AliasTarget, Catalog, ModelAliases, ModelFile, Routing};
use auris_scheduler::{ChunkError, Refusal, Scheduler, Ticket};

mod decoders;
mod detect;
mod api_failure;
mod hallucination_filter;
mod merge;
mod reader;
mod route;
mod transcription;
mod segment_merger;

pub use api_failure::ApiFailure;
pub use decoders::Decoders;
pub use detect::Detection;
pub use merge::{ChunkResult, Output, output};
pub use route::{LastDetected, Route};
pub use segment_merger::SegmentMerger;
pub use transcription::{Checkpoint, Step, Transcription};

use reader::Reader;
use route::check_language;
use transcription::Prepared;

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

/// What to transcribe.
#[derive(Debug)]
pub struct Input {
    /// The uploaded file, at its start.
    pub file: File,
    /// The model's name; `None` has it chosen by the language.
    pub model: Option<String>,
    /// How to transcribe it.
    pub options: Options,
    /// How it is cut, if not by the server's default.
    pub chunks: Option<ChunkPolicy>,
    /// Which track and channels to use.
    pub selection: Selection,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio transcribed; the mean of its channels, if each is transcribed on its own.
    pub done_seconds: f64,
    /// Seconds of audio in total: as the file claims, until it is decoded.
    pub total_seconds: f64,
}

/// Why a request has no transcript.
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
    #[error(
        "unknown model `{name}`: this server runs {loaded}; with `whisper-1`, or without a model, \
         it chooses one by the language (--model-aliases of the server adds names)"
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The loaded models.
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
    /// The decoding thread panicked: a bug in the decoder that this file triggers.
    #[error("the audio decoder failed on this file; convert it to WAV or FLAC")]
    DecoderPanicked,
    /// The decoding thread hangs: a bug in the decoder that this file triggers.
    #[error("the audio decoder hangs on this file; convert it to WAV or FLAC")]
    DecoderHangs,
    /// Every decoding thread hangs.
    #[error("nothing can be decoded until the server is restarted; its log says why")]
    NoDecoder,
}

impl Pipeline {
    /// How many chunks of one request may wait or run at once: one for every slot and one that
    /// waits, so that no slot is ever idle and little is held in memory.
    fn chunks_in_flight(&self) -> usize {
        self.scheduler.slots() + 1
    }

    /// Finds a model of this server by name. `None` for names that leave the choice to the service.
    ///
    /// # Errors
    /// [`PipelineError::UnknownModel`].
    pub fn find_model(&self, name: Option<&str>) -> Result<Option<ModelFile>, PipelineError> {
        let name = name.unwrap_or_default();
        let models = self.models.now();
        let alias = self.aliases.resolve(name);
        let found = models.find(name).or_else(|| match alias? {
            AliasTarget::Model(model) => models.find(model),
            AliasTarget::ByLanguage => None,
        });
        match (found, alias) {
            (Some(model), _) => Ok(Some(model.clone())),
            (None, Some(AliasTarget::ByLanguage)) => Ok(None),
            (None, _) => {
                let loaded: Vec<&str> = models.requested.iter().map(|m| m.name.as_str()).collect();
                let (name, loaded) = (name.chars().take(60).collect(), loaded.join(", "));
                Err(PipelineError::UnknownModel { name, loaded })
            }
        }
    }

    /// Whether a request that began on `route` can continue: its model is still loaded.
    pub fn can_resume(&self, route: &Route) -> bool {
        self.models.now().runs(&route.model)
    }

    /// Opens a file for a waiting client, if there is room for its length. `ticket` is from
    /// [`Scheduler::admit`]. Dropping the transcription cancels what is unfinished.
    ///
    /// # Errors
    /// [`PipelineError`], except those of single chunks.
    pub async fn open(&self, input: Input, ticket: Ticket) -> Result<Transcription, PipelineError> {
        let prepared = self.prepare(input).await?;
        let work_seconds = prepared.reader.estimated_seconds() * prepared.reader.signals();
        ticket.measure(work_seconds).await?;
        Ok(Transcription::new(self.clone(), prepared, ticket, Checkpoint::default()))
    }

    /// Opens a file of an accepted job: it is admitted whatever else waits, runs behind short
    /// requests with a waiting client, and continues from its checkpoint.
    ///
    /// # Errors
    /// [`PipelineError`], except those of single chunks.
    pub async fn resume(
        &self,
        input: Input,
        recall: Checkpoint,
    ) -> Result<Transcription, PipelineError> {
        let prepared = self.prepare(input).await?;
        let ticket = self.scheduler.admit_background().await?;
        Ok(Transcription::new(self.clone(), prepared, ticket, recall))
    }

    /// Checks that a request can be transcribed, and returns the length of its audio in seconds: an
    /// estimate if the file does not declare it.
    ///
    /// # Errors
    /// [`PipelineError`], except refusals and those of single chunks.
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

    /// Transcribes a file and reports its progress. Dropping the future cancels everything.
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
