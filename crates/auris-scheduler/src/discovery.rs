//! Finds GPUs at startup and later, and adds them to the scheduler. Runs in the server process.
//!
//! A driver may appear after the server starts, or come back. Each check runs in a new process,
//! because a process reads the list of devices only once.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::supervisor::WorkerProgram;
use crate::supervisor::detect;
use crate::{DevicePlan, Scheduler, UnusedBackend};
use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::probe::{Cause, Unavailable};

/// The waits between two checks while there is no GPU.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Which GPUs to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// All GPUs.
    All,
    /// The GPU at this index of the engine's list.
    Index(u32),
    /// The GPU whose UUID starts with this, in lower case.
    Uuid(String),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The program that drives the GPUs.
    pub program: WorkerProgram,
    /// Time limit for one check.
    pub limit: Duration,
    /// Which GPUs to use.
    pub select: Select,
    /// The most chunks that one GPU runs at once.
    pub slots: usize,
    /// Whether a GPU was requested explicitly. If so, even a missing program is reported as the
    /// reason in every response.
    pub is_demanded: bool,
}

/// No GPU can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoGpu {
    /// Reported by the program or the driver.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The program of that name is not for GPUs.
    #[error(
        "{0} drives the CPU, it is no program for GPUs: install auris-worker-cuda in its place"
    )]
    OtherProgram(String),
    /// There are GPUs, but not the requested one.
    #[error("--device {wanted} is not among the GPUs here: {found}")]
    NotSelected {
        /// The requested device.
        wanted: String,
        /// The devices that were found.
        found: String,
    },
}

impl NoGpu {
    /// The reason in a word.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unavailable(unavailable) => unavailable.cause.as_str(),
            Self::OtherProgram(_) => Cause::BadProbe.as_str(),
            Self::NotSelected { .. } => "not-selected",
        }
    }

    /// Whether another check would have the same result.
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Unavailable(unavailable) if unavailable.is_permanent())
    }
}

impl Discovery {
    /// Returns the selected GPUs that can be used.
    ///
    /// # Errors
    /// [`NoGpu`]. Cancel safe.
    pub async fn look(&self) -> Result<Vec<DeviceInfo>, NoGpu> {
        let found = detect::probe(&self.program, self.limit).await?;
        if found.iter().any(|info| info.backend != Backend::Cuda) {
            return Err(NoGpu::OtherProgram(self.program.path.display().to_string()));
        }
        let wanted: Vec<DeviceInfo> =
            found.iter().filter(|info| self.select.matches(info)).cloned().collect();
        if wanted.is_empty() {
            return Err(NoGpu::NotSelected {
                wanted: self.select.to_string(),
                found: found.iter().map(describe).collect::<Vec<_>>().join(", "),
            });
        }
        Ok(wanted)
    }

    /// Checks until GPUs are found, and adds them to `scheduler`. Also sends the first result to
    /// `first`.
    pub async fn run(self, scheduler: Scheduler, first: oneshot::Sender<Result<(), NoGpu>>) {
        scheduler.set_unused(vec![UnusedBackend {
            backend: Backend::Cuda,
            cause: Some("not-yet-known".to_owned()),
            detail: "the GPU's driver has not answered yet".to_owned(),
        }]);
        let mut first = Some(first);
        let mut wait = FIRST_WAIT;
        loop {
            let result = self.look().await.map(|found| {
                scheduler.set_unused(Vec::new());
                scheduler.add_devices(found.into_iter().map(|info| self.plan(info)).collect());
            });
            let failure = result.as_ref().err().cloned();
            if let Some(failure) = &failure {
                scheduler.set_unused(vec![self.unused(failure)]);
            }
            if let Some(first) = first.take() {
                match failure.as_ref().map(|failure| (failure, self.unused(failure).cause)) {
                    Some((failure, Some(cause))) => {
                        tracing::warn!(cause, "no GPU is used: {failure}");
                    }
                    Some((failure, None)) => tracing::info!("no GPU is used: {failure}"),
                    None => {}
                }
                // The receiver may be gone.
                let _ = first.send(result);
            }
            if failure.is_none_or(|failure| failure.is_permanent()) {
                return;
            }
            tokio::select! {
                () = scheduler.ended() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
            }
        }
    }

    fn plan(&self, info: DeviceInfo) -> DevicePlan {
        DevicePlan {
            info,
            program: self.program.clone(),
            slots: self.slots,
            // The GPU computes; a thread only feeds it and picks tokens.
            threads: 1,
            warm: true,
        }
    }

    fn unused(&self, failure: &NoGpu) -> UnusedBackend {
        // A program that was never installed is a choice, unless a GPU was requested.
        let tells = self.is_demanded || failure.cause() != "program-missing";
        UnusedBackend {
            backend: Backend::Cuda,
            cause: tells.then(|| failure.cause().to_owned()),
            detail: failure.to_string(),
        }
    }
}

fn describe(info: &DeviceInfo) -> String {
    match &info.uuid {
        Some(uuid) => format!("{} ({}, {uuid})", info.id, info.name),
        None => format!("{} ({})", info.id, info.name),
    }
}

impl Select {
    /// Whether `info` is one of the selected GPUs.
    pub fn matches(&self, info: &DeviceInfo) -> bool {
        match self {
            Self::All => true,
            Self::Index(index) => info.id == DeviceId::indexed(Backend::Cuda, *index),
            Self::Uuid(wanted) => {
                info.uuid.as_ref().is_some_and(|uuid| uuid.to_ascii_lowercase().starts_with(wanted))
            }
        }
    }
}

impl std::fmt::Display for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("cuda"),
            Self::Index(index) => write!(f, "cuda:{index}"),
            Self::Uuid(uuid) => write!(f, "cuda:{uuid}"),
        }
    }
}
