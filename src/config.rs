//! From what was typed to what is meant: checked, and completed from the environment and the
//! machine.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{CommandFactory, FromArgMatches};
use tokio::sync::Semaphore;

use crate::audio::{ChunkPolicy, Limits};
use crate::cli::{Cli, DeviceChoice, EngineArgs, ServeArgs, StoreArgs};
use crate::device::Backend;
use crate::engine::EngineKind;
use crate::http::UploadSettings;
use crate::ipc::LoadSpec;
use crate::models::{self, DownloadConfig, ModelError, ModelFile, Routing, Store};
use crate::pipeline::Pipeline;
use crate::probe::GpuEnvironment;
use crate::scheduler::{Capacity, DevicePlan, Scheduler, Settings};
use crate::supervisor::{StartLimits, WorkerProgram, detect};

/// Reads the command line and the AURIS_ variables. Ends the process for help and for what cannot
/// be read, as clap does.
pub fn command_line() -> Cli {
    let matches = without_empty_variables(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// A variable that is set to nothing, as compose files do with `${AURIS_SLOTS:-}`, is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let unset = |arg: clap::Arg| match arg.get_env().is_some_and(is_empty) {
        true => arg.env(None::<&'static str>),
        false => arg,
    };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

/// Where models are and come from.
#[derive(Debug)]
pub struct ModelSource {
    /// The folders.
    pub store: Store,
    /// The network.
    pub download: DownloadConfig,
}

impl ModelSource {
    /// From `--models-dir`, `--offline`, `HF_ENDPOINT` and `HF_TOKEN`.
    ///
    /// # Errors
    /// No folder is given and the user has no cache folder.
    pub fn new(args: &StoreArgs) -> anyhow::Result<Self> {
        let folder = match &args.models_dir {
            Some(folder) => folder.clone(),
            None => models::default_folder()?,
        };
        let bundled = models::bundled_folders(&env::current_exe()?);
        let defaults = DownloadConfig::default();
        let download = DownloadConfig {
            endpoint: variable("HF_ENDPOINT").unwrap_or(defaults.endpoint.clone()),
            token: variable("HF_TOKEN"),
            offline: args.offline,
            ..defaults
        };
        Ok(Self { store: Store::new(folder, bundled), download })
    }
}

/// What runs where.
#[derive(Debug)]
pub struct EnginePlan {
    /// The devices and what they load.
    pub devices: Vec<DevicePlan>,
    /// Backends that are not used, each with a reason to act on.
    pub unused: Vec<(Backend, String)>,
    /// The models, the default first.
    pub models: Vec<ModelFile>,
    routing: Routing,
    limits: Limits,
    chunks: ChunkPolicy,
    stall: Duration,
    start: StartLimits,
}

impl EnginePlan {
    /// Works out devices, slots and threads. Needs no model, so that a wrong option is told
    /// before any is downloaded.
    ///
    /// # Errors
    /// An option that cannot be meant, or a device that is demanded and not there.
    pub fn new(args: &EngineArgs) -> anyhow::Result<Self> {
        args.engine.parse::<EngineKind>()?;
        let routing = match &args.routing {
            Some(table) => table.parse()?,
            None => Routing::default(),
        };
        let executable = env::current_exe().context("this program's own path is not known")?;
        let folder = executable.parent().unwrap_or(Path::new("/"));
        let no_cuda = detect::why_no_cuda(folder);
        let unused = match device_choice(args)? {
            DeviceChoice::Auto => vec![(Backend::Cuda, no_cuda)],
            DeviceChoice::Cpu => {
                vec![(Backend::Cuda, "the CPU is chosen by --device or DEVICE".to_owned())]
            }
            DeviceChoice::Cuda => bail!(
                "no CUDA device can be used: {no_cuda}; start with --device auto to use what works"
            ),
        };
        let (slots, threads) = slots_and_threads(args)?;
        let arguments = ["worker", "--engine", &args.engine].map(OsString::from);
        let cpu = DevicePlan {
            info: detect::cpu(),
            program: WorkerProgram { path: executable, arguments: arguments.into() },
            slots,
            threads,
            models: Vec::new(),
        };
        Ok(Self {
            devices: vec![cpu],
            unused,
            models: Vec::new(),
            routing,
            limits: limits(args)?,
            chunks: chunk_policy(args)?,
            stall: seconds("--stall-seconds", args.stall_seconds)?,
            start: StartLimits {
                load: seconds("--load-seconds", args.load_seconds)?,
                ..StartLimits::default()
            },
        })
    }

    /// Puts `models` on every device.
    pub fn with_models(mut self, models: Vec<ModelFile>) -> Self {
        for device in &mut self.devices {
            let (slots, threads) = (device.slots, device.threads);
            let spec = |model: &ModelFile| {
                let spec = LoadSpec { model: model.path.clone(), gpu_index: None, slots, threads };
                (model.name.clone(), spec)
            };
            device.models = models.iter().map(spec).collect();
        }
        Self { models, ..self }
    }

    /// Starts the scheduler, and with it the workers.
    pub fn start(&self, capacity: Capacity) -> Pipeline {
        let settings = Settings { capacity, stall: self.stall, start: self.start };
        let slots: usize = self.devices.iter().map(|device| device.slots).sum();
        Pipeline {
            scheduler: Scheduler::start(self.devices.clone(), settings),
            models: self.models.clone().into(),
            routing: Arc::new(self.routing.clone()),
            limits: Arc::new(self.limits.clone()),
            chunks: self.chunks,
            decoders: Arc::new(Semaphore::new(cores())),
            // One waits while every slot works, so that none is ever idle.
            chunks_in_flight: slots + 1,
        }
    }
}

/// Finds the models that are asked for on the disk, or else downloads them.
///
/// # Errors
/// A model that is neither there nor to be had, with what to do about it.
pub async fn obtain_models(
    names: &[String],
    source: &ModelSource,
) -> anyhow::Result<Vec<ModelFile>> {
    let names = || names.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    for name in names() {
        // A name that is none is told before others are downloaded for an hour.
        match source.store.resolve(name) {
            Ok(_) | Err(ModelError::NotInstalled { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut found: Vec<ModelFile> = Vec::new();
    for name in names() {
        let progress = models::progress_bar(name);
        let model = models::obtain(&source.store, name, &source.download, &progress).await?;
        ensure!(
            found.iter().all(|other| other.name != model.name),
            "two models are called `{}`: load one of them",
            model.name
        );
        found.push(model);
    }
    ensure!(!found.is_empty(), "no model is named: give one with --models, such as `demo`");
    Ok(found)
}

/// How much may wait, from the options of `serve`.
///
/// # Errors
/// An option that cannot be meant.
pub fn capacity(args: &ServeArgs) -> anyhow::Result<Capacity> {
    let total = seconds("--max-queue-minutes", args.max_queue_minutes * 60.0)?;
    let share = args.caller_share;
    ensure!(share > 0.0 && share <= 1.0, "--caller-share must be above 0 and at most 1");
    Ok(Capacity { total_seconds: total.as_secs_f64(), caller_share: share })
}

/// How uploads are received, from the options of `serve`.
///
/// # Errors
/// A spool folder that cannot be written to, or an option that cannot be meant.
pub fn uploads(args: &ServeArgs) -> anyhow::Result<UploadSettings> {
    let spool = args.spool_dir.clone().unwrap_or_else(env::temp_dir);
    tempfile::tempfile_in(&spool).with_context(|| {
        let spool = spool.display();
        format!("uploads cannot be written to {spool}: give another folder with --spool-dir")
    })?;
    let idle_timeout = seconds("--upload-idle-seconds", args.upload_idle_seconds)?;
    Ok(UploadSettings { spool, max_bytes: args.max_upload_bytes, idle_timeout })
}

/// A number of seconds above 0 as a duration.
///
/// # Errors
/// A number that cannot be meant, with the option's name.
pub fn seconds(option: &str, value: f64) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => bail!("{option} must be a number above 0"),
    }
}

fn device_choice(args: &EngineArgs) -> anyhow::Result<DeviceChoice> {
    if let Some(choice) = args.device {
        return Ok(choice);
    }
    let Some(text) = variable("DEVICE") else { return Ok(DeviceChoice::Auto) };
    <DeviceChoice as clap::ValueEnum>::from_str(&text, true)
        .map_err(|_| anyhow::anyhow!("DEVICE={text} is not one of auto, cpu, cuda"))
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
fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn limits(args: &EngineArgs) -> anyhow::Result<Limits> {
    ensure!(args.max_channels > 0, "--max-channels starts at 1");
    ensure!(
        (1_000..=args.max_sample_rate).contains(&args.min_sample_rate),
        "--min-sample-rate must be at least 1000 Hz and at most --max-sample-rate"
    );
    Ok(Limits {
        max_duration: seconds("--max-audio-hours", args.max_audio_hours * 3600.0)?,
        max_channels: args.max_channels,
        sample_rates_hz: args.min_sample_rate..=args.max_sample_rate,
    })
}

fn chunk_policy(args: &EngineArgs) -> anyhow::Result<ChunkPolicy> {
    let Some(longest) = args.chunk_seconds else { return Ok(ChunkPolicy::default()) };
    ensure!((5.0..=30.0).contains(&longest), "--chunk-seconds must be from 5 to 30");
    let max = Duration::from_secs_f64(longest);
    Ok(ChunkPolicy { max, min: max / 2, ..ChunkPolicy::default() })
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the environment says about GPUs.
pub fn gpu_environment() -> GpuEnvironment {
    // Set to nothing is not the same as unset: it hides every device. And what is no UTF-8 is
    // nonsense to the driver as well.
    let text = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    GpuEnvironment {
        cuda_visible_devices: text("CUDA_VISIBLE_DEVICES"),
        nvidia_visible_devices: text("NVIDIA_VISIBLE_DEVICES"),
        nvidia_driver_capabilities: text("NVIDIA_DRIVER_CAPABILITIES"),
        library_path: text("LD_LIBRARY_PATH"),
        fake_free_bytes: variable("FAKE_CUDA_FREE").and_then(|value| value.parse().ok()),
    }
}

/// Where `auris healthcheck` finds a server that listens on every address.
pub fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    let mut address = listen;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}
