//! Decides what runs where and when, and sees every chunk through to a result. Parent side.
//!
//! One task owns all of the state (`state.rs`) and is told everything by messages; the rules it
//! applies are pure and tested on their own: `queue` (who is next), `placement` (where),
//! `retry` (what after a failure), `admission` (who may come in). It knows no HTTP and decodes
//! no audio.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::device::{Backend, DeviceId, DeviceInfo};
use crate::ipc::{LoadSpec, Work};
use crate::language::Language;
use crate::supervisor::{StartLimits, WorkerProgram};
use crate::transcript::Segment;

mod admission;
mod device;
mod lane;
mod placement;
mod queue;
mod retry;
mod snapshot;
mod state;

pub use admission::{Caller, Capacity};
pub use snapshot::{DeviceStatus, ModelState, ModelStatus, Snapshot};

use queue::JobId;

/// A device and what it is to run.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// What was found out about it.
    pub info: DeviceInfo,
    /// The program that drives it.
    pub program: WorkerProgram,
    /// How many chunks it runs at once, over all models.
    pub slots: usize,
    /// How many threads each chunk uses.
    pub threads: usize,
    /// The models that it loads: name and what its worker is told.
    pub models: Vec<(String, LoadSpec)>,
}

/// What can be configured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How much may wait.
    pub capacity: Capacity,
    /// How long a start may take.
    pub start: StartLimits,
    /// The least time without progress after which a running chunk's worker is ended. A model
    /// that was slow to warm up gets more.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: Capacity::default(),
            start: StartLimits::default(),
            stall: Duration::from_secs(60),
        }
    }
}

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
}

/// A finished chunk.
#[derive(Debug, Clone)]
pub struct ChunkDone {
    /// The text, times counted from the start of the chunk. Empty for [`Work::Detect`].
    pub segments: Vec<Segment>,
    /// The answer to [`Work::Detect`], most probable first.
    pub languages: Vec<(Language, f32)>,
    /// Where it ran.
    pub device: DeviceId,
    /// What drove the device.
    pub backend: Backend,
    /// Why an earlier attempt failed, if one did.
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
        seconds: f64,
        reply: oneshot::Sender<Result<JobId, Refusal>>,
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
    Release {
        job: JobId,
    },
    Snapshot {
        reply: oneshot::Sender<Snapshot>,
    },
    Drain {
        done: oneshot::Sender<()>,
    },
}

impl Scheduler {
    /// Starts the scheduler's task, which starts a worker for each model on each device.
    /// The workers end with the last handle.
    pub fn start(devices: Vec<DevicePlan>, settings: Settings) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        tokio::spawn(state::State::new(devices, settings).run(receiver));
        Self { commands }
    }

    /// Lets a request of about `seconds` of audio in.
    ///
    /// # Errors
    /// [`Refusal`], with the time after which to try again.
    pub async fn admit(&self, caller: Caller, seconds: f64) -> Result<Ticket, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Admit { caller, seconds, reply });
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
