//! Progress of a running transcription, which any number of subscribers can follow from its start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::pipeline::{
    ApiFailure, ChunkResult, Route, SegmentMerger, Step, TranscriptionOutput, TranscriptionProgress,
};
use auris_format::TranscriptionRun;

/// How a transcription ended.
#[derive(Debug, Clone)]
pub enum TranscriptionEnd {
    /// With a transcript.
    Finished(Arc<TranscriptionOutput>),
    /// Without one.
    Failed(ApiFailure),
    /// It was cancelled by its client.
    Cancelled,
    /// The server shut down first; a job continues when the server starts again.
    Interrupted,
}

/// What is known of a transcription so far. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgressState {
    /// Which model transcribes it, once that is decided.
    pub(super) route: Option<Arc<Route>>,
    /// How far it has come; `None` before its file is opened.
    pub(super) progress: Option<TranscriptionProgress>,
    /// When it started to run, and how much was done by then, in seconds of audio.
    pub(super) begun: Option<(Instant, f64)>,
    /// Finished chunks from the start of the file, without a gap.
    chunks: Vec<Arc<ChunkResult>>,
    /// Finished chunks behind a gap.
    ahead: BTreeMap<usize, Arc<ChunkResult>>,
    /// How it ended, if it has.
    end: Option<TranscriptionEnd>,
}

impl ProgressState {
    /// The state of a job that is not running: its chunks, and how it ended. Chunks behind a gap are
    /// left out.
    pub(super) fn from_stored(
        route: Option<Arc<Route>>,
        chunks: Vec<Arc<ChunkResult>>,
        progress: TranscriptionProgress,
        end: TranscriptionEnd,
    ) -> Self {
        let whole = chunks.iter().zip(0..).take_while(|(chunk, place)| chunk.index == *place);
        let chunks = whole.map(|(chunk, _)| Arc::clone(chunk)).collect();
        Self { route, chunks, progress: Some(progress), end: Some(end), ..Self::default() }
    }

    /// Its text without gaps.
    pub(super) fn text(&self) -> String {
        let mut merger = SegmentMerger::default();
        let mut whole = String::new();
        for chunk in &self.chunks {
            whole.extend(merger.push(chunk).map(|(segment, _)| segment.text));
        }
        // While it is unfinished, the order of the rest is not final.
        if !matches!(self.end, None | Some(TranscriptionEnd::Interrupted)) {
            whole.extend(merger.end().map(|(segment, _)| segment.text));
        }
        whole.trim().to_owned()
    }

    /// How many samples at 16 kHz are done.
    pub(super) fn done_samples(&self) -> u64 {
        self.chunks.iter().chain(self.ahead.values()).map(|chunk| chunk.samples).sum()
    }

    pub(super) fn runs(&self) -> Vec<TranscriptionRun> {
        self.chunks.iter().map(|chunk| TranscriptionRun::from(&chunk.run)).collect()
    }

    /// Seconds until it is done, at its speed since it started.
    pub(super) fn eta_seconds(&self) -> Option<f64> {
        self.eta_after(self.begun?.0.elapsed())
    }

    fn eta_after(&self, elapsed: Duration) -> Option<f64> {
        let (_, before) = self.begun?;
        let TranscriptionProgress { done_seconds, total_seconds } = self.progress?;
        let done = done_seconds - before;
        let left = (total_seconds - done_seconds).max(0.0);
        (done > 0.0).then(|| elapsed.as_secs_f64() / done * left)
    }

    fn push(&mut self, step: Step, progress: TranscriptionProgress) {
        match step {
            Step::Routed(route) => self.route = Some(route),
            Step::Chunk { result, from_checkpoint } => {
                if from_checkpoint {
                    self.begun = Some((Instant::now(), progress.done_seconds));
                }
                // Another attempt returns chunks from the checkpoint that are already known.
                if result.index >= self.chunks.len() {
                    self.ahead.insert(result.index, result);
                }
                while let Some(next) = self.ahead.remove(&self.chunks.len()) {
                    self.chunks.push(next);
                }
            }
        }
        self.progress = Some(progress);
    }
}

/// The writing end of a [`ProgressState`]. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgressPublisher {
    state: watch::Sender<ProgressState>,
}

impl ProgressPublisher {
    /// Notes that it starts to run now.
    pub(super) fn begin(&self) {
        self.state.send_modify(|state| {
            state.begun.get_or_insert((Instant::now(), 0.0));
        });
    }

    pub(super) fn push(&self, step: Step, progress: TranscriptionProgress) {
        self.state.send_modify(|state| state.push(step, progress));
    }

    /// Only the first end counts.
    pub(super) fn end(&self, end: TranscriptionEnd) {
        self.state.send_modify(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Whether both publish to the same subscribers.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.state.same_channel(&other.state)
    }

    pub(super) fn done_samples(&self) -> u64 {
        self.state.borrow().done_samples()
    }

    pub(super) fn state(&self) -> ProgressState {
        self.state.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> ProgressSubscriber {
        ProgressSubscriber { state: self.state.subscribe(), next_chunk: 0, ended: false }
    }
}

/// What a subscriber receives.
#[derive(Debug)]
pub enum ProgressUpdate {
    /// The next chunk in the order of the file.
    Chunk {
        /// On the file's clock.
        result: Arc<ChunkResult>,
        /// How far the transcription has come.
        progress: Option<TranscriptionProgress>,
        /// Seconds until it is done, if that can be estimated.
        eta_seconds: Option<f64>,
    },
    /// Nothing comes after it.
    End(TranscriptionEnd),
}

/// Receives all updates from the start, whenever it subscribed.
#[derive(Debug, Clone)]
pub struct ProgressSubscriber {
    state: watch::Receiver<ProgressState>,
    next_chunk: usize,
    ended: bool,
}

impl ProgressSubscriber {
    /// A subscriber to a state that no longer changes.
    pub(super) fn of(state: ProgressState) -> Self {
        Self { state: watch::Sender::new(state).subscribe(), next_chunk: 0, ended: false }
    }

    /// Waits for the next update; none after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<ProgressUpdate> {
        while !self.ended {
            if let Some(update) = self.update() {
                return Some(update);
            }
            if self.state.changed().await.is_err() {
                // The publisher is gone, perhaps after a last update.
                let interrupted = ProgressUpdate::End(TranscriptionEnd::Interrupted);
                let last = self.update().unwrap_or(interrupted);
                self.ended |= matches!(last, ProgressUpdate::End(_));
                return Some(last);
            }
        }
        None
    }

    fn update(&mut self) -> Option<ProgressUpdate> {
        let state = self.state.borrow_and_update();
        if let Some(result) = state.chunks.get(self.next_chunk) {
            self.next_chunk += 1;
            return Some(ProgressUpdate::Chunk {
                result: Arc::clone(result),
                progress: state.progress,
                eta_seconds: state.eta_seconds(),
            });
        }
        let end = state.end.clone()?;
        self.ended = true;
        Some(ProgressUpdate::End(end))
    }

    /// Waits for the end.
    pub async fn end(mut self) -> TranscriptionEnd {
        let ended = self.state.wait_for(|state| state.end.is_some()).await;
        ended.ok().and_then(|state| state.end.clone()).unwrap_or(TranscriptionEnd::Interrupted)
    }
}

#[cfg(test)]
mod tests;
