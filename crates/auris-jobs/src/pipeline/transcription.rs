//! A running request, which is pulled chunk by chunk.
//!
//! The file is decoded a few chunks ahead of the workers and no further, so that memory does not
//! grow with its length.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::merge::{self, ChunkResult, Output};
use super::reader::Reader;
use super::route::{self, PendingChunk};
use super::{Pipeline, PipelineError, Progress, Route};
use auris_audio::Chunk;
use auris_core::transcript::Options;
use auris_models::ModelFile;
use auris_scheduler::{ChunkError, Ticket};

/// What an earlier attempt at a request has finished.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Its route, if that was decided.
    pub route: Option<Route>,
    /// Its finished chunks. A chunk that no longer matches how the file is cut is run again.
    pub chunks: Vec<ChunkResult>,
}

/// The next step of a transcription.
#[derive(Debug, Clone)]
pub enum Step {
    /// The route is decided.
    Routed(Box<Route>),
    /// Another chunk is finished. Chunks arrive in the order in which they finish.
    Chunk {
        /// The chunk.
        result: Arc<ChunkResult>,
        /// Whether it came from the checkpoint instead of being run.
        recalled: bool,
    },
}

/// A request that has been checked.
pub(super) struct Prepared {
    pub(super) reader: Reader,
    /// The model that was asked for by name.
    pub(super) model: Option<ModelFile>,
    pub(super) options: Options,
}

/// An admitted request. Dropping it cancels what is unfinished.
pub struct Transcription {
    pipeline: Pipeline,
    reader: Reader,
    ticket: Ticket,
    /// The model that was asked for by name.
    model: Option<ModelFile>,
    options: Options,
    route: Option<Route>,
    routed: bool,
    recalled: HashMap<usize, ChunkResult>,
    /// Decoded, but not yet submitted.
    upcoming: VecDeque<Chunk>,
    /// The first chunk, if it was submitted while its language was being detected.
    ahead: Option<PendingChunk>,
    running: FuturesUnordered<BoxFuture<'static, Result<ChunkResult, ChunkError>>>,
    /// From the checkpoint, but not yet returned.
    ready: VecDeque<ChunkResult>,
    results: Vec<Arc<ChunkResult>>,
    /// Seconds of finished chunks, over all signals.
    done_seconds: f64,
}

impl Transcription {
    pub(super) fn new(
        pipeline: Pipeline,
        prepared: Prepared,
        ticket: Ticket,
        recall: Checkpoint,
    ) -> Self {
        let Prepared { reader, model, options } = prepared;
        // A model that is no longer loaded cannot continue.
        let route = recall.route.filter(|route| pipeline.can_resume(route));
        let recalled = match &route {
            Some(_) => recall.chunks.into_iter().map(|chunk| (chunk.index, chunk)).collect(),
            None => HashMap::new(),
        };
        Self {
            pipeline,
            reader,
            ticket,
            model,
            options,
            route,
            routed: false,
            recalled,
            upcoming: VecDeque::new(),
            ahead: None,
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
            results: Vec::new(),
            done_seconds: 0.0,
        }
    }

    /// The next step, or none at the end. If the future is dropped, the transcription must not be
    /// used any more.
    ///
    /// # Errors
    /// [`PipelineError`]; the transcription has failed then.
    pub async fn next(&mut self) -> Result<Option<Step>, PipelineError> {
        if !self.routed {
            self.upcoming.extend(self.reader.next().await?);
            let route = match self.route.take() {
                Some(route) => route,
                None => {
                    let Self { pipeline, model, options, ticket, reader, upcoming, .. } = self;
                    let routed = pipeline.route(model.as_ref(), options, ticket, reader, upcoming);
                    let (route, ahead) = routed.await?;
                    self.ahead = ahead;
                    route
                }
            };
            let route = Route { heard: self.reader.heard().clone(), ..route };
            self.routed = true;
            return Ok(Some(Step::Routed(Box::new(self.route.insert(route).clone()))));
        }
        while self.running.len() < self.pipeline.chunks_in_flight()
            && self.ready.is_empty()
            && let Some(chunk) = self.upcoming.pop_front()
        {
            self.submit(chunk);
            if self.upcoming.is_empty() {
                self.upcoming.extend(self.reader.next().await?);
            }
        }
        let (result, recalled) = match self.ready.pop_front() {
            Some(result) => (result, true),
            None => match self.running.next().await {
                Some(result) => (result?, false),
                None => return Ok(None),
            },
        };
        self.done_seconds += result.seconds();
        let result = Arc::new(result);
        self.results.push(Arc::clone(&result));
        let Progress { done_seconds, total_seconds } = self.progress();
        self.ticket.charge((total_seconds - done_seconds) * self.reader.signals());
        Ok(Some(Step::Chunk { result, recalled }))
    }

    fn submit(&mut self, chunk: Chunk) {
        let Chunk { index, channel, start_sample, .. } = chunk;
        let samples = chunk.samples.len() as u64;
        if let Some(known) = self.recalled.remove(&index)
            && (known.channel, known.start_sample, known.samples)
                == (channel, start_sample, samples)
        {
            return self.ready.push_back(known);
        }
        let Some(route) = &self.route else { return };
        let running = self.ahead.take().unwrap_or_else(|| {
            Box::pin(self.ticket.run(route::request(route, &self.options, &chunk)))
        });
        let result = async move {
            let done = running.await?;
            Ok(ChunkResult { index, start_sample, samples, channel, done })
        };
        self.running.push(Box::pin(result));
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let total_seconds = self.reader.estimated_seconds();
        let heard_seconds = self.done_seconds + self.reader.silent_seconds();
        let done_seconds = heard_seconds / self.reader.signals();
        Progress { done_seconds, total_seconds }
    }

    /// The length of the audio decoded so far, in seconds.
    pub fn decoded_seconds(&self) -> f64 {
        self.reader.decoded_seconds()
    }

    /// Whether the file ended early; what it had was transcribed.
    pub fn truncated(&self) -> bool {
        self.reader.truncated()
    }

    /// The result, once there is no next step.
    pub fn finish(self) -> Output {
        let route = self.route.unwrap_or_default();
        let (duration, truncated) = (self.reader.decoded_seconds(), self.reader.truncated());
        merge::output(self.options.task, &route, &self.results, duration, truncated)
    }
}
