//! A request while it runs: pulled from chunk to chunk.
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
use super::route::{self, Running};
use super::{Pipeline, PipelineError, Progress, Route};
use crate::audio::Chunk;
use crate::models::ModelFile;
use crate::scheduler::{ChunkError, Ticket};
use crate::transcript::Options;

/// What is known of a request from an earlier attempt at it.
#[derive(Debug, Default)]
pub struct Recall {
    /// Which model hears it, if that was settled.
    pub route: Option<Route>,
    /// Its finished chunks. One that the file is not cut into any more is run again.
    pub chunks: Vec<ChunkResult>,
}

/// What a transcription comes to next.
#[derive(Debug, Clone)]
pub enum Step {
    /// It is settled which model hears it.
    Routed(Box<Route>),
    /// Another chunk is finished. Chunks come in the order in which they are finished.
    Chunk {
        /// The chunk.
        result: Arc<ChunkResult>,
        /// Whether it was recalled, not run.
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

/// A request that has been let in. Dropping it takes back what is unfinished.
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
    /// Decoded, and not yet submitted.
    upcoming: VecDeque<Chunk>,
    /// The first chunk, if it was submitted while its language was being detected.
    ahead: Option<Running>,
    running: FuturesUnordered<BoxFuture<'static, Result<ChunkResult, ChunkError>>>,
    /// Recalled, and not yet told.
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
        recall: Recall,
    ) -> Self {
        let Prepared { reader, model, options } = prepared;
        // A model that is not loaded any more cannot go on.
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

    /// The next step, or none at the end. If the future is dropped, the transcription is of no
    /// more use.
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

    /// The length of what has been decoded, in seconds.
    pub fn decoded_seconds(&self) -> f64 {
        self.reader.decoded_seconds()
    }

    /// Whether the file ended early; what was there is transcribed.
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
