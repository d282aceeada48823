//! Finds GPUs at startup and later, and adds them to the scheduler. Runs in the server process.
//!
//! A driver may appear after the server starts, or come back. Each check runs in a new process,
//! because a process reads the list of devices only once.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::oneshot;

use crate::FallbackReason;
use crate::supervisor::WorkerProgram;
use crate::supervisor::detect;
use crate::{DevicePlan, Scheduler, UnusedDeviceKind};
use auris_core::device::{Backend, DeviceId, DeviceInfo};
use auris_core::probe::{Unavailable, UnavailableCause};

/// The waits between two checks while there is no GPU.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSelection {
    /// All GPUs.
    All,
    /// The GPU at this index of the engine's list.
    Index(u32),
    /// The GPU whose UUID starts with this, in lower case.
    Uuid(String),
}

#[derive(Debug, Clone)]
pub struct Discovery {
    pub program: WorkerProgram,
    pub limit: Duration,
    pub select: GpuSelection,
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
    NotSelected { wanted: String, found: String },
}

impl NoGpu {
    pub fn cause(&self) -> FallbackReason {
        match self {
            Self::Unavailable(unavailable) => FallbackReason::Unavailable(unavailable.cause),
            Self::OtherProgram(_) => FallbackReason::Unavailable(UnavailableCause::BadProbe),
            Self::NotSelected { .. } => FallbackReason::NotSelected,
        }
    }

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
        scheduler.set_unused(vec![UnusedDeviceKind {
            backend: Backend::Cuda,
            cause: Some(FallbackReason::NotYetKnown),
            detail: "the GPU's driver has not answered yet".to_owned(),
        }]);
        let mut first = Some(first);
        let mut report = |result: Result<(), NoGpu>| {
            if let Err(failure) = &result {
                let unused = self.unused(failure);
                match unused.cause {
                    Some(cause) if first.is_some() => {
                        tracing::warn!(cause = <&str>::from(cause), "no GPU is used: {failure}");
                    }
                    None if first.is_some() => tracing::info!("no GPU is used: {failure}"),
                    _ => {}
                }
                scheduler.set_unused(vec![unused]);
            }
            if let Some(first) = first.take() {
                let _ = first.send(result); // the receiver may be gone
            }
        };
        let waits = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .without_max_times();
        let check = || self.look();
        let found = check
            .retry(waits)
            .when(|failure| !failure.is_permanent())
            .notify(|failure, _| report(Err(failure.clone())));
        let found = tokio::select! {
            () = scheduler.ended() => return,
            found = found => found,
        };
        report(found.map(|found| {
            scheduler.set_unused(Vec::new());
            scheduler.add_devices(found.into_iter().map(|info| self.plan(info)).collect());
        }));
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

    fn unused(&self, failure: &NoGpu) -> UnusedDeviceKind {
        // A program that was never installed is a choice, unless a GPU was requested.
        let missing = FallbackReason::Unavailable(UnavailableCause::ProgramMissing);
        let is_choice = !self.is_demanded && failure.cause() == missing;
        UnusedDeviceKind {
            backend: Backend::Cuda,
            cause: (!is_choice).then(|| failure.cause()),
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

impl GpuSelection {
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

impl std::fmt::Display for GpuSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("cuda"),
            Self::Index(index) => write!(f, "cuda:{index}"),
            Self::Uuid(uuid) => write!(f, "cuda:{uuid}"),
        }
    }
}
