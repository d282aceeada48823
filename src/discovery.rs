//! Finds GPUs when the server starts and again later, and hands them to the scheduler. Parent side.
//!
//! A driver may come after the server, or come back. Who asks it is a process of its own each
//! time, since the list of devices is read once in a process.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::device::{Backend, DeviceId, DeviceInfo};
use crate::probe::{Cause, Unavailable};
use crate::scheduler::{DevicePlan, Scheduler, UnusedBackend};
use crate::supervisor::WorkerProgram;
use crate::supervisor::detect;

/// The waits between two looks while there is no GPU.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Which GPUs are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// All that there are.
    All,
    /// The one at this place in the engine's list.
    Index(u32),
    /// The one whose UUID begins so, in lower case.
    Uuid(String),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The program that drives the GPUs.
    pub program: WorkerProgram,
    /// How long one look may take.
    pub limit: Duration,
    /// Which GPUs are wanted.
    pub select: Select,
    /// The most chunks that one GPU runs at once.
    pub slots: usize,
    /// Whether somebody asked for a GPU: then even a program that is missing is a reason to tell
    /// with every answer.
    pub is_demanded: bool,
}

/// There is no GPU that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoGpu {
    /// The program or the driver says so.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The program under that name drives something else.
    #[error("{0} drives the CPU, it is no program for GPUs: install auris-cuda in its place")]
    OtherProgram(String),
    /// There are some, and not the one that is wanted.
    #[error("--device {wanted} is not among the GPUs here: {found}")]
    NotSelected {
        /// What was asked for.
        wanted: String,
        /// What there is.
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

    /// Whether another look would find the same.
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Unavailable(unavailable) if unavailable.is_permanent())
    }
}

impl Discovery {
    /// The GPUs that are wanted and can be used.
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

    /// Looks until GPUs are found, and hands them to `scheduler`. The first result goes to `first`
    /// as well.
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
                // Nobody may be waiting for it any more.
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
        // A program that was never installed is a choice, unless somebody asked for a GPU.
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
    /// Whether `info` is one of them.
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
