//! Voice activity by a Silero model in a worker process of its own. Parent side.
//!
//! One task owns the worker; whoever decodes asks it from a blocking thread. There is no answer
//! while the worker is not there, and the asker then judges by itself: a worker that crashes, hangs
//! or is killed costs no transcript. It is started again, later each time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::audio::VoiceJudge;
use crate::ipc::{LoadSpec, Purpose};
use crate::supervisor::{StartLimits, WorkerProgram};

mod task;

/// What to start.
#[derive(Debug, Clone)]
pub struct VoicePlan {
    /// The program that runs the model.
    pub program: WorkerProgram,
    /// The model.
    pub model: PathBuf,
    /// How long its start may take.
    pub limits: StartLimits,
    /// How long a block may take before the worker is taken for hung.
    pub block_limit: Duration,
}

impl VoicePlan {
    /// What the worker is told to load.
    pub fn load_spec(&self) -> LoadSpec {
        LoadSpec {
            model: self.model.clone(),
            gpu_index: None,
            gpu_uuid: None,
            slots: 1,
            threads: 1,
            whole_windows: false,
            purpose: Purpose::Voice,
        }
    }
}

/// The way to the worker. Cheap to clone; the last one to go ends it.
#[derive(Debug, Clone)]
pub struct Voice {
    questions: mpsc::UnboundedSender<Question>,
    status: Arc<Mutex<VoiceStatus>>,
}

/// How the worker is.
#[derive(Debug, Clone, Default)]
pub struct VoiceStatus {
    /// See the type.
    pub state: VoiceState,
    /// Workers started so far.
    pub workers_started: u64,
    /// Blocks judged.
    pub blocks: u64,
    /// Blocks that were left to the asker, by reason.
    pub fallbacks: u64,
    /// How the last worker that ended badly did: the class, the details, and when.
    pub last_failure: Option<(&'static str, String, SystemTime)>,
}

/// What the worker can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VoiceState {
    /// It loads the model; who asks waits.
    #[default]
    Starting,
    /// It judges.
    Ready,
    /// It ended, and is started again in a while.
    Restarting,
}

impl VoiceState {
    /// The name used in `/v1/devices`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
        }
    }
}

/// Samples to judge.
struct Question {
    samples: Arc<[f32]>,
    /// Dropped without an answer if there is none.
    answer: oneshot::Sender<Vec<f32>>,
}

impl Voice {
    /// Starts the worker.
    pub fn start(plan: VoicePlan) -> Self {
        let (questions, received) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(VoiceStatus::default()));
        tokio::spawn(task::Task::new(plan, Arc::clone(&status)).run(received));
        Self { questions, status }
    }

    /// How probable speech is, from 0 to 1, in each window of [`crate::ipc::VOICE_WINDOW`] samples
    /// (mono f32 at 16 kHz), or none if there is no worker that can tell. Blocks; not for async
    /// code.
    pub fn judge(&self, samples: &[f32]) -> Option<Vec<f32>> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { samples: samples.into(), answer }).ok()?;
        answered.blocking_recv().ok()
    }

    /// [`judge`](Self::judge), for whoever looks for speech.
    pub fn into_judge(self) -> VoiceJudge {
        Arc::new(move |samples: &[f32]| self.judge(samples))
    }

    /// How the worker is now.
    pub fn status(&self) -> VoiceStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
