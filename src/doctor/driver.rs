//! Asks the driver: each copy of its libraries on its own, and the program for GPUs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join, join_all, join3};

use super::facts::Host;
use auris_core::probe::{
    CUDA_DRIVER, DriverCandidate, DriverReport, NVML, ProbeReport, Unavailable,
};
use auris_scheduler::discovery::Discovery;
use auris_scheduler::supervisor::{WorkerProgram, detect};

const LIBRARY_LIMIT: Duration = Duration::from_secs(10);

pub(super) type LibraryReport = Result<DriverReport, Unavailable>;

/// All reports, each from a process of its own.
#[derive(Debug)]
pub(super) struct DriverReports {
    pub(super) cuda: Library,
    /// NVML, which reports GPUs without using them.
    pub(super) nvml: Library,
    /// The program for GPUs; `None` if none is wanted.
    pub(super) program: Option<Result<ProbeReport, Unavailable>>,
}

#[derive(Debug)]
pub(super) struct Library {
    /// The one that the loader finds, and every program uses.
    pub(super) used: LibraryReport,
    pub(super) others: Vec<(PathBuf, LibraryReport)>,
}

impl Library {
    /// Why the copy in use does not work.
    pub(super) fn failure(&self) -> Option<&Unavailable> {
        failure(&self.used)
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.used.as_ref().ok()?.file.as_deref()
    }
}

/// Why a library does not work.
pub(super) fn failure(report: &LibraryReport) -> Option<&Unavailable> {
    match report {
        Ok(report) => report.unavailable.as_ref(),
        Err(unavailable) => Some(unavailable),
    }
}

/// Asks the libraries through `worker`, which is any program of this release, and the program for
/// GPUs.
pub(super) async fn ask(
    host: &Host,
    worker: &WorkerProgram,
    gpus: Option<&Discovery>,
) -> DriverReports {
    let program = async {
        match gpus {
            Some(gpus) => Some(detect::report(&gpus.program, gpus.limit).await),
            None => None,
        }
    };
    let cuda = library(worker, CUDA_DRIVER, &host.cuda);
    let nvml = library(worker, NVML, &host.nvml);
    let (cuda, nvml, program) = join3(cuda, nvml, program).await;
    DriverReports { cuda, nvml, program }
}

async fn library(worker: &WorkerProgram, name: &str, copies: &[DriverCandidate]) -> Library {
    let ask = |path: PathBuf| async move {
        let report = detect::driver_report(worker, &path, LIBRARY_LIMIT).await;
        (path, report)
    };
    let others = join_all(copies.iter().map(|copy| ask(copy.path.clone())));
    let ((_, used), mut others) = join(ask(name.into()), others).await;
    let file = used.as_ref().ok().and_then(|report| report.file.clone());
    let is_used = |path: &Path| copies.iter().any(|copy| copy.path == path && copy.file == file);
    others.retain(|(path, _)| file.is_none() || !is_used(path));
    Library { used, others }
}
