//! Chunks, and those that a worker is running.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::RequestId;
use super::reason::FallbackReason;
use super::retry::History;
use super::{ChunkReply, ChunkRequest};
use auris_core::ipc::{ChunkId, Work};
use auris_core::language::Language;
use auris_core::transcript::Segment;

/// Estimates are capped at this.
const LONGEST_ESTIMATE: Duration = Duration::from_secs(3600);

/// The minimum remaining time assumed for an unfinished chunk.
const OVERDUE_SECONDS: f64 = 0.01;

/// A chunk from its arrival to its result.
#[derive(Debug)]
pub(super) struct ScheduledChunk {
    pub(super) request_id: RequestId,
    pub(super) request: ChunkRequest,
    pub(super) reply: oneshot::Sender<ChunkReply>,
    pub(super) arrived: Instant,
    pub(super) history: History,
    /// The failure of its last attempt: which device, and when it was noticed.
    pub(super) failed: Option<(usize, Instant)>,
    /// The devices whose breaker it opened.
    pub(super) opened: Vec<usize>,
    /// The same chunk crashed a GPU worker before, and no CPU worker.
    pub(super) crashed_gpu_before: bool,
}

impl ScheduledChunk {
    pub(super) fn new(
        request_id: RequestId,
        request: ChunkRequest,
        reply: oneshot::Sender<ChunkReply>,
        arrived: Instant,
    ) -> Self {
        Self {
            request_id,
            request,
            reply,
            arrived,
            history: History::default(),
            failed: None,
            opened: Vec::new(),
            crashed_gpu_before: false,
        }
    }

    /// Its length in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.request.samples.len() as f64 / 16_000.0
    }

    /// The seconds of audio that its cost is estimated from: a detection only encodes.
    pub(super) fn cost_seconds(&self) -> f64 {
        if self.request.work == Work::Detect { 0.0 } else { self.seconds() }
    }
}

#[derive(Debug)]
pub(super) struct RunningChunk {
    pub(super) chunk: ScheduledChunk,
    pub(super) fallback: Option<FallbackReason>,
    pub(super) started: Instant,
    /// When it was expected to finish, as estimated at its start.
    expected: Instant,
    pub(super) segments: Vec<Segment>,
    pub(super) languages: Vec<(Language, f32)>,
    last_progress: Instant,
}

impl RunningChunk {
    /// Its estimated remaining seconds.
    fn remaining(&self, now: Instant) -> f64 {
        // An overdue chunk is expected to need as long again as it is late; it may hang.
        let late = now.saturating_duration_since(self.expected);
        let left = self.expected.saturating_duration_since(now);
        left.max(late).as_secs_f64().max(OVERDUE_SECONDS)
    }
}

#[derive(Debug, Default)]
pub(super) struct RunningChunks(BTreeMap<ChunkId, RunningChunk>);

impl RunningChunks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(
        &mut self,
        id: ChunkId,
        chunk: ScheduledChunk,
        fallback: Option<FallbackReason>,
        takes: f64,
        now: Instant,
    ) {
        let takes = Duration::try_from_secs_f64(takes).unwrap_or(LONGEST_ESTIMATE);
        let running = RunningChunk {
            chunk,
            fallback,
            started: now,
            expected: now + takes.min(LONGEST_ESTIMATE),
            segments: Vec::new(),
            languages: Vec::new(),
            last_progress: now,
        };
        self.0.insert(id, running);
    }

    pub(super) fn remove(&mut self, id: ChunkId) -> Option<RunningChunk> {
        self.0.remove(&id)
    }

    /// Removes all chunks, last one first, so that putting each back in front keeps their order.
    pub(super) fn take_all(&mut self) -> Vec<RunningChunk> {
        std::mem::take(&mut self.0).into_values().rev().collect()
    }

    /// Records a progress event of a chunk. Returns `None` if the chunk is not here.
    pub(super) fn progress(&mut self, id: ChunkId, now: Instant) -> Option<&mut RunningChunk> {
        let running = self.0.get_mut(&id)?;
        running.last_progress = now;
        Some(running)
    }

    pub(super) fn of(&self, request_id: RequestId) -> impl Iterator<Item = ChunkId> {
        let of_request =
            self.0.iter().filter(move |(_, running)| running.chunk.request_id == request_id);
        of_request.map(|(id, _)| *id)
    }

    /// Whether `chunk` may run beside them.
    pub(super) fn may_join(&self, chunk: &ScheduledChunk) -> bool {
        let lonely = |running: &RunningChunk| running.chunk.history.must_run_alone();
        self.0.is_empty() || !(chunk.history.must_run_alone() || self.0.values().any(lonely))
    }

    pub(super) fn remaining(&self, now: Instant) -> impl Iterator<Item = f64> {
        self.0.values().map(move |running| running.remaining(now))
    }

    /// Seconds until the first of them finishes; 0 if there is none.
    pub(super) fn first_free(&self, now: Instant) -> f64 {
        self.remaining(now).reduce(f64::min).unwrap_or(0.0)
    }

    /// Seconds until the last of them finishes; 0 if there is none.
    pub(super) fn last_free(&self, now: Instant) -> f64 {
        self.remaining(now).fold(0.0, f64::max)
    }

    /// When the chunk without progress for longest reaches `stall`.
    pub(super) fn last_sign(&self, stall: Duration) -> Option<Instant> {
        self.0.values().map(|running| running.last_progress + stall).min()
    }
}
