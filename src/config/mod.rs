//! Turns the options into settings: checks them, and completes them from the environment and the
//! machine.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, EngineArgs, StoreArgs};
use auris_audio::{ChunkPolicy, Ffmpeg, Limits, Vad};
use auris_models::{Catalog, DownloadConfig, ModelError, ModelFile, ModelStore, PublishedModel};

mod clients;
mod devices;
mod jobs;
mod keys;
mod plan;

pub use clients::{capacity, connections, raise_open_files, uploads};
pub use devices::cores;
pub use jobs::{jobs, jobs_folder};
pub use keys::{access, is_open, new_key};
pub use plan::EnginePlan;

/// Reads the command line and the AURIS_ variables. Exits for help and for invalid options, as
/// clap does.
pub fn command_line() -> Cli {
    let matches = without_empty_variables(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Treats an empty variable, as compose files set with `${AURIS_SLOTS:-}`, as not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let unset = |arg: clap::Arg| {
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg }
    };
    command.mut_args(unset).mut_subcommands(without_empty_variables)
}

#[derive(Debug)]
pub struct ModelSource {
    pub store: ModelStore,
    pub download: DownloadConfig,
}

impl ModelSource {
    /// From `--models-dir`, `--offline`, `HF_ENDPOINT` and `HF_TOKEN`.
    pub fn new(args: &StoreArgs) -> anyhow::Result<Self> {
        let folder = match &args.models_dir {
            Some(folder) => folder.clone(),
            None => auris_models::default_folder()?,
        };
        let bundled = auris_models::bundled_folders(&env::current_exe()?);
        let defaults = DownloadConfig::default();
        let download = DownloadConfig {
            endpoint: variable("HF_ENDPOINT").unwrap_or(defaults.endpoint.clone()),
            token: variable("HF_TOKEN"),
            offline: args.offline,
            retry_pause: seconds("--download-retry-seconds", args.download_retry_seconds)?,
        };
        Ok(Self { store: ModelStore::new(folder, bundled), download })
    }
}

/// The requested models, and those of them that are not installed.
#[derive(Debug)]
pub struct RequestedModels {
    /// All of them, the default first.
    pub files: Vec<ModelFile>,
    pub missing: Vec<&'static PublishedModel>,
}

pub fn find_models(names: &[String], store: &ModelStore) -> anyhow::Result<RequestedModels> {
    let mut requested = RequestedModels { files: Vec::new(), missing: Vec::new() };
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let resolved = store.resolve(name);
        let entry = match &resolved {
            Err(ModelError::NotInstalled { name, .. }) => auris_models::find(name),
            _ => None,
        };
        requested.missing.extend(entry);
        let model = entry.map_or(resolved, |entry| Ok(store.file_after_download(entry)))?;
        ensure!(
            requested.files.iter().all(|other| other.name != model.name),
            "two models have the name `{}`: load one of them",
            model.name
        );
        requested.files.push(model);
    }
    ensure!(
        !requested.files.is_empty(),
        "no model is given: name one with --models, such as `{}`",
        auris_models::BUNDLED
    );
    Ok(requested)
}

impl RequestedModels {
    pub async fn obtain(self, source: &ModelSource) -> anyhow::Result<Catalog> {
        for entry in &self.missing {
            let progress = auris_models::progress_bar(entry.name);
            auris_models::pull(&source.store, entry, &source.download, &progress).await?;
        }
        Ok(Catalog::installed(self.files))
    }

    /// Lets the bundled model stand in for the missing ones, which are returned. Without it, they
    /// are downloaded first.
    pub async fn begin(
        self,
        source: &ModelSource,
    ) -> anyhow::Result<(Catalog, Vec<&'static PublishedModel>)> {
        if self.missing.is_empty() {
            return Ok((Catalog::installed(self.files), self.missing));
        }
        match source.store.resolve(auris_models::BUNDLED) {
            Ok(bundled) => {
                let missing: Vec<&str> = self.missing.iter().map(|entry| entry.name).collect();
                let catalog = Catalog::with_stand_in(self.files, &missing, bundled);
                Ok((catalog, self.missing))
            }
            Err(error) => {
                tracing::warn!(
                    "downloading models before the start, since no model can stand in: {error}"
                );
                Ok((self.obtain(source).await?, Vec::new()))
            }
        }
    }
}

/// The folder that uploads wait in: `given`, or else the system's folder for temporary files.
pub fn spool(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let spool = given.map_or_else(env::temp_dir, Path::to_owned);
    tempfile::tempfile_in(&spool).with_context(|| {
        let spool = spool.display();
        format!("uploads cannot be written to {spool}: give another folder with --spool-dir")
    })?;
    Ok(spool)
}

/// A number of seconds above 0 as a duration.
pub fn seconds(option: &str, value: f64) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => bail!("{option} must be a number above 0"),
    }
}

fn limits(args: &EngineArgs) -> anyhow::Result<Limits> {
    ensure!(args.audio.max_channels > 0, "--max-channels starts at 1");
    ensure!(
        (1_000..=args.audio.max_sample_rate).contains(&args.audio.min_sample_rate),
        "--min-sample-rate must be at least 1000 Hz and at most --max-sample-rate"
    );
    let confined = |ffmpeg: Ffmpeg| match args.devices.no_sandbox {
        true => ffmpeg.unconfined(),
        false => ffmpeg,
    };
    Ok(Limits {
        max_duration: seconds("--max-audio-hours", args.audio.max_audio_hours * 3600.0)?,
        max_channels: args.audio.max_channels,
        sample_rates_hz: args.audio.min_sample_rate..=args.audio.max_sample_rate,
        max_decode: seconds("--max-decode-seconds", args.audio.max_decode_seconds)?,
        ffmpeg: ffmpeg(args.audio.ffmpeg.as_deref())?.map(confined),
    })
}

/// The given ffmpeg, or else the one on the path; none if it is missing or `off`.
pub fn ffmpeg(given: Option<&Path>) -> anyhow::Result<Option<Ffmpeg>> {
    match given {
        None => Ok(env::var_os("PATH").and_then(|path| Ffmpeg::find(&path))),
        Some(given) if given == Path::new("off") => Ok(None),
        Some(given) => Ffmpeg::new(given.to_owned()).map(Some).with_context(|| {
            format!("{} cannot be run: give a program with --ffmpeg, or `off`", given.display())
        }),
    }
}

fn chunk_policy(args: &EngineArgs) -> anyhow::Result<ChunkPolicy> {
    let vad = (!args.audio.no_vad).then(Vad::default);
    let policy = ChunkPolicy { vad, ..ChunkPolicy::default() };
    let Some(longest) = args.audio.chunk_seconds else { return Ok(policy) };
    ensure!((5.0..=30.0).contains(&longest), "--chunk-seconds must be from 5 to 30");
    let max = Duration::from_secs_f64(longest);
    Ok(ChunkPolicy { max, min: max / 2, ..policy })
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_the_bundled_model_a_missing_one_is_obtained_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::new(folder.path().to_owned(), Vec::new());
        let download = DownloadConfig { offline: true, ..DownloadConfig::default() };
        let requested = find_models(&["tiny".to_owned()], &store).unwrap();
        let source = ModelSource { store, download };
        let error = requested.begin(&source).await.unwrap_err().to_string();
        assert!(
            error.contains("`tiny` is not installed and downloads are switched off"),
            "{error}"
        );
    }
}
