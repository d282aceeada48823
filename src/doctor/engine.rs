//! Checks of the devices: their memory, and a trial in which a real worker loads and warms up a
//! model.

use std::time::Duration;

use indicatif::BinaryBytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::report::{Area, Check, GpuExpectation, Severity};
use auris_core::device::DeviceInfo;
use auris_core::ipc::{LoadReport, LoadSpec};
use auris_models::ModelFile;
use auris_scheduler::ModelPlan;
use auris_scheduler::supervisor::{
    self, ExitKind, StartLimits, WorkerEvent, WorkerExit, WorkerProgram,
};

const END_LIMIT: Duration = Duration::from_secs(5);

/// Whether each of `devices` has memory for `plans` with one chunk at a time.
pub(super) fn memory(devices: &[DeviceInfo], plans: &[ModelPlan]) -> Vec<Check> {
    devices.iter().map(|info| memory_of(info, plans)).collect()
}

fn memory_of(info: &DeviceInfo, plans: &[ModelPlan]) -> Check {
    let (free, total) = (info.memory_free_bytes, info.memory_total_bytes);
    let needs = plans.iter().map(|plan| (plan.name.as_str(), plan.need.bytes(1)));
    let all: u64 = needs.clone().map(|(_, bytes)| bytes).sum();
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    let check = Check::pass(
        Area::Gpu,
        "memory",
        format!(
            "{}: {} of {} free; {} with one chunk at a time: about {}",
            info.id,
            BinaryBytes(free),
            BinaryBytes(total),
            if names.is_empty() { "no models".to_owned() } else { names.join(" and ") },
            BinaryBytes(all)
        ),
    );
    if free >= all {
        return check;
    }
    let smaller = plans.iter().rev().flat_map(|plan| &plan.variants);
    let smaller = smaller.map(|variant| variant.name.as_str()).next();
    check.with_problem(
        Severity::Warn,
        if free < total / 2 {
            "other programs use most of the memory"
        } else {
            "there is not enough for all models"
        },
        match smaller {
            Some(name) => format!(
                "end other programs on the GPU (`nvidia-smi` lists them), or load a quantised \
                 model such as {name}; what does not fit runs on the CPU"
            ),
            None => "end other programs on the GPU (`nvidia-smi` lists them), or load fewer or \
                     smaller models; what does not fit runs on the CPU"
                .to_owned(),
        },
    )
}

pub(super) struct Trial<'a> {
    pub(super) info: &'a DeviceInfo,
    pub(super) program: &'a WorkerProgram,
    pub(super) threads: usize,
}

pub(super) async fn cpu_load(
    trial: &Trial<'_>,
    model: Option<&ModelFile>,
    limits: StartLimits,
) -> Check {
    let check = |observed: String| Check::pass(Area::Service, "cpu-load", observed);
    let Some(model) = model else { return not_tried(check("not tried".to_owned())) };
    match try_model(trial, model, limits).await {
        Ok(report) => check(loaded(trial.info, model, &report)),
        Err(exit) => check(format!("{} does not load on the CPU", model.name)).with_problem(
            Severity::Fail,
            exit.detail,
            fix(exit.kind, &model.name),
        ),
    }
}

/// Loads `model` on each GPU, one after the other; returns the ids of those that succeeded, and a
/// check for each.
pub(super) async fn gpu_loads(
    trials: &[Trial<'_>],
    model: Option<&ModelFile>,
    limits: StartLimits,
    expectation: GpuExpectation,
) -> (Vec<String>, Vec<Check>) {
    let mut results = Vec::new();
    for trial in trials {
        let result = match model {
            Some(model) => Some((model, try_model(trial, model, limits).await)),
            None => None,
        };
        results.push((trial, result));
    }
    let works = |result: &Option<(_, Result<_, _>)>| matches!(result, Some((_, Ok(_))) | None);
    let usable: Vec<String> = results
        .iter()
        .filter(|(_, result)| works(result))
        .map(|(trial, _)| format!("{} {}", trial.info.id, trial.info.name))
        .collect();
    let check = |observed: String| Check::pass(Area::Gpu, "gpu-load", observed);
    let checks = results.into_iter().map(|(trial, result)| match result {
        None => not_tried(check(format!("{} not tried", trial.info.id))),
        Some((model, Ok(report))) => check(loaded(trial.info, model, &report)),
        Some((model, Err(exit))) => {
            // With another GPU that works, only speed is lost.
            let level = if usable.is_empty() { expectation.level() } else { Severity::Warn };
            let observed = format!("{} does not load on {}", model.name, trial.info.id);
            check(observed).with_problem(level, exit.detail, fix(exit.kind, &model.name))
        }
    });
    (usable.clone(), checks.collect())
}

fn not_tried(check: Check) -> Check {
    check.with_problem(Severity::Warn, "no model is installed", "`auris models pull tiny`")
}

fn loaded(info: &DeviceInfo, model: &ModelFile, report: &LoadReport) -> String {
    format!(
        "{} on {} {}: loaded in {:.1} s, a first window in {:.1} s",
        model.name, info.id, info.name, report.load_seconds, report.warm_up_seconds
    )
}

fn fix(kind: ExitKind, model: &str) -> String {
    match kind {
        ExitKind::OutOfMemory => {
            "end other programs that take memory, or load a smaller or quantised model".to_owned()
        }
        ExitKind::BadModel => format!("`auris models rm {model}` and `auris models pull {model}`"),
        ExitKind::NotStarted | ExitKind::Protocol => {
            "install all programs of auris from the same release".to_owned()
        }
        ExitKind::StartTimeout => {
            "raise --load-seconds if the disk is slow; else restart the driver".to_owned()
        }
        ExitKind::Killed => {
            "check the kernel's log (`dmesg`): it kills processes when memory runs out".into()
        }
        _ => "check whether other programs can use the device; update its driver".to_owned(),
    }
}

/// Starts a worker, waits until it has loaded its model and warmed up, and ends it.
async fn try_model(
    trial: &Trial<'_>,
    model: &ModelFile,
    limits: StartLimits,
) -> Result<LoadReport, WorkerExit> {
    let spec = LoadSpec {
        model: model.path.clone(),
        gpu_index: trial.info.index,
        gpu_uuid: trial.info.uuid.clone(),
        slots: 1,
        threads: trial.threads,
        whole_windows: false,
    };
    load(trial.program, spec, limits).await
}

/// Starts a worker, waits until it has loaded its model and warmed up, and ends it.
pub(super) async fn load(
    program: &WorkerProgram,
    spec: LoadSpec,
    limits: StartLimits,
) -> Result<LoadReport, WorkerExit> {
    let (events, mut received) = mpsc::channel(1);
    let worker = supervisor::start(program, spec, limits, events, |event| event);
    // `start` keeps its time limits and always reports an end.
    let result = loop {
        match received.recv().await {
            Some(WorkerEvent::Loaded(report)) => break Ok(report),
            Some(WorkerEvent::Chunk(_)) => {}
            Some(WorkerEvent::Ended(exit)) => return Err(exit),
            None => {
                let detail = "the worker's task ended without a result".to_owned();
                return Err(WorkerExit { kind: ExitKind::Exited, detail });
            }
        }
    };
    drop(worker);
    let _ = timeout(END_LIMIT, async { while received.recv().await.is_some() {} }).await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use auris_core::device::{Backend, DeviceId};
    use auris_scheduler::MemoryNeed;

    #[test]
    fn memory_that_is_short_is_reported_before_a_model_fails() {
        let gpu = |free: u64| DeviceInfo {
            id: DeviceId::indexed(Backend::Cuda, 0),
            backend: Backend::Cuda,
            name: "GPU".to_owned(),
            memory_total_bytes: 8 << 30,
            memory_free_bytes: free,
            index: Some(0),
            uuid: None,
            compute_capability: None,
        };
        let need = MemoryNeed { weights_bytes: 1 << 30, state_bytes: 1 << 29 };
        let plan = |name: &str| ModelPlan {
            name: name.to_owned(),
            file: name.into(),
            need,
            whole_windows: false,
            variants: Vec::new(),
        };
        let plans = [plan("tiny"), plan("medium")];
        let level = |free| memory_of(&gpu(free), &plans).level;
        assert_eq!(level(8 << 30), Severity::Pass);
        assert_eq!(level(3 << 30), Severity::Warn);
        let check = memory_of(&gpu(1 << 20), &plans);
        assert!(check.observed.contains("1.00 MiB of 8.00 GiB free"), "{check:?}");
        assert!(
            check.observed.contains("tiny and medium with one chunk at a time: about 4.00 GiB"),
            "{check:?}"
        );
        assert!(check.cause.unwrap().contains("other programs"));
    }
}
