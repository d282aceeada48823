//! A scheduler without worker processes, for fuzzing.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::instance::WorkerId;
use super::state::SchedulerState;
use super::{QUEUED_EVENTS, Scheduler, Settings};
use crate::supervisor::{self, WorkerProgram};
use auris_core::ipc::LoadSpec;

impl Scheduler {
    /// Starts the scheduler's task. `connect` returns the pipes to a worker.
    #[doc(hidden)]
    pub fn start_on_pipes(
        settings: Settings,
        mut connect: impl FnMut() -> DuplexStream + Send + 'static,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (event_sender, events) = mpsc::channel(QUEUED_EVENTS);
        let launch = move |id: WorkerId, _: &WorkerProgram, spec: LoadSpec| {
            let wrap = move |event| (id, event);
            let sender = event_sender.clone();
            supervisor::start_on_pipes(connect(), spec, settings.start, sender, wrap)
        };
        let slots = Arc::new(AtomicUsize::new(0));
        let state =
            SchedulerState::new(settings, Box::new(launch), Arc::clone(&slots), Instant::now());
        tokio::spawn(state.run(receiver, events));
        Self { commands, slots }
    }
}
