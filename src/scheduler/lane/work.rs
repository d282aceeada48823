//! The chunks of a lane: which may run, and what becomes of those that do.

use std::sync::Arc;
use std::time::Instant;

use super::{Lane, Phase};
use crate::ipc::{ChunkId, Vitals};
use crate::scheduler::queue::JobId;
use crate::scheduler::running::{Chunk, Running};

impl Lane {
    /// Whether `chunk` could start on its worker now.
    pub(in crate::scheduler) fn may_run(&self, chunk: &Chunk) -> bool {
        self.phase == Phase::Ready
            && self.running.len() < self.shape.slots
            && self.running.may_join(chunk)
    }

    /// Runs a chunk for which [`may_run`](Self::may_run) holds.
    pub(in crate::scheduler) fn run(
        &mut self,
        chunk: Chunk,
        fallback: Option<String>,
        now: Instant,
    ) {
        let id = self.next_chunk;
        self.next_chunk += 1;
        if let Some(worker) = &self.worker {
            worker.run(id, chunk.request.work.clone(), Arc::clone(&chunk.request.samples));
        }
        self.last_used = now;
        let takes = self.pace.seconds(chunk.cost_seconds(), now);
        self.running.add(id, chunk, fallback, takes, now);
    }

    /// Whether its worker runs something for `job`.
    pub(in crate::scheduler) fn runs(&self, job: JobId) -> bool {
        self.running.of(job).next().is_some()
    }

    /// Tells the worker to stop what it does for `job`.
    pub(in crate::scheduler) fn cancel(&self, job: JobId) {
        for id in self.running.of(job) {
            if let Some(worker) = &self.worker {
                worker.cancel(id);
            }
        }
    }

    /// A chunk is finished: takes it out.
    pub(in crate::scheduler) fn done(
        &mut self,
        id: ChunkId,
        vitals: Vitals,
        now: Instant,
    ) -> Option<Running> {
        let running = self.running.remove(id)?;
        self.failures = 0;
        self.errors = 0;
        self.worker_chunks += 1;
        self.last_used = now;
        self.vitals = vitals;
        Some(running)
    }

    /// The engine reported an error for a chunk. Returns how many it did in a row.
    pub(in crate::scheduler) fn count_error(&mut self) -> u32 {
        self.errors += 1;
        self.errors
    }
}
