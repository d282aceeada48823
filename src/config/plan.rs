//! From the options to a started scheduler: which models run on which devices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::sync::oneshot;

use super::devices::{self, Gpus};
use super::{chunk_policy, limits, seconds};
use crate::cli::{EngineArgs, OnOom, Standby};
use auris_audio::{ChunkPolicy, Limits};
use auris_core::device::DeviceInfo;
use auris_jobs::pipeline::{Decoders, LastDetected, Pipeline};
use auris_models::{Catalog, ModelAliases, ModelFile, ModelStore, Routing};
use auris_scheduler::discovery::{Discovery, NoGpu};
use auris_scheduler::provision::model_plan;
use auris_scheduler::supervisor::StartLimits;
use auris_scheduler::supervisor::detect;
use auris_scheduler::{Capacity, DevicePlan, ModelPlan, Scheduler, Settings};

/// How long requests wait for a slow driver before the CPU alone is used meanwhile.
const FIRST_LOOK: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct EnginePlan {
    pub cpu: DevicePlan,
    /// The models that every device may load.
    pub models: Vec<ModelPlan>,
    pub whole_windows: bool,
    catalog: Catalog,
    gpus: Gpus,
    require_gpu: bool,
    standby: Standby,
    routing: Routing,
    aliases: ModelAliases,
    limits: Limits,
    chunks: ChunkPolicy,
    settings: Settings,
}

impl EnginePlan {
    /// Checks that the worker program for the CPU can run here.
    pub async fn check_cpu_program(&self) -> anyhow::Result<()> {
        let checked = detect::check_cpu_program(&self.cpu.program, detect::PROBE_LIMIT).await;
        checked.map_err(|error| anyhow::anyhow!("{error}: {}", error.fix()))
    }

    /// Determines devices, slots and threads. Needs no model and asks no driver, so that a wrong
    /// option is reported before anything is downloaded or waited for.
    pub fn new(args: &EngineArgs) -> anyhow::Result<Self> {
        let routing = match &args.routing {
            Some(table) => table.parse()?,
            None => Routing::default(),
        };
        let unload_after = args.devices.unload_after_minutes;
        let unload_after =
            unload_after.map(|minutes| seconds("--unload-after-minutes", minutes * 60.0));
        Ok(Self {
            cpu: devices::cpu(&args.devices)?,
            models: Vec::new(),
            whole_windows: args.audio.whole_windows,
            catalog: Catalog::installed(Vec::new()),
            gpus: devices::gpus(&args.devices)?,
            require_gpu: args.devices.require_gpu,
            standby: args.devices.cpu_standby,
            routing,
            aliases: args.model_aliases.clone().unwrap_or_default(),
            limits: limits(args)?,
            chunks: chunk_policy(args)?,
            settings: Settings {
                capacity: Capacity::default(),
                start: StartLimits {
                    load: seconds("--load-seconds", args.devices.load_seconds)?,
                    ..StartLimits::default()
                },
                stall: seconds("--stall-seconds", args.devices.stall_seconds)?,
                recycle_after: args.devices.recycle_after,
                unload_after: unload_after.transpose()?,
                swap_variants: args.devices.on_oom == OnOom::Quantized,
            },
        })
    }

    /// Puts the models of `catalog` on every device. Their quantised variants are looked up in
    /// `store`.
    pub fn with_models(self, catalog: Catalog, store: &ModelStore) -> Self {
        let models = catalog.now();
        let plan = |model| model_plan(model, store, self.whole_windows);
        Self { models: models.loaded().into_iter().map(plan).collect(), catalog, ..self }
    }

    /// Checks that every model that has an alias is among `models`.
    ///
    /// # Errors
    /// The alias without a model.
    pub fn check_aliases(&self, models: &[ModelFile]) -> anyhow::Result<()> {
        for (alias, model) in self.aliases.of_models() {
            ensure!(
                models.iter().any(|own| own.name == model),
                "--model-aliases: `{alias}` stands for `{model}`, which is not loaded: add it to \
                 --models"
            );
        }
        Ok(())
    }

    /// How to find GPUs, or why none is used.
    pub fn discovery(&self) -> Result<&Discovery, &str> {
        match &self.gpus {
            Gpus::Wanted(discovery) => Ok(discovery),
            Gpus::Unwanted(unused) => Err(&unused.detail),
        }
    }

    /// The GPUs that would be used, or why there are none. Asks the driver.
    pub async fn look_for_gpus(&self) -> Result<Vec<DeviceInfo>, String> {
        match &self.gpus {
            Gpus::Wanted(discovery) => discovery.look().await.map_err(|error| error.to_string()),
            Gpus::Unwanted(unused) => Err(unused.detail.clone()),
        }
    }

    /// Starts the scheduler, and with it the workers. Waits for the GPUs, but not for long.
    pub async fn start(&self, capacity: Capacity) -> anyhow::Result<Pipeline> {
        let settings = Settings { capacity, ..self.settings };
        let scheduler = Scheduler::start(settings);
        scheduler.add_models(self.models.clone());
        let cpu = |warm| vec![DevicePlan { warm, ..self.cpu.clone() }];
        if matches!(self.gpus, Gpus::Unwanted(_)) || self.standby == Standby::Warm {
            scheduler.add_devices(cpu(true));
        }
        match &self.gpus {
            Gpus::Unwanted(unused) => scheduler.set_unused(vec![unused.clone()]),
            Gpus::Wanted(discovery) => {
                let (first, result) = oneshot::channel();
                tokio::spawn(discovery.clone().run(scheduler.clone(), first));
                let found = self.first_look(result).await?;
                if self.standby == Standby::Cold {
                    scheduler.add_devices(cpu(!found));
                }
            }
        }
        Ok(Pipeline {
            scheduler,
            models: self.catalog.clone(),
            routing: Arc::new(self.routing.clone()),
            aliases: Arc::new(self.aliases.clone()),
            limits: Arc::new(self.limits.clone()),
            chunks: self.chunks,
            decoders: Decoders::new(devices::cores()),
            last_detected: LastDetected::default(),
        })
    }

    /// Whether GPUs were found, if that is known soon.
    async fn first_look(
        &self,
        mut result: oneshot::Receiver<Result<(), NoGpu>>,
    ) -> anyhow::Result<bool> {
        if self.require_gpu {
            return match result.await.context("the search for GPUs ended without a result")? {
                Ok(()) => Ok(true),
                Err(error) => bail!("--require-gpu: {error}"),
            };
        }
        match tokio::time::timeout(FIRST_LOOK, &mut result).await {
            Ok(Ok(found)) => Ok(found.is_ok()),
            Ok(Err(_)) => Ok(false),
            Err(_) => {
                tracing::warn!("the GPU's driver is slow to respond; starting on the CPU");
                Ok(false)
            }
        }
    }
}
