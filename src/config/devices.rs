//! Which devices to use: the CPU's slots and threads, and whether and where to look for GPUs.

use std::env;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context, bail, ensure};

use super::{seconds, variable};
use crate::cli::{DeviceArgs, DeviceChoice};
use auris_core::device::Backend;
use auris_scheduler::discovery::{Discovery, GpuSelection};
use auris_scheduler::supervisor::{WorkerProgram, detect};
use auris_scheduler::{DevicePlan, UnusedDeviceKind};

const CPU_PROGRAM: &str = "auris-worker";
const CUDA_PROGRAM: &str = "auris-worker-cuda";

#[derive(Debug)]
pub(super) enum Gpus {
    Wanted(Discovery),
    Unwanted(UnusedDeviceKind),
}

pub(super) fn cpu(args: &DeviceArgs) -> anyhow::Result<DevicePlan> {
    let (slots, threads) = slots_and_threads(args)?;
    let info = detect::cpu();
    let program = worker(args, args.cpu_program.as_ref(), CPU_PROGRAM)?;
    Ok(DevicePlan { info, program, slots, threads, warm: true })
}

pub(super) fn gpus(args: &DeviceArgs) -> anyhow::Result<Gpus> {
    ensure!((1..=64).contains(&args.max_per_device), "--max-per-device must be from 1 to 64");
    ensure!(args.recycle_after > 0, "--recycle-after starts at 1");
    let choice = match (&args.device, variable("DEVICE")) {
        (Some(choice), _) => choice.clone(),
        (None, Some(text)) => {
            text.parse().map_err(|error| anyhow::anyhow!("DEVICE={text}: {error}"))?
        }
        (None, None) => DeviceChoice::Auto,
    };
    let unwanted = match gpu_available()? {
        _ if args.no_gpu => Some("--no-gpu"),
        Some(false) => Some("GPU_AVAILABLE=false"),
        _ if choice == DeviceChoice::Cpu => Some("--device cpu"),
        _ => None,
    };
    if let Some(reason) = unwanted {
        if args.require_gpu {
            bail!("--require-gpu contradicts {reason}: leave one of them out");
        }
        if let DeviceChoice::Cuda(select) = choice {
            bail!("--device {select} contradicts {reason}: leave one of them out");
        }
        let detail = format!("the CPU is chosen by {reason}");
        return Ok(Gpus::Unwanted(UnusedDeviceKind {
            backend: Backend::Cuda,
            cause: None,
            detail,
        }));
    }
    let is_demanded = args.require_gpu || choice != DeviceChoice::Auto;
    let select = match choice {
        DeviceChoice::Cuda(select) => select,
        _ => GpuSelection::All,
    };
    Ok(Gpus::Wanted(Discovery {
        program: worker(args, args.cuda_program.as_ref(), CUDA_PROGRAM)?,
        limit: seconds("--probe-seconds", args.probe_seconds)?,
        select,
        slots: args.max_per_device,
        is_demanded,
    }))
}

/// The given program, or else the one of that name beside this program.
fn worker(
    args: &DeviceArgs,
    given: Option<&WorkerProgram>,
    name: &str,
) -> anyhow::Result<WorkerProgram> {
    let mut program = installed(given, name)?;
    if args.no_sandbox {
        program.arguments.push("--no-sandbox".into());
    }
    Ok(program)
}

fn installed(given: Option<&WorkerProgram>, name: &str) -> anyhow::Result<WorkerProgram> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let executable = env::current_exe().context("this program's own path is not known")?;
    let folder = executable.parent().unwrap_or(Path::new("/"));
    Ok(WorkerProgram { path: folder.join(name), arguments: Vec::new() })
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

/// ggml's threads spin at every barrier, so more threads than cores are many times slower, and
/// parallel chunks use cores better than threads within one chunk. Few cores: a slot for each.
/// Many: slots of several threads, so that a single request is fast too.
fn slots_and_threads(args: &DeviceArgs) -> anyhow::Result<(usize, usize)> {
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
