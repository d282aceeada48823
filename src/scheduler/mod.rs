//! Decides what runs where and when, and sees every chunk through to a result. Parent side.
//!
//! One task owns all of the state (`state.rs`) and is told everything by messages; the rules it
//! applies are pure and tested on their own: `queue` (who is next), `placement` (where), `breaker`
//! (whether a device may be used), `memory` and `shape` (how large a worker is made), `retry` and
//! `quarantine` (what after a failure), `admission` and `promises` (who may come in, and when). Time and workers come in
//! from outside, so that `simulation` can drive the whole. It knows no HTTP and decodes no audio.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::device::{Backend, DeviceId};
use crate::ipc::{LoadSpec, Work};
use crate::language::Language;
use crate::models::StandInReason;
use crate::supervisor::{self, WorkerProgram};
use crate::transcript::Segment;

// what it is given and what it tells
mod plan;
mod snapshot;
// who is next, who may come in, what after a failure
mod caller;
mod admission;
mod promises;
mod throughput;
mod queue;
mod retry;
mod quarantine;
// where
mod memory;
mod shape;
mod pace;
mod placement;
mod breaker;
// what runs
mod running;
mod lane;
mod journal;
mod advice;
mod device;
// the task
mod state;
mod dispatch;
mod events;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod simulation;

pub use admission::Capacity;
pub use caller::{Attempt, Caller};
pub use journal::{DeviceEvent, Journal};
pub use memory::MemoryNeed;
pub use plan::{DevicePlan, ModelPlan, Settings, UnusedBackend, Variant};
pub use snapshot::{BreakerStatus, DeviceStatus, ModelState, ModelStatus, Snapshot};

use lane::WorkerId;
use queue::JobId;
use state::State;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No more work fits.
    #[error("the service has as much waiting as it accepts; try again in {retry_after} s")]
    Full {
        /// Seconds after which there is likely to be room.
        retry_after: u64,
    },
    /// The caller has as much waiting as one caller may.
    #[error("this client has as much waiting as one client may; try again in {retry_after} s")]
    Share {
        /// Seconds after which there is likely to be room.
        retry_after: u64,
    },
    /// The server is about to end.
    #[error("the service is shutting down; try again in a moment or on another instance")]
    Draining,
}

/// A chunk to run.
#[derive(Debug, Clone)]
pub struct ChunkRequest {
    /// The model, by the name in the device plans.
    pub model: String,
    /// What to do.
    pub work: Work,
    /// Mono f32 at 16 kHz, at most 30 s.
    pub samples: Arc<[f32]>,
    /// Why `model` is not the one that was asked for, if it is not.
    pub stands_in: Option<StandInReason>,
}

/// A finished chunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChunkDone {
    /// The text, times counted from the start of the chunk. Empty for [`Work::Detect`].
    pub segments: Vec<Segment>,
    /// The answer to [`Work::Detect`], most probable first.
    pub languages: Vec<(Language, f32)>,
    /// Where it ran.
    pub device: DeviceId,
    /// What drove the device.
    pub backend: Backend,
    /// The model that really ran: the one asked for, or a smaller variant of it.
    pub model: String,
    /// Why it was not done by the model that was asked for, or else not on the best device or not
    /// at the first attempt.
    pub fallback_reason: Option<String>,
    /// From the chunk's arrival to the start of the attempt that succeeded.
    pub queue_time: Duration,
    /// In the engine.
    pub inference_time: Duration,
}

/// A chunk has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No device can run the model now.
    #[error("the model `{model}` cannot run on any device: {reason}")]
    Unavailable {
        /// The model's name.
        model: String,
        /// What its last worker died of.
        reason: String,
    },
    /// It has crashed two workers, now or earlier, and is not run again.
    #[error("this audio crashes the engine; it is not tried again")]
    Quarantined,
    /// Every attempt that was worth making failed.
    #[error("the audio could not be transcribed, at the last attempt because {reason}")]
    Failed {
        /// Why the last attempt failed.
        reason: String,
    },
    /// The scheduler has ended.
    #[error("the service is shutting down")]
    ShutDown,
}

/// The way to the scheduler's task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scheduler {
    commands: mpsc::UnboundedSender<Command>,
    slots: Arc<AtomicUsize>,
}

/// The right to submit the chunks of one request. Dropping it takes back what is not finished.
#[derive(Debug)]
pub struct Ticket {
    id: JobId,
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Admit {
        caller: Caller,
        attempt: Attempt,
        reply: oneshot::Sender<Result<JobId, Refusal>>,
    },
    AdmitKept {
        reply: oneshot::Sender<Result<JobId, Refusal>>,
    },
    Measure {
        job: JobId,
        seconds: f64,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Charge {
        job: JobId,
        seconds: f64,
    },
    Submit {
        job: JobId,
        chunk: ChunkRequest,
        reply: oneshot::Sender<Result<ChunkDone, ChunkError>>,
    },
    RunAhead {
        chunk: ChunkRequest,
        result: oneshot::Sender<Result<ChunkDone, ChunkError>>,
        reply: oneshot::Sender<Option<JobId>>,
    },
    Release {
        job: JobId,
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
    StandDown {
        model: String,
    },
    Unused {
        backends: Vec<UnusedBackend>,
    },
    Snapshot {
        reply: oneshot::Sender<Snapshot>,
    },
    Drain {
        done: oneshot::Sender<()>,
    },
}

impl Scheduler {
    /// Starts the scheduler's task, without devices and models. The workers end with the last handle.
    pub fn start(settings: Settings) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (event_sender, events) = mpsc::unbounded_channel();
        let launch = move |id: WorkerId, program: &WorkerProgram, spec: LoadSpec| {
            let wrap = move |event| (id, event);
            supervisor::start(program, spec, settings.start, event_sender.clone(), wrap)
        };
        let slots = Arc::new(AtomicUsize::new(0));
        let state = State::new(settings, Box::new(launch), Arc::clone(&slots), Instant::now());
        tokio::spawn(state.run(receiver, events));
        Self { commands, slots }
    }

    /// Takes devices into use. One with a known id is passed over.
    pub fn add_devices(&self, plans: Vec<DevicePlan>) {
        self.send(Command::AddDevices { plans });
    }

    /// Has every device load models, also those that come later. One with a known name is passed
    /// over.
    pub fn add_models(&self, plans: Vec<ModelPlan>) {
        self.send(Command::AddModels { plans });
    }

    /// Returns when chunks of `model` need not wait for a load that may fail: it is loaded on a
    /// device, or no device is to load it before a chunk comes.
    pub async fn when_usable(&self, model: &str) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::WhenUsable { model: model.to_owned(), reply });
        let _ = answer.await;
    }

    /// Unloads a model when nothing runs on it or waits for it. It is loaded again for whoever has
    /// begun with it and comes with another chunk.
    pub fn stand_down(&self, model: &str) {
        self.send(Command::StandDown { model: model.to_owned() });
    }

    /// Says which kinds of devices are not used, in place of what was said before.
    pub fn set_unused(&self, backends: Vec<UnusedBackend>) {
        self.send(Command::Unused { backends });
    }

    /// How many chunks the devices run at once.
    pub fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Lets a request in before its length is known, so that nobody uploads in vain. The ticket
    /// holds room for a usual one until [`Ticket::measure`].
    ///
    /// # Errors
    /// [`Refusal`], with the time after which to try again.
    pub async fn admit(&self, caller: Caller, attempt: Attempt) -> Result<Ticket, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Admit { caller, attempt, reply });
        let id = answer.await.map_err(|_| Refusal::Draining)??;
        Ok(Ticket { id, commands: self.commands.clone() })
    }

    /// Lets a request in that nobody waits for, whatever else waits. It counts for no caller, takes
    /// its turns as a long one, and is not waited for by [`Scheduler::drain`].
    ///
    /// # Errors
    /// [`Refusal::Draining`].
    pub async fn admit_kept(&self) -> Result<Ticket, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::AdmitKept { reply });
        let id = answer.await.map_err(|_| Refusal::Draining)??;
        Ok(Ticket { id, commands: self.commands.clone() })
    }

    /// What every device is doing. `None` when the scheduler has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot { reply });
        answer.await.ok()
    }

    /// Refuses new requests from now on, and returns when the accepted ones are finished.
    pub async fn drain(&self) {
        let (done, answer) = oneshot::channel();
        self.send(Command::Drain { done });
        let _ = answer.await;
    }

    /// Returns when the scheduler has ended, which it does before its handles only by a fault.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    fn send(&self, command: Command) {
        // A scheduler that has ended drops the reply, which the caller sees.
        let _ = self.commands.send(command);
    }
}

impl Ticket {
    /// Tells that the request has about `seconds` of audio; before that nothing can run.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for so much.
    pub async fn measure(&self, seconds: f64) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Measure { job: self.id, seconds, reply });
        answer.await.unwrap_or(Err(Refusal::Draining))
    }

    /// Submits a chunk at once; the future is its result, after as many attempts as it takes.
    /// Dropping the future does not take the chunk back; dropping the ticket does.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn run(
        &self,
        chunk: ChunkRequest,
    ) -> impl Future<Output = Result<ChunkDone, ChunkError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Submit { job: self.id, chunk, reply });
        async move { answer.await.unwrap_or(Err(ChunkError::ShutDown)) }
    }

    /// Starts a chunk that may turn out not to be needed, if nobody waits and a slot has nothing
    /// to do; otherwise there is none. Dropping the future takes the chunk back.
    pub async fn run_ahead(
        &self,
        chunk: ChunkRequest,
    ) -> Option<impl Future<Output = Result<ChunkDone, ChunkError>> + use<>> {
        let (result, done) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::RunAhead { chunk, result, reply });
        let ahead = Ticket { id: answer.await.ok()??, commands: self.commands.clone() };
        Some(async move {
            let result = done.await.unwrap_or(Err(ChunkError::ShutDown));
            drop(ahead);
            result
        })
    }

    /// Corrects how many seconds of audio the request still has before it.
    pub fn charge(&self, seconds: f64) {
        let _ = self.commands.send(Command::Charge { job: self.id, seconds });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Release { job: self.id });
    }
}
