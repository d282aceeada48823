//! Progress of a running transcription, which any number of subscribers can follow from its start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::pipeline::{ApiFailure, ChunkResult, Output, Progress, Route, SegmentMerger, Step};
use auris_format::TranscriptionRun;

/// How a transcription ended.
#[derive(Debug, Clone)]
pub enum End {
    /// With a transcript.
    Finished(Arc<Output>),
    /// Without one.
    Failed(ApiFailure),
    /// It was cancelled by its client.
    Cancelled,
    /// The server shut down first; a job continues when the server starts again.
    Interrupted,
}

/// What is known of a transcription so far.
#[derive(Debug, Default)]
pub struct ProgressState {
    /// Which model transcribes it, once that is decided.
    pub route: Option<Route>,
    /// How far it has come; `None` before its file is opened.
    pub progress: Option<Progress>,
    /// When it started to run, and how much was done by then, in seconds of audio.
    pub begun: Option<(Instant, f64)>,
    /// Finished chunks from the start of the file, without a gap.
    pub chunks: Vec<Arc<ChunkResult>>,
    /// Finished chunks behind a gap.
    ahead: BTreeMap<usize, Arc<ChunkResult>>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

impl ProgressState {
    /// The state of a transcription that is not running: its chunks, and how it ended. Chunks
    /// behind a gap are left out.
    pub fn told(
        route: Option<Route>,
        chunks: Vec<Arc<ChunkResult>>,
        progress: Progress,
        end: End,
    ) -> Self {
        let whole = chunks.iter().zip(0..).take_while(|(chunk, place)| chunk.index == *place);
        let chunks = whole.map(|(chunk, _)| Arc::clone(chunk)).collect();
        Self { route, chunks, progress: Some(progress), end: Some(end), ..Self::default() }
    }

    /// Its text without gaps.
    pub fn text(&self) -> String {
        let mut merger = SegmentMerger::default();
        let mut whole = String::new();
        for chunk in &self.chunks {
            whole.extend(merger.push(chunk).map(|(segment, _)| segment.text));
        }
        // While it is unfinished, the order of the rest is not final.
        if !matches!(self.end, None | Some(End::Interrupted)) {
            whole.extend(merger.end().map(|(segment, _)| segment.text));
        }
        whole.trim().to_owned()
    }

    /// How many samples at 16 kHz are done.
    pub(super) fn done_samples(&self) -> u64 {
        self.chunks.iter().chain(self.ahead.values()).map(|chunk| chunk.samples).sum()
    }

    /// Where each stretch was transcribed.
    pub fn runs(&self) -> Vec<TranscriptionRun> {
        self.chunks.iter().map(|chunk| TranscriptionRun::from(&chunk.run())).collect()
    }

    /// Seconds until it is done, at its speed since it started.
    pub fn eta_seconds(&self) -> Option<f64> {
        self.eta_after(self.begun?.0.elapsed())
    }

    fn eta_after(&self, elapsed: Duration) -> Option<f64> {
        let (_, before) = self.begun?;
        let Progress { done_seconds, total_seconds } = self.progress?;
        let done = done_seconds - before;
        let left = (total_seconds - done_seconds).max(0.0);
        (done > 0.0).then(|| elapsed.as_secs_f64() / done * left)
    }

    fn push(&mut self, step: &Step, progress: Progress) {
        match step {
            Step::Routed(route) => self.route = Some(Route::clone(route)),
            Step::Chunk { result, .. } => {
                // Another attempt returns chunks from the checkpoint that are already known.
                if result.index >= self.chunks.len() {
                    self.ahead.insert(result.index, Arc::clone(result));
                }
                while let Some(next) = self.ahead.remove(&self.chunks.len()) {
                    self.chunks.push(next);
                }
            }
        }
        if matches!(step, Step::Chunk { recalled: true, .. }) {
            self.begun = Some((Instant::now(), progress.done_seconds));
        }
        self.progress = Some(progress);
    }
}

/// The writing end of a [`ProgressState`]. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ProgressPublisher {
    story: watch::Sender<ProgressState>,
}

impl ProgressPublisher {
    pub(super) fn new() -> Self {
        Self { story: watch::Sender::new(ProgressState::default()) }
    }

    /// Notes that it starts to run now.
    pub(super) fn begin(&self) {
        self.story.send_modify(|story| {
            story.begun.get_or_insert((Instant::now(), 0.0));
        });
    }

    pub(super) fn push(&self, step: &Step, progress: Progress) {
        self.story.send_modify(|story| story.push(step, progress));
    }

    /// Only the first end counts.
    pub(super) fn end(&self, end: End) {
        self.story.send_modify(|story| {
            story.end.get_or_insert(end);
        });
    }

    /// Reads the current state. `look` must be quick: it blocks the publisher.
    pub(super) fn look<T>(&self, look: impl FnOnce(&ProgressState) -> T) -> T {
        look(&self.story.borrow())
    }

    pub(super) fn follow(&self) -> ProgressSubscriber {
        ProgressSubscriber { story: self.story.subscribe(), told: 0, ended: false }
    }
}

/// What a subscriber receives.
#[derive(Debug)]
pub enum ProgressUpdate {
    /// The next chunk in the order of the file.
    Chunk {
        /// The chunk.
        result: Arc<ChunkResult>,
        /// How far the transcription has come.
        progress: Option<Progress>,
        /// Seconds until it is done, if that can be estimated.
        eta_seconds: Option<f64>,
    },
    /// The end; nothing comes after it.
    End(End),
}

/// Receives all updates from the start, whenever it subscribed.
#[derive(Debug)]
pub struct ProgressSubscriber {
    story: watch::Receiver<ProgressState>,
    told: usize,
    ended: bool,
}

impl ProgressSubscriber {
    /// A subscriber to a state that no longer changes.
    pub fn of(story: ProgressState) -> Self {
        Self { story: watch::Sender::new(story).subscribe(), told: 0, ended: false }
    }

    /// Waits for the next update; none after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<ProgressUpdate> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(news) = self.news() {
                return Some(news);
            }
            if self.story.changed().await.is_err() {
                // The publisher is gone, perhaps after a last update.
                let last = self.news().unwrap_or(ProgressUpdate::End(End::Interrupted));
                self.ended |= matches!(last, ProgressUpdate::End(_));
                return Some(last);
            }
        }
    }

    fn news(&mut self) -> Option<ProgressUpdate> {
        let story = self.story.borrow_and_update();
        if let Some(result) = story.chunks.get(self.told) {
            self.told += 1;
            return Some(ProgressUpdate::Chunk {
                result: Arc::clone(result),
                progress: story.progress,
                eta_seconds: story.eta_seconds(),
            });
        }
        let end = story.end.clone()?;
        self.ended = true;
        Some(ProgressUpdate::End(end))
    }

    /// Waits for the end.
    pub async fn end(mut self) -> End {
        let ended = self.story.wait_for(|story| story.end.is_some()).await;
        ended.ok().and_then(|story| story.end.clone()).unwrap_or(End::Interrupted)
    }
}

#[cfg(test)]
mod tests;
