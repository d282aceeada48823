//! The small subcommands: each a few lines around the library.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::CommandFactory;
use indicatif::BinaryBytes;
use serde::Serialize;

use crate::cli::{
    Cli, EngineArgs, HealthcheckArgs, JobsArgs, JobsCommand, KeysArgs, KeysCommand, ModelsArgs,
    ModelsCommand,
};
use crate::config::{self, EnginePlan, ModelSource};
use crate::http;
use crate::output;
use auris_core::device::{Backend, DeviceInfo};
use auris_jobs::{Jobs, RecoveredJob, Recovery};
use auris_models::{Languages, ModelListing, ModelStore};

const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints why the program ends, and returns its exit status.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    output::report(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// `auris devices`: lists the available devices without loading a model. Asks the GPU's driver.
pub async fn devices(args: &EngineArgs) -> anyhow::Result<ExitCode> {
    let plan = EnginePlan::new(args)?;
    let gpus = plan.look_for_gpus().await;
    let mut table = format!(
        "{:<8} {:<5} {:>10} {:>10} {:>4}  NAME\n",
        "DEVICE", "SLOTS", "MEMORY", "FREE", "CC"
    );
    let mut row = |info: &DeviceInfo, slots: usize| {
        writeln!(
            table,
            "{:<8} {:<5} {:>10} {:>10} {:>4}  {}{}",
            info.id.as_str(),
            slots,
            BinaryBytes(info.memory_total_bytes).to_string(),
            BinaryBytes(info.memory_free_bytes).to_string(),
            info.compute_capability.as_deref().unwrap_or("-"),
            info.name,
            info.uuid.as_ref().map(|uuid| format!(", {uuid}")).unwrap_or_default(),
        )
    };
    row(&plan.cpu.info, plan.cpu.slots)?;
    for info in gpus.iter().flatten() {
        row(info, args.devices.max_per_device)?;
    }
    if let Err(reason) = &gpus {
        writeln!(table, "{:<8} not used: {reason}", Backend::Cuda.to_string())?;
    }
    output::result(&table)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn models(args: ModelsArgs) -> anyhow::Result<ExitCode> {
    let source = ModelSource::new(&args.store)?;
    let store = &source.store;
    match args.command {
        ModelsCommand::List { json: false } => output::result(&models_table(store)?)?,
        ModelsCommand::List { json: true } => {
            let rows: Vec<ListedModel> = store.list().into_iter().map(Into::into).collect();
            output::result(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
        }
        ModelsCommand::Pull { names } => {
            for name in names {
                let progress = auris_models::progress_bar(&name);
                let model = auris_models::obtain(store, &name, &source.download, &progress).await?;
                output::result(&format!("{}\n", model.path.display()))?;
            }
        }
        ModelsCommand::Path { name } => {
            output::result(&format!("{}\n", store.resolve(&name)?.path.display()))?;
        }
        ModelsCommand::Rm { name } => {
            output::result(&format!("removed {}\n", store.remove(&name)?.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct ListedModel {
    name: String,
    size_bytes: u64,
    /// `null` if unknown, such as for a file of the user that is not a model.
    multilingual: Option<bool>,
    path: Option<PathBuf>,
}

impl From<ModelListing> for ListedModel {
    fn from(row: ModelListing) -> Self {
        let ModelListing { name, size_bytes, languages, path } = row;
        let multilingual = languages.map(Languages::is_multilingual);
        Self { name, size_bytes, multilingual, path }
    }
}

fn models_table(store: &ModelStore) -> anyhow::Result<String> {
    let mut table = format!("{:<24} {:>10}  {:<13} INSTALLED\n", "NAME", "SIZE", "LANGUAGES");
    for row in store.list() {
        let languages = match row.languages {
            Some(languages) if languages.is_multilingual() => "multilingual",
            Some(_) => "English",
            None => "not a model",
        };
        let path = row.path.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let size = BinaryBytes(row.size_bytes).to_string();
        writeln!(table, "{:<24} {size:>10}  {languages:<13} {path}", row.name)?;
    }
    Ok(table)
}

pub async fn jobs(args: JobsArgs) -> anyhow::Result<ExitCode> {
    let JobsCommand::Recover { jobs_dir } = args.command;
    let folder = config::jobs_folder(jobs_dir);
    let folder =
        folder.context("there is no home folder for jobs: give a folder with --jobs-dir")?;
    let recovered = Jobs::recover(&folder).await?;
    let (mut report, mut queued) = (String::new(), 0);
    for RecoveredJob { id, outcome } in &recovered {
        let line = match outcome {
            Recovery::Queued { audio_seconds, lost_key: false } => {
                format!("queued again, about {audio_seconds:.0} s of audio")
            }
            Recovery::Queued { audio_seconds, lost_key: true } => format!(
                "queued again, about {audio_seconds:.0} s of audio, without its idempotency key: \
                 another job has that by now"
            ),
            Recovery::Unreadable(reason) => format!("left where it is: {reason}"),
        };
        queued += usize::from(matches!(outcome, Recovery::Queued { .. }));
        writeln!(report, "{id}: {line}")?;
    }
    writeln!(report, "{queued} of {} jobs are queued again", recovered.len())?;
    output::result(&report)?;
    Ok(if queued == recovered.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let KeysCommand::New { name } = &args.command;
    let (key, entry) = config::new_key(name)?;
    output::result(&format!(
        "The key, which is not stored anywhere:\n\n{key}\n\nFor the file of --api-keys-file:\n\n{entry}"
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn openapi() -> anyhow::Result<ExitCode> {
    output::result(&http::openapi_json()?)?;
    Ok(ExitCode::SUCCESS)
}

pub async fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let path = if args.ready { "readyz" } else { "healthz" };
    let url = format!("http://{}/{path}", config::reachable(args.address.listen));
    let response = auris_models::local_http_client(HEALTH_TIMEOUT)?
        .get(&url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("no response from {url}"))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    output::result(&format!("{status}: {}\n", body.trim_end()))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "auris", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
