//! Decides what runs where and when, and follows every chunk to its result. Runs in the server
//! process.
//!
//! One task owns all of the state (`state.rs`) and receives everything as messages. The rules it
//! applies are pure and have their own tests: `queue` (which chunk is next), `placement` (where),
//! `breaker` (whether a device may be used), `memory` and `worker_size` (how large a worker is),
//! `retry` and `quarantine` (what happens after a failure), `admission` (which requests are
//! accepted). Time and workers are passed in, so `simulation` can drive the whole. The crate knows
//! nothing of HTTP and decodes no audio.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::supervisor::WorkerProgram;
use auris_core::device::{Backend, DeviceId};
use auris_core::ipc::{LoadSpec, Work};
use auris_core::language::Language;
use auris_core::transcript::Segment;
use auris_models::StandInReason;

// inputs and reports
pub mod discovery;
pub mod provision;
pub mod supervisor;

mod reason;
mod plan;
mod snapshot;
// order, admission, and what happens after a failure
mod caller;
mod admission;
mod queue;
mod retry;
mod quarantine;
// where chunks run
mod memory;
mod worker_size;
mod speed;
mod placement;
mod breaker;
// what runs
mod running;
mod instance;
mod event_log;
mod device;
// the task
mod state;
mod dispatch;
mod events;
mod fuzzing;
#[cfg(test)]
mod simulation;

pub use admission::Capacity;
pub use caller::Caller;
pub use event_log::{EventLog, LoggedEvent};
pub use memory::MemoryNeed;
pub use plan::{DevicePlan, ModelPlan, Settings, UnusedDeviceKind, Variant};
pub use reason::{EventReason, FallbackReason};
pub use snapshot::{BreakerStatus, DeviceStatus, ModelState, ModelStatus, Snapshot};

use instance::WorkerId;
use queue::RequestId;
use state::SchedulerState;

/// Events of workers that are not handled yet. A worker that sends more waits.
const QUEUED_EVENTS: usize = 256;

/// The bit rate assumed of a file that has not arrived completely: 128 kbit/s.
const GUESSED_BYTES_PER_SECOND: f64 = 16_000.0;

/// What has to arrive before a file takes any room: less than a second of audio.
const FIRST_BYTES: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)] // as in metrics
pub enum Refusal {
    /// The queue is full.
    #[error("the queue is full; try again in {retry_after} s")]
    Full {
        /// Seconds after which there is likely to be room.
        retry_after: u64,
    },
    /// The caller's share of the queue is full.
    #[error("this client's share of the queue is full; try again in {retry_after} s")]
    Share {
        /// Seconds after which there is likely to be room.
        retry_after: u64,
    },
    /// The server is shutting down.
    #[error("the service is shutting down; try again in a moment or on another instance")]
    Draining,
}

#[derive(Debug, Clone)]
pub struct ChunkRequest {
    /// The model, by the name in the device plans.
    pub model: String,
    pub work: Work,
    /// Mono f32 at 16 kHz, at most 30 s.
    pub samples: Arc<[f32]>,
    /// Why `model` is not the requested model, if it is not.
    pub stands_in: Option<StandInReason>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChunkDone {
    /// The text, with times from the start of the chunk. Empty for [`Work::Detect`].
    pub segments: Vec<Segment>,
    /// The result of [`Work::Detect`], most probable first.
    pub languages: Vec<(Language, f32)>,
    pub device: DeviceId,
    /// The engine that drove the device.
    pub backend: Backend,
    /// The model that actually ran: the requested one, or a smaller variant of it.
    pub model: String,
    /// Why the requested model did not do it, or else why it did not run on the best device or at
    /// the first attempt.
    pub fallback_reason: Option<String>,
    /// From the chunk's arrival to the start of the attempt that succeeded.
    pub queue_time: Duration,
    /// Time in the engine.
    pub inference_time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No device can run the model now.
    #[error("the model `{model}` cannot run on any device: {reason}")]
    Unavailable {
        model: String,
        /// Why its last worker failed.
        reason: String,
    },
    /// It crashed two workers, now or earlier, and is not run again.
    #[error("this audio crashes the engine; it is not tried again")]
    Quarantined,
    /// Every worthwhile attempt failed.
    #[error("the audio could not be transcribed, at the last attempt because {reason}")]
    Failed { reason: String },
    /// The scheduler has stopped.
    #[error("the service is shutting down")]
    ShutDown,
}

/// A handle to the scheduler's task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// Unbounded, because a ticket's drop cannot wait. It does not grow: the task handles a command
    /// without I/O, and there are a few commands for each admitted request and each chunk, of which
    /// a request has no more than slots + 1 in flight.
    commands: mpsc::UnboundedSender<SchedulerCommand>,
    slots: Arc<AtomicUsize>,
}

/// The right to submit the chunks of one request. Dropping it cancels the unfinished ones.
#[derive(Debug)]
pub struct Ticket {
    request_id: RequestId,
    scheduler: Scheduler,
    /// How much of the file had arrived at the last report.
    received_bytes: AtomicU64,
}

type ChunkReply = Result<ChunkDone, ChunkError>;

#[derive(Debug)]
enum SchedulerCommand {
    Admit {
        caller: Caller,
        reply: oneshot::Sender<Result<RequestId, Refusal>>,
    },
    AdmitBackground {
        reply: oneshot::Sender<Result<RequestId, Refusal>>,
    },
    Measure {
        request_id: RequestId,
        seconds: f64,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Arrive {
        request_id: RequestId,
        seconds: f64,
    },
    Charge {
        request_id: RequestId,
        seconds: f64,
    },
    Submit {
        request_id: RequestId,
        chunk: ChunkRequest,
        reply: oneshot::Sender<ChunkReply>,
    },
    RunAhead {
        chunk: ChunkRequest,
        result: oneshot::Sender<ChunkReply>,
        reply: oneshot::Sender<Option<RequestId>>,
    },
    Release {
        request_id: RequestId,
    },
    AddDevices {
        plans: Vec<DevicePlan>,
    },
    AddModels {
        plans: Vec<ModelPlan>,
    },
    WhenUsable {
        model: String,
        reply: oneshot::Sender<()>,
    },
    RetireModel {
        model: String,
    },
    Unused {
        backends: Vec<UnusedDeviceKind>,
    },
    Snapshot {
        reply: oneshot::Sender<Snapshot>,
    },
    Drain {
        done: oneshot::Sender<()>,
    },
}

impl Scheduler {
    /// Starts the scheduler's task, without devices or models. The workers stop with the last
    /// handle.
    pub fn start(settings: Settings) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (event_sender, events) = mpsc::channel(QUEUED_EVENTS);
        let launch = move |id: WorkerId, program: &WorkerProgram, spec: LoadSpec| {
            let wrap = move |event| (id, event);
            supervisor::start(program, spec, settings.start, event_sender.clone(), wrap)
        };
        let slots = Arc::new(AtomicUsize::new(0));
        let state =
            SchedulerState::new(settings, Box::new(launch), Arc::clone(&slots), Instant::now());
        tokio::spawn(state.run(receiver, events));
        Self { commands, slots }
    }

    /// Adds devices. Skips a device whose id is already known.
    pub fn add_devices(&self, plans: Vec<DevicePlan>) {
        self.send(SchedulerCommand::AddDevices { plans });
    }

    /// Loads models on every device, including those added later. Skips a model whose name is
    /// already known.
    pub fn add_models(&self, plans: Vec<ModelPlan>) {
        self.send(SchedulerCommand::AddModels { plans });
    }

    /// Returns once chunks of `model` need not wait for a load that may fail: the model is loaded
    /// on a device, or no device will load it before a chunk needs it.
    pub async fn when_usable(&self, model: &str) {
        let model = model.to_owned();
        self.call(|reply| SchedulerCommand::WhenUsable { model, reply }).await;
    }

    /// Unloads a model when nothing runs on it or waits for it. It is loaded again if a request
    /// that started with it submits another chunk.
    pub fn retire_model(&self, model: &str) {
        self.send(SchedulerCommand::RetireModel { model: model.to_owned() });
    }

    /// Sets which kinds of devices are not used, replacing the previous list.
    pub fn set_unused(&self, backends: Vec<UnusedDeviceKind>) {
        self.send(SchedulerCommand::Unused { backends });
    }

    /// The number of chunks that the devices run at once.
    pub fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Admits a request before its length is known, so that no client uploads a file that will be
    /// refused. It takes room as it [arrives](Ticket::receive).
    ///
    /// # Errors
    /// [`Refusal`], with the time after which to try again.
    pub async fn admit(&self, caller: Caller) -> Result<Ticket, Refusal> {
        let id = self.call(|reply| SchedulerCommand::Admit { caller, reply }).await;
        Ok(self.ticket(id.ok_or(Refusal::Draining)??))
    }

    /// Admits a request that runs in the background, however much is queued. It counts towards no
    /// caller, takes turns as a long request, and [`Scheduler::drain`] does not wait for it.
    ///
    /// # Errors
    /// [`Refusal::Draining`].
    pub async fn admit_background(&self) -> Result<Ticket, Refusal> {
        let id = self.call(|reply| SchedulerCommand::AdmitBackground { reply }).await;
        Ok(self.ticket(id.ok_or(Refusal::Draining)??))
    }

    /// The state of every device. `None` once the scheduler has stopped.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.call(|reply| SchedulerCommand::Snapshot { reply }).await
    }

    /// Refuses new requests from now on, and returns when the accepted ones are finished.
    pub async fn drain(&self) {
        self.call(|done| SchedulerCommand::Drain { done }).await;
    }

    /// Returns when the scheduler has stopped. While handles exist, that is a bug.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    fn ticket(&self, request_id: RequestId) -> Ticket {
        Ticket { request_id, scheduler: self.clone(), received_bytes: AtomicU64::new(0) }
    }

    /// Sends a command and returns the reply; `None` if the scheduler has stopped.
    async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> SchedulerCommand,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply));
        answer.await.ok()
    }

    fn send(&self, command: SchedulerCommand) {
        // A stopped scheduler drops the reply, which the caller notices.
        let _ = self.commands.send(command);
    }
}

impl Ticket {
    /// Reports that `bytes` of the request's file have arrived.
    pub fn receive(&self, bytes: u64) {
        // Only each doubling, since the scheduler needs no more and is not to be flooded.
        let last = self.received_bytes.load(Ordering::Relaxed);
        if bytes >= FIRST_BYTES && bytes / 2 >= last {
            self.received_bytes.store(bytes, Ordering::Relaxed);
            let seconds = bytes as f64 / GUESSED_BYTES_PER_SECOND;
            self.scheduler.send(SchedulerCommand::Arrive { request_id: self.request_id, seconds });
        }
    }

    /// Reports that the request has about `seconds` of audio; nothing runs before that.
    ///
    /// # Errors
    /// [`Refusal`] if there is no room for that much.
    pub async fn measure(&self, seconds: f64) -> Result<(), Refusal> {
        let request_id = self.request_id;
        let measure = |reply| SchedulerCommand::Measure { request_id, seconds, reply };
        self.scheduler.call(measure).await.unwrap_or(Err(Refusal::Draining))
    }

    /// Submits a chunk at once. The future returns its result after as many attempts as needed.
    /// Dropping the future does not cancel the chunk; dropping the ticket does.
    pub fn run(
        &self,
        chunk: ChunkRequest,
    ) -> impl Future<Output = Result<ChunkDone, ChunkError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let request_id = self.request_id;
        self.scheduler.send(SchedulerCommand::Submit { request_id, chunk, reply });
        async move { answer.await.unwrap_or(Err(ChunkError::ShutDown)) }
    }

    /// Starts a chunk that may turn out not to be needed, if no chunk waits and a slot is idle;
    /// otherwise returns `None`. Dropping the future cancels the chunk.
    pub async fn run_ahead(
        &self,
        chunk: ChunkRequest,
    ) -> Option<impl Future<Output = Result<ChunkDone, ChunkError>> + use<>> {
        let (result, done) = oneshot::channel();
        let ahead = |reply| SchedulerCommand::RunAhead { chunk, result, reply };
        let ahead = self.scheduler.ticket(self.scheduler.call(ahead).await??);
        Some(async move {
            let result = done.await.unwrap_or(Err(ChunkError::ShutDown));
            drop(ahead);
            result
        })
    }

    /// Updates the remaining seconds of audio of the request.
    pub fn charge(&self, seconds: f64) {
        self.scheduler.send(SchedulerCommand::Charge { request_id: self.request_id, seconds });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.scheduler.send(SchedulerCommand::Release { request_id: self.request_id });
    }
}
