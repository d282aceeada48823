//! Which devices to use: the processor's slots and threads, and whether and where to look for GPUs.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context, bail, ensure};

use super::{seconds, variable};
use crate::cli::{DeviceChoice, EngineArgs};
use crate::device::Backend;
use crate::discovery::{Discovery, Select};
use crate::engine::EngineKind;
use crate::scheduler::{DevicePlan, UnusedBackend};
use crate::supervisor::{WorkerProgram, detect};

/// The program that drives NVIDIA GPUs, installed beside this one.
const CUDA_PROGRAM: &str = "auris-cuda";

/// Whether GPUs are used.
#[derive(Debug)]
pub(super) enum Gpus {
    /// If there are some.
    Wanted(Discovery),
    /// They are not, by choice.
    Unwanted(UnusedBackend),
}

/// The processor.
pub(super) fn cpu(args: &EngineArgs) -> anyhow::Result<DevicePlan> {
    let (slots, threads) = slots_and_threads(args)?;
    let executable = env::current_exe().context("this program's own path is not known")?;
    let info = detect::cpu();
    let program = worker(executable, &args.engine);
    Ok(DevicePlan { info, program, slots, threads, warm: true })
}

/// Whether GPUs are used, and how they are found.
///
/// # Errors
/// Options that contradict each other or cannot be meant.
pub(super) fn gpus(args: &EngineArgs) -> anyhow::Result<Gpus> {
    let gpu = &args.gpu;
    gpu.cuda_engine.parse::<EngineKind>()?;
    ensure!((1..=64).contains(&gpu.max_per_device), "--max-per-device must be from 1 to 64");
    ensure!(gpu.recycle_after > 0, "--recycle-after starts at 1");
    let choice = match (&gpu.device, variable("DEVICE")) {
        (Some(choice), _) => choice.clone(),
        (None, Some(text)) => {
            text.parse().map_err(|error| anyhow::anyhow!("DEVICE={text}: {error}"))?
        }
        (None, None) => DeviceChoice::Auto,
    };
    let unwanted = match gpu_available()? {
        _ if gpu.no_gpu => Some("--no-gpu"),
        Some(false) => Some("GPU_AVAILABLE=false"),
        _ if choice == DeviceChoice::Cpu => Some("--device cpu"),
        _ => None,
    };
    if let Some(reason) = unwanted {
        if gpu.require_gpu {
            bail!("--require-gpu contradicts {reason}: leave one of them out");
        }
        if let DeviceChoice::Cuda(select) = choice {
            bail!("--device {select} contradicts {reason}: leave one of them out");
        }
        let detail = format!("the CPU is chosen by {reason}");
        return Ok(Gpus::Unwanted(UnusedBackend { backend: Backend::Cuda, cause: None, detail }));
    }
    let is_demanded = gpu.require_gpu || choice != DeviceChoice::Auto;
    let select = match choice {
        DeviceChoice::Cuda(select) => select,
        _ => Select::All,
    };
    Ok(Gpus::Wanted(Discovery {
        program: cuda_program(args)?,
        limit: seconds("--probe-seconds", gpu.probe_seconds)?,
        select,
        slots: gpu.max_per_device,
        is_demanded,
    }))
}

/// The program that drives NVIDIA GPUs. A fake engine needs no CUDA, and so is in this program.
fn cuda_program(args: &EngineArgs) -> anyhow::Result<WorkerProgram> {
    let executable = env::current_exe().context("this program's own path is not known")?;
    let path = match &args.gpu.cuda_program {
        Some(path) => path.clone(),
        None if args.gpu.cuda_engine != "whisper" => executable,
        None => executable.parent().unwrap_or(Path::new("/")).join(CUDA_PROGRAM),
    };
    Ok(worker(path, &args.gpu.cuda_engine))
}

fn worker(path: std::path::PathBuf, engine: &str) -> WorkerProgram {
    let arguments = ["worker", "--engine", engine].map(OsString::from);
    WorkerProgram { path, arguments: arguments.into() }
}

/// The variable GPU_AVAILABLE, which images and platforms set.
fn gpu_available() -> anyhow::Result<Option<bool>> {
    let Some(text) = variable("GPU_AVAILABLE") else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => bail!("GPU_AVAILABLE={text} is neither true nor false"),
    }
}

/// ggml's threads spin at every barrier, so that more of them than cores is many times slower,
/// and chunks beside each other use cores better than threads within one. Few cores: a slot for
/// each. Many: slots of several threads, for the sake of a single request.
fn slots_and_threads(args: &EngineArgs) -> anyhow::Result<(usize, usize)> {
    let cores = cores();
    ensure!(args.slots != Some(0) && args.threads != Some(0), "--slots and --threads start at 1");
    let slots = match (args.slots, args.threads) {
        (Some(slots), _) => slots,
        (None, Some(threads)) => (cores / threads).max(1),
        (None, None) => cores.min(2).max(cores / 4),
    };
    Ok((slots, args.threads.unwrap_or((cores / slots).max(1))))
}

/// The cores that this process may use: affinity and the container's quota included.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
