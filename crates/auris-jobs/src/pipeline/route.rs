//! Which model transcribes a request, and in which language.
//!
//! A language that is not given is detected, which takes about as long as transcribing the first
//! chunk. So the first chunk is transcribed meanwhile in its most likely language, if a slot is
//! idle, and the result is kept if detection agrees.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::detect::{self, Detector};
use super::prepared::Prepared;
use super::{PipelineError, Ticket, check_language};
use auris_audio::{Chunk, SAMPLE_RATE_HZ};
use auris_core::ipc::{ChunkOptions, Work};
use auris_core::language::Language;
use auris_core::recording::TranscribedParts;
use auris_core::transcript::{Options, Task};
use auris_models::{ModelFile, Models, Routing, StandInReason};
use auris_scheduler::{ChunkDone, ChunkError, ChunkRequest};

/// Which model transcribes a request, and in which language.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// The name of the model that runs.
    pub model: String,
    /// Why another model stands in for the one that should run, if so.
    #[serde(default)]
    pub stands_in: Option<StandInReason>,
    /// The spoken language, given or detected.
    pub language: Language,
    /// How the language was detected, if it was not given.
    pub detection: Option<ChunkDone>,
    /// Which track and channels of the file are decoded.
    #[serde(default)]
    pub parts: TranscribedParts,
}

impl Default for Route {
    /// No model, in English.
    fn default() -> Self {
        let (model, language) = (String::new(), Language::ENGLISH);
        Self {
            model,
            stands_in: None,
            language,
            detection: None,
            parts: TranscribedParts::default(),
        }
    }
}

/// The result of a chunk that has been submitted.
pub(super) type PendingChunk = BoxFuture<'static, Result<ChunkDone, ChunkError>>;

/// The last detected language, which is the most likely one of the next file. Cheap to clone;
/// clones share it.
#[derive(Debug, Clone)]
pub struct LastDetected(Arc<Mutex<Language>>);

impl Default for LastDetected {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Language::ENGLISH)))
    }
}

impl LastDetected {
    fn get(&self) -> Language {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, language: Language) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = language;
    }
}

/// A route, and the first chunk if it is already running on it.
pub(super) struct Decided {
    pub(super) route: Route,
    pub(super) ahead: Option<PendingChunk>,
}

impl Prepared {
    /// Decides the model and the language. A language that is not given is detected from the first
    /// of the `chunks`, to which more are added if needed, and chosen among the candidates that the
    /// model knows.
    pub(super) async fn route(
        &mut self,
        ticket: &Ticket,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<Decided, PipelineError> {
        let Self { pipeline, reader, model, options } = self;
        let models = pipeline.models.now();
        let choice = Choice::new(&pipeline.routing, &models, model.as_ref(), options)?;
        let (Some(detector), Some(first)) = (choice.detector, chunks.front()) else {
            return Ok(Decided { route: choice.route(&[])?, ahead: None });
        };
        let model = models.runner(detector);
        let detector = Detector { ticket, model, candidates: &choice.candidates };
        let detecting = detector.submit(first);
        let likely = choice.route(&[(pipeline.last_detected.get(), 1.0)])?;
        let ahead = ticket.run_ahead(request(&likely, options, first)).await;
        let detection = detector.conclude(detecting, reader, chunks).await?;
        if let Some((language, _)) = detection.languages.first() {
            pipeline.last_detected.set(*language);
        }
        let route = choice.route(&detection.languages)?;
        let was_right = (&likely.model, likely.language) == (&route.model, route.language);
        let ahead = ahead.filter(|_| was_right).map(|running| Box::pin(running) as PendingChunk);
        Ok(Decided { route: Route { detection: Some(detection), ..route }, ahead })
    }
}

/// What decides a route, apart from the audio.
struct Choice<'a> {
    routing: &'a Routing,
    models: &'a Models,
    /// The model that was asked for by name.
    model: Option<&'a ModelFile>,
    /// The model that detects the language, if it must be detected.
    detector: Option<&'a ModelFile>,
    /// The languages to choose among; any if there are none.
    candidates: Vec<Language>,
}

impl<'a> Choice<'a> {
    fn new(
        routing: &'a Routing,
        models: &'a Models,
        model: Option<&'a ModelFile>,
        options: &Options,
    ) -> Result<Self, PipelineError> {
        let detector = model.or_else(|| auris_models::detector(&models.requested));
        let known = |language: &&Language| detector.is_some_and(|d| d.languages.covers(**language));
        let given = options.language.as_ref();
        let wanted = given.map_or(&options.languages[..], std::slice::from_ref);
        let mut candidates: Vec<Language> = wanted.iter().filter(known).copied().collect();
        if let (Some(first), true) = (wanted.first(), candidates.is_empty()) {
            check_language(model, Some(*first))?;
            candidates.push(*first);
        }
        let is_open = candidates.len() != 1;
        let detector = detector.filter(|model| is_open && model.languages.is_multilingual());
        Ok(Self { routing, models, model, detector, candidates })
    }

    /// The route for the `detected` languages, the most probable first.
    fn route(&self, detected: &[(Language, f32)]) -> Result<Route, PipelineError> {
        let language = detect::choose(detected, &self.candidates).unwrap_or(Language::ENGLISH);
        let routed = || self.routing.route(language, &self.models.requested);
        let model = self.model.or_else(routed).ok_or_else(|| ChunkError::Unavailable {
            model: "any".to_owned(),
            reason: "no model is loaded".to_owned(),
        })?;
        let (runner, stands_in) = self.models.runner(model);
        Ok(Route { model: runner.to_owned(), stands_in, language, ..Route::default() })
    }
}

/// The request for a chunk's text.
pub(super) fn request(route: &Route, options: &Options, chunk: &Chunk) -> ChunkRequest {
    // Translating English to English only confuses the decoder.
    let is_english = route.language == Language::ENGLISH;
    let seconds = |samples: usize| samples as f64 / f64::from(SAMPLE_RATE_HZ);
    let work = Work::Transcribe(ChunkOptions {
        task: if is_english { Task::Transcribe } else { options.task },
        language: route.language,
        prompt: options.prompt.clone(),
        temperature: options.temperature,
        words: options.words,
        logprobs: options.logprobs,
        suppress_non_speech: !options.keep_non_speech,
        speech: chunk.speech.iter().map(|span| seconds(span.start)..seconds(span.end)).collect(),
    });
    let (model, samples) = (route.model.clone(), Arc::clone(&chunk.samples));
    ChunkRequest { model, work, samples, stands_in: route.stands_in }
}
