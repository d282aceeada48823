//! `auris doctor`: what works here, what does not, and what to do about it.
//!
//! Facts are gathered first (`facts`, `driver`), then each check is a small function from facts to
//! a [`Check`], in the order in which they build on one another. Anything that may hang or crash
//! runs in a process of its own. Nothing here changes the system.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{DoctorArgs, EngineArgs};
use crate::config::{self, EnginePlan, ModelSource};
use crate::output;
use auris_core::device::DeviceInfo;
use auris_core::probe::GpuEnvironment;
use auris_models::Catalog;
use auris_sandbox::Confinement;
use auris_scheduler::discovery::Discovery;
use auris_scheduler::supervisor::{StartLimits, detect};

mod report;
mod facts;
mod driver;
// the checks
mod host;
mod gpu;
mod engine;
mod models;
mod service;

use driver::DriverReports;
use engine::Trial;
use facts::Host;
use report::GpuExpectation;

pub use report::{Area, Check, Diagnosis, Report, Severity};

const LOAD_LIMIT: Duration = Duration::from_secs(120);

pub async fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = examine(args).await?;
    let text =
        if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() };
    output::result(&text)?;
    Ok(ExitCode::from(report.exit_code))
}

/// The failed checks of GPUs, for a server that requires one; empty if all is well. Asks the driver,
/// and loads no model.
pub async fn explain(args: &EngineArgs) -> anyhow::Result<String> {
    let plan = EnginePlan::new(args)?;
    let examination = Examination::new(&plan).await;
    Ok(Report::new(examination.checks(), examination.expectation, &[]).gpu_failures())
}

struct Examination {
    host: Host,
    /// `None` if no GPU is wanted.
    discovery: Option<Discovery>,
    expectation: GpuExpectation,
    drivers: DriverReports,
}

impl Examination {
    async fn new(plan: &EnginePlan) -> Self {
        let host = Host::look(Path::new("/"), GpuEnvironment::read());
        let discovery = plan.discovery().ok().cloned();
        let drivers = driver::ask(&host, &plan.cpu.program, discovery.as_ref()).await;
        let expectation = GpuExpectation {
            wanted: discovery.is_some(),
            demanded: discovery.as_ref().is_some_and(|discovery| discovery.is_demanded),
            there: host.has_gpu() || drivers.cuda.failure().is_none(),
        };
        Self { host, discovery, expectation, drivers }
    }

    /// The checks that load nothing.
    fn checks(&self) -> Vec<Check> {
        let select = self.discovery.as_ref().map(|discovery| &discovery.select);
        let mut checks = host::checks(&self.host, self.expectation);
        checks.extend(gpu::checks(&self.host, &self.drivers, select, self.expectation));
        checks
    }

    /// The GPUs that are wanted and listed.
    fn gpus(&self) -> Vec<DeviceInfo> {
        let (Some(discovery), Some(Ok(report))) = (&self.discovery, &self.drivers.program) else {
            return Vec::new();
        };
        report.devices.iter().filter(|info| discovery.select.matches(info)).cloned().collect()
    }
}

async fn examine(args: &DoctorArgs) -> anyhow::Result<Report> {
    let plan = EnginePlan::new(&args.engine)?;
    let source = ModelSource::new(&args.engine.store)?;
    let examination = Examination::new(&plan).await;
    let mut checks = examination.checks();

    let names = args.engine.models_to_serve();
    let (installed, model_checks) = models::checks(&names, &source).await;
    let trial_model = installed.first().cloned();
    let plan = plan.with_models(Catalog::installed(installed), &source.store);
    let limits = StartLimits {
        load: config::seconds("--load-seconds", args.engine.devices.load_seconds)?.min(LOAD_LIMIT),
        ..StartLimits::default()
    };

    let gpus = examination.gpus();
    checks.extend(engine::memory(&gpus, &plan.models));
    let trials: Vec<Trial<'_>> = match &examination.discovery {
        Some(discovery) => gpus
            .iter()
            .map(|info| Trial { info, program: &discovery.program, threads: 1 })
            .collect(),
        None => Vec::new(),
    };
    let model = trial_model.as_ref();
    let (usable, gpu_checks) =
        engine::gpu_loads(&trials, model, limits, examination.expectation).await;
    checks.extend(gpu_checks);
    let (slots, threads) = (plan.cpu.slots, plan.cpu.threads);
    let trial = Trial { info: &plan.cpu.info, program: &plan.cpu.program, threads };
    checks.push(engine::cpu_load(&trial, model, limits).await);
    checks.extend(model_checks);
    checks.push(host::cpu_features(
        &plan.cpu.info.name,
        detect::check_cpu_program(&plan.cpu.program, detect::PROBE_LIMIT).await,
    ));
    checks.push(host::threads(&examination.host, slots, threads, config::cores()));
    checks.extend(service::listen(args.address.listen, examination.expectation).await);
    checks.push(service::access(&args.access, args.address.listen));
    checks.push(service::spool(args.spool_dir.as_deref()));
    checks.push(service::sandbox(args.engine.devices.no_sandbox, Confinement::available().ok()));
    checks.push(service::ffmpeg(args.engine.audio.ffmpeg.as_deref()));
    Ok(Report::new(checks, examination.expectation, &usable))
}
