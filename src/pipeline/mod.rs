//! One request from its file to its transcript: decode, route to a model, run the chunks on the
//! scheduler, merge. Parent side; shared by HTTP, jobs and the command line.
//!
//! A [`Transcription`] is pulled from chunk to chunk, so that whoever pulls can tell, store or
//! stream what is there. It stores and sends nothing itself.

use std::fs::File;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::audio::{AudioError, Chunk, ChunkPolicy, Limits};
use crate::language::Language;
use crate::models::{self, ModelFile, Routing};
use crate::scheduler::{ChunkDone, ChunkError, Refusal, Scheduler, Ticket};
use crate::transcript::Options;

mod detect;
mod fault;
mod merge;
mod reader;
mod transcription;

pub use detect::Detection;
pub use fault::Fault;
pub use merge::{ChunkResult, Output, output};
pub use transcription::{Recall, Step, Transcription};

use reader::Reader;
use transcription::Prepared;

/// What every request needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where chunks run.
    pub scheduler: Scheduler,
    /// The models that the scheduler's devices load, the first of them the default.
    pub models: Arc<[ModelFile]>,
    /// Which model takes which language.
    pub routing: Arc<Routing>,
    /// What a file may ask for.
    pub limits: Arc<Limits>,
    /// How a file is cut.
    pub chunks: ChunkPolicy,
    /// How many files are decoded at the same moment.
    pub decoders: Arc<Semaphore>,
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
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio transcribed.
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
}

impl Pipeline {
    /// How many chunks of one request may wait or run at once: one for every slot and one that
    /// waits, so that no slot is ever idle, and few enough to keep little in memory.
    fn chunks_in_flight(&self) -> usize {
        self.scheduler.slots() + 1
    }

    /// Finds a loaded model by name. `None` for names that leave the choice to the service.
    ///
    /// # Errors
    /// [`PipelineError::UnknownModel`].
    pub fn find_model(&self, name: Option<&str>) -> Result<Option<&ModelFile>, PipelineError> {
        let Some(name) = name.filter(|name| !models::is_routed(name)) else { return Ok(None) };
        match self.models.iter().find(|model| model.name == name) {
            Some(model) => Ok(Some(model)),
            None => {
                let loaded: Vec<&str> = self.models.iter().map(|m| m.name.as_str()).collect();
                let (name, loaded) = (name.chars().take(60).collect(), loaded.join(", "));
                Err(PipelineError::UnknownModel { name, loaded })
            }
        }
    }

    /// Opens a file that somebody waits for, if there is room for its length. `ticket` is from
    /// [`Scheduler::admit`]. Dropping the transcription takes back all that is unfinished.
    ///
    /// # Errors
    /// [`PipelineError`], but for those of single chunks.
    pub async fn open(&self, input: Input, ticket: Ticket) -> Result<Transcription, PipelineError> {
        let prepared = self.prepare(input).await?;
        ticket.measure(prepared.reader.estimated_seconds()).await?;
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
        let Input { file, model, options, chunks } = input;
        let model = self.find_model(model.as_deref())?.cloned();
        check_language(model.as_ref(), options.language)?;
        let reader = Reader::open(file, chunks.unwrap_or(self.chunks), self).await?;
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

    /// Settles the model and the language; hears the first chunk if the language is not given,
    /// and chooses among the candidates that the model knows.
    async fn route(
        &self,
        model: Option<&ModelFile>,
        options: &Options,
        ticket: &Ticket,
        first: &Chunk,
    ) -> Result<Route, PipelineError> {
        let detector = model.or_else(|| models::detector(&self.models));
        let known = |language: &&Language| detector.is_some_and(|d| d.languages.covers(**language));
        let mut candidates: Vec<Language> =
            options.languages.iter().filter(known).copied().collect();
        if let (Some(wanted), true) = (options.languages.first(), candidates.is_empty()) {
            check_language(model, Some(*wanted))?;
            candidates.push(*wanted);
        }
        let only = match candidates[..] {
            [only] => Some(only),
            _ => None,
        };
        let given = options.language.or(only);
        let detection = match (given, detector) {
            (None, Some(detector)) if detector.languages.is_multilingual() => {
                Some(detect::detect(ticket, detector, first).await?)
            }
            _ => None,
        };
        let detected = detection.as_ref().map_or(&[][..], |done| &done.languages);
        let language = given.or_else(|| detect::choose(detected, &candidates));
        let language = language.unwrap_or(Language::ENGLISH);
        let model = model.or_else(|| self.routing.route(language, &self.models));
        let model = model.ok_or_else(|| ChunkError::Unavailable {
            model: "any".to_owned(),
            reason: "no model is loaded".to_owned(),
        })?;
        Ok(Route { model: model.name.clone(), language, detection })
    }
}

/// Which model hears a request, and in which language.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// The model's name.
    pub model: String,
    /// The spoken language, given or detected.
    pub language: Language,
    /// How the language was found out, if it was not given.
    pub detection: Option<ChunkDone>,
}

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
