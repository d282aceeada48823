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

/// How long a library may take to answer.
const LIBRARY_LIMIT: Duration = Duration::from_secs(10);

/// A library's report, or why there is none.
pub(super) type Said = Result<DriverReport, Unavailable>;

/// All answers, each from a process of its own.
#[derive(Debug)]
pub(super) struct Answers {
    /// The CUDA driver.
    pub(super) cuda: Library,
    /// NVML, which reports GPUs without using them.
    pub(super) nvml: Library,
    /// The program for GPUs; `None` if none is wanted.
    pub(super) program: Option<Result<ProbeReport, Unavailable>>,
}

/// A library of the driver.
#[derive(Debug)]
pub(super) struct Library {
    /// The one that the loader finds, and every program uses.
    pub(super) used: Said,
    /// Its other copies.
    pub(super) others: Vec<(PathBuf, Said)>,
}

impl Library {
    /// Why the copy in use does not work.
    pub(super) fn trouble(&self) -> Option<&Unavailable> {
        trouble(&self.used)
    }

    /// The file that is in use.
    pub(super) fn file(&self) -> Option<&Path> {
        self.used.as_ref().ok()?.file.as_deref()
    }
}

/// Why a library does not work.
pub(super) fn trouble(said: &Said) -> Option<&Unavailable> {
    match said {
        Ok(report) => report.unavailable.as_ref(),
        Err(unavailable) => Some(unavailable),
    }
}

/// Asks the libraries through `worker`, which is any program of this release, and the program for
/// GPUs.
pub(super) async fn ask(host: &Host, worker: &WorkerProgram, gpus: Option<&Discovery>) -> Answers {
    let program = async {
        match gpus {
            Some(gpus) => Some(detect::report(&gpus.program, gpus.limit).await),
            None => None,
        }
    };
    let cuda = library(worker, CUDA_DRIVER, &host.cuda);
    let nvml = library(worker, NVML, &host.nvml);
    let (cuda, nvml, program) = join3(cuda, nvml, program).await;
    Answers { cuda, nvml, program }
}

async fn library(worker: &WorkerProgram, name: &str, copies: &[DriverCandidate]) -> Library {
    let ask = |path: PathBuf| async move {
        let said = detect::driver_report(worker, &path, LIBRARY_LIMIT).await;
        (path, said)
    };
    let others = join_all(copies.iter().map(|copy| ask(copy.path.clone())));
    let ((_, used), mut others) = join(ask(name.into()), others).await;
    let file = used.as_ref().ok().and_then(|report| report.file.clone());
    let is_used = |path: &Path| copies.iter().any(|copy| copy.path == path && copy.file == file);
    others.retain(|(path, _)| file.is_none() || !is_used(path));
    Library { used, others }
}
