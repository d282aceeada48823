//! The command line: subcommands, options and their environment variables.
//!
//! The doc comments are the help. `config` checks and combines the values.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

pub use self::audio::AudioArgs;
pub use self::clients::ClientArgs;
pub use self::devices::{DeviceArgs, DeviceChoice, OnOom, Standby};
pub use self::jobs::{JobArgs, JobsArgs, JobsCommand};
pub use self::keys::{AccessArgs, KeysArgs, KeysCommand};
pub use self::transcribe::TranscribeArgs;
use crate::telemetry::LogFormat;
use auris_audio::LOG_DIRECTIVE;
use auris_models::{BUNDLED, ModelAliases};

mod devices;
mod audio;
mod clients;
mod jobs;
mod keys;
mod transcribe;

/// Speech to text on the best working device, as a service and on the command line
#[derive(Debug, Parser)]
#[command(name = "auris", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: CliCommand,
    /// What to log to standard error: a level, or levels by target such as
    /// `info,auris_worker=debug` [default: `info` for the server, `warn` for the others]
    #[arg(long, global = true, env = "AURIS_LOG", value_name = "FILTER", help_heading = "Logging")]
    pub log: Option<String>,
    /// The format of log lines
    #[arg(
        long,
        global = true,
        env = "AURIS_LOG_FORMAT",
        default_value = "text",
        help_heading = "Logging"
    )]
    pub log_format: LogFormat,
}

impl Cli {
    /// What to log. At a terminal, only the transcript and warnings.
    pub fn log_filter(&self) -> String {
        let default = match self.command {
            CliCommand::Serve(_) => "info",
            _ => "warn",
        };
        let filter = self.log.as_deref().unwrap_or(default);
        // A directive of the user's for the same target takes precedence.
        format!("{LOG_DIRECTIVE},{filter}")
    }
}

#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Start the HTTP server
    Serve(ServeArgs),
    /// Transcribe files and folders without a server
    Transcribe(TranscribeArgs),
    /// List the devices
    Devices(EngineArgs),
    /// Check this machine: what works, what does not, and what to do about it
    ///
    /// Exits with 0 if a GPU can be used, 10 if the CPU is used by choice or for lack of a GPU, 20
    /// if there is a GPU but none can be used, 30 if auris cannot work here at all.
    Doctor(DoctorArgs),
    /// List, download and remove models
    Models(ModelsArgs),
    /// Repair the folder of jobs
    Jobs(JobsArgs),
    /// Make API keys
    Keys(KeysArgs),
    /// Print the OpenAPI document
    Openapi,
    /// Check that a running server is healthy (reported by the exit status)
    Healthcheck(HealthcheckArgs),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub struct StoreArgs {
    /// Where models are stored and downloaded to [default: the user's cache folder]
    #[arg(long, env = "AURIS_MODELS_DIR", value_name = "FOLDER", global = true)]
    pub models_dir: Option<PathBuf>,
    /// Never download; report what is missing instead
    #[arg(long, env = "AURIS_OFFLINE", value_parser = BoolishValueParser::new(), global = true)]
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

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models")]
pub struct EngineArgs {
    /// Models to load, the default one first: names of `auris models list`, or model files
    /// [default: tiny,medium; of `auris transcribe`: the bundled base-q8_0]
    #[arg(long, env = "AURIS_MODELS", value_name = "NAMES", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Which model runs for which language when a request names none, such as
    /// `en=tiny,hi+ta=medium,*=medium` [default: tiny for English, medium for all others]
    #[arg(long, env = "AURIS_ROUTING", value_name = "TABLE")]
    pub routing: Option<String>,
    /// Other names for models, such as `fast=tiny,gpt-4o-transcribe=medium`; the model `auto` is the
    /// choice by language, which OpenAI's names have by default
    #[arg(long, env = "AURIS_MODEL_ALIASES", value_name = "TABLE")]
    pub model_aliases: Option<ModelAliases>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub devices: DeviceArgs,
    #[command(flatten)]
    pub audio: AudioArgs,
}

impl EngineArgs {
    /// The requested models, or else those of a server.
    pub fn models_to_serve(&self) -> Vec<String> {
        self.models.clone().unwrap_or_else(|| ["tiny", "medium"].map(str::to_owned).into())
    }

    /// The requested models, or else the bundled one.
    pub fn models_to_transcribe(&self) -> Vec<String> {
        self.models.clone().unwrap_or_else(|| vec![BUNDLED.to_owned()])
    }
}

#[derive(Debug, Clone, Args)]
pub struct ListenArgs {
    /// The IP address and port of the server; port 0 takes a free one
    #[arg(
        long,
        env = "AURIS_LISTEN",
        value_name = "ADDRESS:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "give an IP address and a port, such as 0.0.0.0:8000")
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub address: ListenArgs,
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How many seconds accepted requests may take after SIGTERM
    #[arg(long, env = "AURIS_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 120.0)]
    pub drain_seconds: f64,
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub address: ListenArgs,
    /// Where uploads are stored [default: the system's folder for temporary files]
    #[arg(long, env = "AURIS_SPOOL_DIR", value_name = "FOLDER")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: ModelsCommand,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the known models, and the paths of the installed ones
    List {
        /// Print a JSON array; the path of a missing model is null
        #[arg(long)]
        json: bool,
    },
    /// Download models; an interrupted download is resumed
    Pull {
        /// Names in `auris models list`
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Print the path of an installed model
    Path { name: String },
    /// Remove a downloaded model
    Rm { name: String },
}

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    #[command(flatten)]
    pub address: ListenArgs,
    /// Check that it can transcribe, not only that it responds
    #[arg(long)]
    pub ready: bool,
}
