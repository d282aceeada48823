//! A transcription that anybody can follow while it runs, from its first word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::format::TranscriptionRun;
use crate::pipeline::{ChunkResult, Fault, Output, Progress, Route, Step, Turns};

/// How a transcription ended.
#[derive(Debug, Clone)]
pub enum End {
    /// With a transcript.
    Finished(Arc<Output>),
    /// Without one.
    Failed(Fault),
    /// It is not wanted any more.
    Cancelled,
    /// The server ends first; a kept job goes on when it starts again.
    Interrupted,
}

/// What is known of a transcription so far.
#[derive(Debug, Default)]
pub struct Story {
    /// Which model hears it, once that is settled.
    pub route: Option<Route>,
    /// How far it has come; `None` before its file is opened.
    pub progress: Option<Progress>,
    /// Since when it runs, and how far it had come by then, in seconds of audio.
    pub begun: Option<(Instant, f64)>,
    /// Finished chunks from the start of the file, without a gap.
    pub chunks: Vec<Arc<ChunkResult>>,
    /// Finished chunks behind a gap.
    ahead: BTreeMap<usize, Arc<ChunkResult>>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

impl Story {
    /// That of one that does not run: what there is of it, and how it ended. Chunks behind a gap
    /// are not told.
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
        let mut turns = Turns::default();
        let mut whole = String::new();
        for chunk in &self.chunks {
            whole.extend(turns.hear(chunk).map(|(segment, _)| segment.text));
        }
        // Where it goes on, the rest is not settled.
        if !matches!(self.end, None | Some(End::Interrupted)) {
            whole.extend(turns.end().map(|(segment, _)| segment.text));
        }
        whole.trim().to_owned()
    }

    /// How many samples at 16 kHz are done.
    pub(super) fn done_samples(&self) -> u64 {
        self.chunks.iter().chain(self.ahead.values()).map(|chunk| chunk.samples).sum()
    }

    /// Where each stretch of it was transcribed.
    pub fn runs(&self) -> Vec<TranscriptionRun> {
        self.chunks.iter().map(|chunk| TranscriptionRun::from(&chunk.run())).collect()
    }

    /// Seconds until it is done at the pace that it has had since it began.
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

    fn hear(&mut self, step: &Step, progress: Progress) {
        match step {
            Step::Routed(route) => self.route = Some(Route::clone(route)),
            Step::Chunk { result, .. } => {
                // Another attempt recalls what is told already.
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

/// The writing end of a [`Story`]. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Live {
    story: watch::Sender<Story>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { story: watch::Sender::new(Story::default()) }
    }

    /// It runs from now on.
    pub(super) fn begin(&self) {
        self.story.send_modify(|story| {
            story.begun.get_or_insert((Instant::now(), 0.0));
        });
    }

    pub(super) fn hear(&self, step: &Step, progress: Progress) {
        self.story.send_modify(|story| story.hear(step, progress));
    }

    /// Only the first end counts.
    pub(super) fn end(&self, end: End) {
        self.story.send_modify(|story| {
            story.end.get_or_insert(end);
        });
    }

    /// Looks at what is known now. `look` must be quick: it holds the writer up.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Story) -> T) -> T {
        look(&self.story.borrow())
    }

    pub(super) fn follow(&self) -> Follower {
        Follower { story: self.story.subscribe(), told: 0, ended: false }
    }
}

/// What a follower hears.
#[derive(Debug)]
pub enum News {
    /// The next chunk in the order of the file.
    Chunk {
        /// The chunk.
        result: Arc<ChunkResult>,
        /// How far the transcription has come.
        progress: Option<Progress>,
        /// Seconds until it is done, where that can be told.
        eta_seconds: Option<f64>,
    },
    /// The end; nothing comes after it.
    End(End),
}

/// Hears a story from its start, whenever it came.
#[derive(Debug)]
pub struct Follower {
    story: watch::Receiver<Story>,
    told: usize,
    ended: bool,
}

impl Follower {
    /// Of a story that nobody writes on.
    pub fn of(story: Story) -> Self {
        Self { story: watch::Sender::new(story).subscribe(), told: 0, ended: false }
    }

    /// Waits for what comes next; none after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(news) = self.news() {
                return Some(news);
            }
            if self.story.changed().await.is_err() {
                // Whoever wrote it is gone, perhaps after a last word.
                let last = self.news().unwrap_or(News::End(End::Interrupted));
                self.ended |= matches!(last, News::End(_));
                return Some(last);
            }
        }
    }

    fn news(&mut self) -> Option<News> {
        let story = self.story.borrow_and_update();
        if let Some(result) = story.chunks.get(self.told) {
            self.told += 1;
            return Some(News::Chunk {
                result: Arc::clone(result),
                progress: story.progress,
                eta_seconds: story.eta_seconds(),
            });
        }
        let end = story.end.clone()?;
        self.ended = true;
        Some(News::End(end))
    }

    /// Waits for the end.
    pub async fn end(mut self) -> End {
        let ended = self.story.wait_for(|story| story.end.is_some()).await;
        ended.ok().and_then(|story| story.end.clone()).unwrap_or(End::Interrupted)
    }
}

#[cfg(test)]
mod tests;
