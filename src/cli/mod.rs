//! What can be typed: subcommands, options and their environment variables.
//!
//! The doc comments are the help. What the values mean together is worked out in `config`.

use std::net::SocketAddr;
use std::path::PathBuf;

use auris_scheduler::supervisor::WorkerProgram;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

pub use self::audio::AudioArgs;
pub use self::gpu::{DeviceChoice, GpuArgs, OnOom, Standby};
pub use self::jobs::JobArgs;
pub use self::keys::{AccessArgs, KeysArgs, KeysCommand};
pub use self::transcribe::TranscribeArgs;
use crate::telemetry::LogFormat;
use auris_audio::LOG_DIRECTIVE;
use auris_models::{BUNDLED, ModelAliases};

mod audio;
mod gpu;
mod jobs;
mod transcribe;
mod keys;

/// Speech to text on the best device that really works, as a service and on the command line
#[derive(Debug, Parser)]
#[command(name = "auris", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// What to log to standard error: a level, or levels by target such as
    /// `info,auris_worker=debug` [default: `info` for the server, `warn` for the others]
    #[arg(long, global = true, env = "AURIS_LOG", value_name = "FILTER", help_heading = "Logging")]
    pub log: Option<String>,
    /// The shape of log lines
    #[arg(
        long,
        global = true,
        env = "AURIS_LOG_FORMAT",
        value_name = "SHAPE",
        default_value = "text",
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
}

impl Cli {
    /// What to log: who transcribes a file at a terminal wants its text and nothing else.
    pub fn log_filter(&self) -> String {
        let default = match self.command {
            Command::Serve(_) => "info",
            _ => "warn",
        };
        self.log.clone().unwrap_or_else(|| format!("{default},{LOG_DIRECTIVE}"))
    }
}

/// What to do
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the HTTP server
    Serve(ServeArgs),
    /// Transcribe files and folders without a server
    Transcribe(TranscribeArgs),
    /// Show what there is to run on
    Devices(EngineArgs),
    /// Find out what works here, what does not, and what to do about it
    ///
    /// Exits with 0 if a GPU can be used, 10 if the CPU is used by choice or for lack of a
    /// GPU, 20 if there is a GPU and none can be used, 30 if auris cannot work here at all.
    Doctor(DoctorArgs),
    /// List, download and remove models
    Models(ModelsArgs),
    /// Make API keys
    Keys(KeysArgs),
    /// Print the OpenAPI document
    Openapi,
    /// Check that a running server is healthy (reported by the exit status)
    Healthcheck(HealthcheckArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where models are
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Where models are kept and downloaded to [default: the user's cache folder]
    #[arg(
        long,
        env = "AURIS_MODELS_DIR",
        value_name = "FOLDER",
        help_heading = "Models",
        global = true
    )]
    pub models_dir: Option<PathBuf>,
    /// Never download; say what is missing instead
    #[arg(
        long,
        env = "AURIS_OFFLINE",
        value_parser = BoolishValueParser::new(),
        help_heading = "Models",
        global = true
    )]
    pub offline: bool,
    /// The pause between attempts to download, in seconds; for tests
    #[arg(
        long,
        env = "AURIS_DOWNLOAD_RETRY_SECONDS",
        hide = true,
        default_value_t = 1.0,
        global = true
    )]
    pub download_retry_seconds: f64,
}

/// What to run, and on what
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Models to load, the default one first: names of `auris models list`, or model files
    /// [default: tiny,medium; of `auris transcribe`: the bundled base-q8_0]
    #[arg(
        long,
        env = "AURIS_MODELS",
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Models"
    )]
    models: Option<Vec<String>>,
    /// Which model takes which language when a request names none, such as
    /// `en=tiny,hi+ta=medium,*=medium` [default: English to tiny, everything else to medium]
    #[arg(long, env = "AURIS_ROUTING", value_name = "TABLE", help_heading = "Models")]
    pub routing: Option<String>,
    /// Other names for models, such as `fast=tiny,gpt-4o-transcribe=medium`; the model `auto` stands
    /// for the choice by language, which OpenAI's names have by default
    #[arg(long, env = "AURIS_MODEL_ALIASES", value_name = "TABLE", help_heading = "Models")]
    pub model_aliases: Option<ModelAliases>,
    /// GPUs, and what happens when they fail
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// How many chunks the CPU runs at once [default: by its cores]
    #[arg(long, env = "AURIS_SLOTS", value_name = "N", help_heading = "Devices")]
    pub slots: Option<usize>,
    /// How many threads each of them uses [default: by its cores]
    #[arg(long, env = "AURIS_THREADS", value_name = "N", help_heading = "Devices")]
    pub threads: Option<usize>,
    /// What files may ask for, and how they are cut
    #[command(flatten)]
    pub audio: AudioArgs,
    /// Seconds without progress after which a worker is taken for hung
    #[arg(
        long,
        env = "AURIS_STALL_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60.0,
        help_heading = "Devices"
    )]
    pub stall_seconds: f64,
    /// Seconds that loading a model may take
    #[arg(
        long,
        env = "AURIS_LOAD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 600.0,
        help_heading = "Devices"
    )]
    pub load_seconds: f64,
    /// The worker program for the CPU [default: auris-worker beside this program]
    #[arg(
        long,
        env = "AURIS_CPU_PROGRAM",
        value_name = "COMMAND",
        value_parser = gpu::worker_program,
        help_heading = "Devices"
    )]
    pub cpu_program: Option<WorkerProgram>,
    /// Where models are
    #[command(flatten)]
    pub store: StoreArgs,
}

impl EngineArgs {
    /// The models that were asked for, or else those of a server.
    pub fn models_to_serve(&self) -> Vec<String> {
        self.models.clone().unwrap_or_else(|| ["tiny", "medium"].map(str::to_owned).into())
    }

    /// The models that were asked for, or else the bundled one.
    pub fn models_to_transcribe(&self) -> Vec<String> {
        self.models.clone().unwrap_or_else(|| vec![BUNDLED.to_owned()])
    }
}

/// Start the HTTP server
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The IP address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "AURIS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,
    /// The largest upload in bytes
    #[arg(
        long,
        env = "AURIS_MAX_UPLOAD_BYTES",
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..),
        default_value_t = 2 << 30
    )]
    pub max_upload_bytes: u64,
    /// Seconds for which a client may send nothing in the middle of an upload
    #[arg(long, env = "AURIS_UPLOAD_IDLE_SECONDS", value_name = "SECONDS", default_value_t = 60.0)]
    pub upload_idle_seconds: f64,
    /// Seconds after which a connection is closed that sends no request
    #[arg(
        long,
        env = "AURIS_CONNECTION_IDLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 75.0
    )]
    pub connection_idle_seconds: f64,
    /// Where uploads wait [default: the system's folder for temporary files]
    #[arg(long, env = "AURIS_SPOOL_DIR", value_name = "FOLDER")]
    pub spool_dir: Option<PathBuf>,
    /// Minutes of audio that may wait before requests are refused
    #[arg(long, env = "AURIS_MAX_QUEUE_MINUTES", value_name = "MINUTES", default_value_t = 240.0)]
    pub max_queue_minutes: f64,
    /// The part of the queue that one client may use: above 0, at most 1
    #[arg(long, env = "AURIS_CALLER_SHARE", value_name = "SHARE", default_value_t = 0.5)]
    pub caller_share: f64,
    /// Seconds that accepted requests may take to finish after SIGTERM
    #[arg(long, env = "AURIS_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 120.0)]
    pub drain_seconds: f64,
    /// Jobs and webhooks
    #[command(flatten)]
    pub jobs: JobArgs,
    /// Who may use it
    #[command(flatten)]
    pub access: AccessArgs,
    /// What to run, and on what
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Find out what works here
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// The address that the server is to listen on, or listens on
    #[arg(
        long,
        env = "AURIS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,
    /// Where uploads wait [default: the system's folder for temporary files]
    #[arg(long, env = "AURIS_SPOOL_DIR", value_name = "FOLDER")]
    pub spool_dir: Option<PathBuf>,
    /// What is to run, and on what
    #[command(flatten)]
    pub engine: EngineArgs,
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "give an IP address and a port, such as 0.0.0.0:8000")
}

/// List, download and remove models
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: ModelsCommand,
    /// Where models are
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What to do with models
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the known models and where the installed ones are
    List {
        /// Print a JSON array, with null as the path of what is not installed
        #[arg(long)]
        json: bool,
    },
    /// Download models, going on where an earlier download ended
    Pull {
        /// Their names in `auris models list`
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Print the path of an installed model
    Path {
        /// Its name
        name: String,
    },
    /// Remove a downloaded model
    Rm {
        /// Its name
        name: String,
    },
}

/// Ask a running server whether it lives
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The address that the server listens on
    #[arg(
        long,
        env = "AURIS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,
    /// Check that it can transcribe now, not only that it responds
    #[arg(long)]
    pub ready: bool,
}
