//! One request from its file to its transcript: decode, route to a model, run the chunks on the
//! scheduler, merge. Parent side; shared by HTTP and the command line.
//!
//! The file is decoded a few chunks ahead of the workers and no further, so that memory does not
//! grow with its length.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use crate::audio::{AudioError, Chunk, ChunkPolicy, Limits};
use crate::ipc::{ChunkOptions, Work};
use crate::language::Language;
use crate::models::{self, ModelFile, Routing};
use crate::scheduler::{ChunkDone, ChunkError, ChunkRequest, Refusal, Scheduler, Ticket};
use crate::transcript::{Options, Task, Transcript};

mod merge;
mod reader;

use merge::ChunkResult;
use reader::Reader;

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
    /// The right to run, from [`Scheduler::admit`].
    pub ticket: Ticket,
}

/// The result and what it took.
#[derive(Debug)]
pub struct Output {
    /// The result.
    pub transcript: Transcript,
    /// The model that ran.
    pub model: String,
    /// Whether the file ended early; what was there is transcribed.
    pub truncated: bool,
    /// How long chunks waited, the longest of them.
    pub queue_time: Duration,
    /// Time in the engine, over all chunks.
    pub inference_time: Duration,
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

    /// Transcribes a file. Dropping the future takes back everything that is not finished.
    ///
    /// # Errors
    /// [`PipelineError`].
    pub async fn transcribe(
        &self,
        input: Input,
        mut tell: impl FnMut(Progress) + Send,
    ) -> Result<Output, PipelineError> {
        let Input { file, model, options, chunks, ticket } = input;
        let model = self.find_model(model.as_deref())?;
        check_language(model, options.language)?;

        let mut reader = Reader::open(file, chunks.unwrap_or(self.chunks), self).await?;
        ticket.measure(reader.estimated_seconds()).await?;
        let first = reader.next().await?.ok_or_else(|| reader.no_samples())?;
        let Route { model, language, detection } =
            self.route(model, options.language, &ticket, &first).await?;

        let mut results = Vec::new();
        let mut next = Some(first);
        let mut running = FuturesUnordered::new();
        let mut done_seconds = 0.0;
        loop {
            while running.len() < self.chunks_in_flight()
                && let Some(chunk) = next.take()
            {
                running.push(run_chunk(&ticket, model, language, &options, chunk));
                next = reader.next().await?;
            }
            let Some(result) = running.next().await else { break };
            let result = result?;
            done_seconds += result.duration();
            results.push(result);
            let total_seconds = reader.estimated_seconds();
            ticket.charge(total_seconds - done_seconds);
            tell(Progress { done_seconds, total_seconds });
        }
        drop(running);

        let done = || detection.iter().chain(results.iter().map(|result| &result.done));
        let queue_time = done().map(|done| done.queue_time).max().unwrap_or_default();
        let inference_time = done().map(|done| done.inference_time).sum();
        let (segments, mut runs) = merge::merge(results);
        // What the detection went through is part of the first stretch's story.
        if let (Some(first), Some(detection)) = (runs.first_mut(), detection) {
            first.fallback_reason = detection.fallback_reason.or(first.fallback_reason.take());
        }
        Ok(Output {
            transcript: Transcript {
                task: options.task,
                language,
                duration: reader.decoded_seconds(),
                segments,
                runs,
            },
            model: model.name.clone(),
            truncated: reader.truncated(),
            queue_time,
            inference_time,
        })
    }

    /// Settles the model and the language; hears the first chunk if the language is not given.
    async fn route<'a>(
        &'a self,
        model: Option<&'a ModelFile>,
        language: Option<Language>,
        ticket: &Ticket,
        first: &Chunk,
    ) -> Result<Route<'a>, PipelineError> {
        let detector = model.or_else(|| models::detector(&self.models));
        let detection = match (language, detector) {
            (None, Some(detector)) if detector.languages.is_multilingual() => {
                Some(detect(ticket, detector, first).await?)
            }
            _ => None,
        };
        let detected = detection.as_ref().and_then(|done| done.languages.first());
        let language = language.or(detected.map(|(language, _)| *language));
        let language = language.unwrap_or(Language::ENGLISH);
        let model = model.or_else(|| self.routing.route(language, &self.models));
        let model = model.ok_or_else(|| ChunkError::Unavailable {
            model: "any".to_owned(),
            reason: "no model is loaded".to_owned(),
        })?;
        Ok(Route { model, language, detection })
    }
}

/// Which model hears a request, and in which language.
struct Route<'a> {
    model: &'a ModelFile,
    language: Language,
    /// How the language was found out, if it was not given.
    detection: Option<ChunkDone>,
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

/// Finds the languages of a chunk, most probable first.
async fn detect(
    ticket: &Ticket,
    detector: &ModelFile,
    chunk: &Chunk,
) -> Result<ChunkDone, ChunkError> {
    let request = ChunkRequest {
        model: detector.name.clone(),
        work: Work::Detect,
        samples: Arc::clone(&chunk.samples),
    };
    ticket.run(request).await
}

/// Submits a chunk; the future is its result.
fn run_chunk(
    ticket: &Ticket,
    model: &ModelFile,
    language: Language,
    options: &Options,
    chunk: Chunk,
) -> impl Future<Output = Result<ChunkResult, ChunkError>> + use<> {
    let english = language == Language::ENGLISH;
    let work = Work::Transcribe(ChunkOptions {
        // Translating English to English only makes the decoder stumble.
        task: if english { Task::Transcribe } else { options.task },
        language,
        prompt: options.prompt.clone(),
        temperature: options.temperature,
        words: options.words,
        logprobs: options.logprobs,
    });
    let (index, start, duration) = (chunk.index, chunk.start(), chunk.duration());
    let running =
        ticket.run(ChunkRequest { model: model.name.clone(), work, samples: chunk.samples });
    async move { Ok(ChunkResult { index, start, duration, done: running.await? }) }
}
