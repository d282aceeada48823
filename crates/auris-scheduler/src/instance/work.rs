//! The chunks of an instance: which may run, and how they end.

use std::sync::Arc;
use std::time::Instant;

use super::{InstancePhase, ModelInstance};
use crate::queue::RequestId;
use crate::reason::FallbackReason;
use crate::running::{RunningChunk, ScheduledChunk};
use auris_core::ipc::{ChunkId, WorkerStats};

impl ModelInstance {
    /// Whether `chunk` could start on its worker now.
    pub(crate) fn may_run(&self, chunk: &ScheduledChunk) -> bool {
        self.phase == InstancePhase::Ready
            && self.running.len() < self.worker_size.slots
            && self.running.may_join(chunk)
    }

    /// Runs a chunk for which [`may_run`](Self::may_run) holds.
    pub(crate) fn run(
        &mut self,
        chunk: ScheduledChunk,
        fallback: Option<FallbackReason>,
        now: Instant,
    ) {
        let id = self.next_chunk;
        self.next_chunk += 1;
        if let Some(worker) = &self.worker {
            worker.run(id, chunk.request.work.clone(), Arc::clone(&chunk.request.samples));
        }
        self.last_used = now;
        let takes = self.speed.seconds(chunk.cost_seconds(), now);
        self.running.add(id, chunk, fallback, takes, now);
    }

    pub(crate) fn runs(&self, request_id: RequestId) -> bool {
        self.running.of(request_id).next().is_some()
    }

    pub(crate) fn cancel(&self, request_id: RequestId) {
        for id in self.running.of(request_id) {
            if let Some(worker) = &self.worker {
                worker.cancel(id);
            }
        }
    }

    pub(crate) fn done(
        &mut self,
        id: ChunkId,
        stats: WorkerStats,
        now: Instant,
    ) -> Option<RunningChunk> {
        let running = self.running.remove(id)?;
        self.failures = 0;
        self.errors = 0;
        self.worker_chunks += 1;
        self.last_used = now;
        self.stats = stats;
        Some(running)
    }

    /// Counts an error that the engine reported for a chunk. Returns the number of errors in a row.
    pub(crate) fn count_error(&mut self) -> u32 {
        self.errors += 1;
        self.errors
    }
}
