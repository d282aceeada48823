//! A running request, which is pulled step by step.
//!
//! The file is decoded a few chunks ahead of the workers and no further, so that memory does not
//! grow with its length. A finished chunk is returned at once, also while a slow decoder works on
//! the next ones.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::chunk_result::{ChunkResult, ChunkSpan};
use super::merge::{self, TranscriptionOutput};
use super::prepared::Prepared;
use super::route::{self, PendingChunk};
use super::{PipelineError, Route, TranscriptionProgress};
use auris_audio::Chunk;
use auris_scheduler::{ChunkError, Ticket};

/// What an earlier attempt at a request has finished.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// `None` if it was not decided.
    pub route: Option<Route>,
    /// Its finished chunks. A chunk that no longer matches how the file is cut is run again.
    pub chunks: Vec<ChunkResult>,
}

/// The next step of a transcription.
#[derive(Debug, Clone)]
pub enum Step {
    /// The model and the language are decided.
    Routed(Arc<Route>),
    /// Another chunk is finished. Chunks arrive in the order in which they finish.
    Chunk {
        /// On the file's clock.
        result: Arc<ChunkResult>,
        /// Whether it came from the checkpoint instead of being run.
        from_checkpoint: bool,
    },
}

impl Prepared {
    /// Starts it for a waiting client, if there is room for its length.
    ///
    /// # Errors
    /// [`PipelineError::Refused`].
    pub async fn start(self, ticket: Ticket) -> Result<Transcription, PipelineError> {
        ticket.measure(self.reader.estimated_seconds() * self.reader.signals()).await?;
        Ok(self.resume(ticket, Checkpoint::default()))
    }

    /// Starts it after its `checkpoint`, whatever else waits.
    pub fn resume(self, ticket: Ticket, checkpoint: Checkpoint) -> Transcription {
        // A model that is no longer loaded cannot continue.
        let route = checkpoint.route.filter(|route| self.pipeline.can_resume(route));
        let chunks = if route.is_some() { checkpoint.chunks } else { Vec::new() };
        Transcription {
            request: self,
            ticket,
            earlier_route: route,
            earlier_chunks: chunks.into_iter().map(|chunk| (chunk.index, chunk)).collect(),
            route: None,
            upcoming: VecDeque::new(),
            ahead: None,
            running: FuturesUnordered::new(),
            results: Vec::new(),
            done_seconds: 0.0,
        }
    }
}

/// An admitted request. Dropping it cancels what is unfinished.
pub struct Transcription {
    request: Prepared,
    ticket: Ticket,
    /// From the checkpoint.
    earlier_route: Option<Route>,
    earlier_chunks: HashMap<usize, ChunkResult>,
    route: Option<Arc<Route>>,
    /// Decoded, but not yet submitted.
    upcoming: VecDeque<Chunk>,
    /// The first chunk, if it was submitted while its language was being detected.
    ahead: Option<PendingChunk>,
    running: FuturesUnordered<BoxFuture<'static, Result<ChunkResult, ChunkError>>>,
    results: Vec<Arc<ChunkResult>>,
    /// Seconds of finished chunks, over all signals.
    done_seconds: f64,
}

impl Transcription {
    /// Runs it to its end, and waits for `report` after each step.
    ///
    /// # Errors
    /// [`PipelineError`], and those of `report`.
    pub async fn run<E: From<PipelineError>, F: Future<Output = Result<(), E>>>(
        mut self,
        mut report: impl FnMut(Step, TranscriptionProgress) -> F,
    ) -> Result<TranscriptionOutput, E> {
        while let Some(step) = self.next().await? {
            report(step, self.progress()).await?;
        }
        let decoded = self.request.reader.decoded();
        let route = self.route.unwrap_or_default();
        Ok(merge::output(self.request.options.task, &route, &self.results, decoded))
    }

    async fn next(&mut self) -> Result<Option<Step>, PipelineError> {
        let Some(route) = self.route.clone() else { return self.decide_route().await.map(Some) };
        loop {
            while self.running.len() < self.request.pipeline.chunks_in_flight()
                && let Some(chunk) = self.upcoming.pop_front()
            {
                let span = ChunkSpan::of(&chunk);
                let earlier = self.earlier_chunks.remove(&span.index);
                if let Some(result) = earlier.filter(|result| result.span() == span) {
                    return Ok(Some(self.finished(result, true)));
                }
                self.submit(span, &route, &chunk);
            }
            let reader = &mut self.request.reader;
            let wants_more = self.upcoming.is_empty() && !reader.ended();
            tokio::select! {
                biased;
                Some(result) = self.running.next() => {
                    return Ok(Some(self.finished(result?, false)));
                }
                decoded = reader.next(), if wants_more => self.upcoming.extend(decoded?),
                else => return Ok(None),
            }
        }
    }

    async fn decide_route(&mut self) -> Result<Step, PipelineError> {
        self.upcoming.extend(self.request.reader.next().await?);
        let route = match self.earlier_route.take() {
            Some(route) => route,
            None => {
                let decided = self.request.route(&self.ticket, &mut self.upcoming).await?;
                self.ahead = decided.ahead;
                decided.route
            }
        };
        let route = Arc::new(Route { parts: self.request.reader.parts().clone(), ..route });
        self.route = Some(Arc::clone(&route));
        Ok(Step::Routed(route))
    }

    fn submit(&mut self, span: ChunkSpan, route: &Route, chunk: &Chunk) {
        let running = self.ahead.take().unwrap_or_else(|| {
            Box::pin(self.ticket.run(route::request(route, &self.request.options, chunk)))
        });
        self.running.push(Box::pin(async move { Ok(ChunkResult::new(span, running.await?)) }));
    }

    fn finished(&mut self, result: ChunkResult, from_checkpoint: bool) -> Step {
        self.done_seconds += result.seconds();
        let result = Arc::new(result);
        self.results.push(Arc::clone(&result));
        let TranscriptionProgress { done_seconds, total_seconds } = self.progress();
        self.ticket.charge((total_seconds - done_seconds) * self.request.reader.signals());
        Step::Chunk { result, from_checkpoint }
    }

    fn progress(&self) -> TranscriptionProgress {
        let reader = &self.request.reader;
        let done_seconds = (self.done_seconds + reader.silent_seconds()) / reader.signals();
        TranscriptionProgress { done_seconds, total_seconds: reader.estimated_seconds() }
    }
}
