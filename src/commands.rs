//! The small subcommands: each a few lines around the library.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::CommandFactory;
use indicatif::BinaryBytes;
use serde::Serialize;

use crate::cli::{
    Cli, EngineArgs, HealthcheckArgs, KeysArgs, KeysCommand, ModelsArgs, ModelsCommand, WorkerArgs,
};
use crate::config::{self, EnginePlan, ModelSource};
use crate::device::{Backend, DeviceInfo};
use crate::engine::fake::Fault;
use crate::engine::quantise::{Precision, quantise};
use crate::engine::{self, EngineKind, processor};
use crate::http;
use crate::models::{self, Languages, Row, Store};
use crate::output;
use crate::worker::{self, PrivatePipes};

/// How long a server may take to say that it lives.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints why the program ends, and gives its exit status.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    output::report(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// `auris devices`: what there is to run on, without loading anything. Asks the GPU's driver.
///
/// # Errors
/// An option that cannot be meant.
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
        row(info, args.gpu.max_per_device)?;
    }
    if let Err(reason) = &gpus {
        writeln!(table, "{:<8} not used: {reason}", Backend::Cuda.to_string())?;
    }
    output::result(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// `auris models`.
///
/// # Errors
/// What keeps a model from being found, downloaded or removed.
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
                let progress = models::progress_bar(&name);
                let model = models::obtain(store, &name, &source.download, &progress).await?;
                output::result(&format!("{}\n", model.path.display()))?;
            }
        }
        ModelsCommand::Path { name } => {
            output::result(&format!("{}\n", store.resolve(&name)?.path.display()))?;
        }
        ModelsCommand::Quantize { model, to, output } => {
            let written = quantize(store, &model, to, output)?;
            output::result(&format!("{}\n", written.display()))?;
        }
        ModelsCommand::Rm { name } => {
            output::result(&format!("removed {}\n", store.remove(&name)?.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `auris models quantize`: the file that it wrote. Another file of its name is there until then.
fn quantize(
    store: &Store,
    model: &str,
    to: Precision,
    output: Option<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let model = store.resolve(model)?;
    let output =
        output.unwrap_or_else(|| store.folder().join(format!("ggml-{}-{to}.bin", model.name)));
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let cannot_write = || format!("cannot write {}", output.display());
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o644)); // less what the umask takes
    let mut written = builder.tempfile_in(folder).with_context(cannot_write)?;
    let input = File::open(&model.path)?;
    quantise(BufReader::new(input), BufWriter::new(&mut written), to)
        .with_context(|| format!("cannot quantise {}", model.path.display()))?;
    written.persist(&output).with_context(cannot_write)?;
    Ok(output)
}

/// A model as `auris models list --json` tells it.
#[derive(Serialize)]
struct ListedModel {
    name: String,
    size_bytes: u64,
    /// Absent knowledge is null: a file of the user's own that is no model.
    multilingual: Option<bool>,
    path: Option<PathBuf>,
}

impl From<Row> for ListedModel {
    fn from(row: Row) -> Self {
        let Row { name, size_bytes, languages, path } = row;
        let multilingual = languages.map(Languages::is_multilingual);
        Self { name, size_bytes, multilingual, path }
    }
}

fn models_table(store: &Store) -> anyhow::Result<String> {
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

/// `auris keys`.
///
/// # Errors
/// A name that cannot be used.
pub fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let KeysCommand::New { name } = &args.command;
    let (key, entry) = config::new_key(name)?;
    output::result(&format!(
        "The key, which is kept nowhere else:\n\n{key}\n\nFor the file of --api-keys-file:\n\n{entry}"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// `auris openapi`: prints the document as it is committed.
///
/// # Errors
/// Standard output cannot be written to.
pub fn openapi() -> anyhow::Result<ExitCode> {
    output::result(&http::openapi_json()?)?;
    Ok(ExitCode::SUCCESS)
}

/// `auris healthcheck`: success if the server answers well.
///
/// # Errors
/// Why it does not.
pub async fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let path = if args.ready { "readyz" } else { "healthz" };
    let url = format!("http://{}/{path}", config::reachable(args.listen));
    let response = models::local_http_client(HEALTH_TIMEOUT)?
        .get(&url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    output::result(&format!("{status}: {}\n", body.trim_end()))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `auris completions`.
///
/// # Errors
/// Standard output cannot be written to.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "auris", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// `auris worker`: serves one model to the parent on standard input and output.
///
/// # Errors
/// A broken pipe or protocol.
pub fn worker(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    worker::die_of_panics();
    worker::go_first_when_memory_ends();
    let pipes = worker::claim_stdio()?;
    if args.probe || args.probe_driver.is_some() {
        return probe(args, pipes);
    }
    if let EngineKind::Fake(script) = &args.engine {
        if script.strikes(Fault::Exit) {
            return Ok(ExitCode::from(127));
        }
        if script.strikes(Fault::Garbage) || script.strikes(Fault::Version) {
            engine::fake::misgreet(script, pipes.events);
        }
    }
    // A worker of another build than the server's, as auris-cuda can be, is not vouched for by it.
    processor::check()?;
    let result = worker::run(pipes.requests, pipes.events, args.engine);
    // Slots may still be in C code, which nothing can interrupt: end without waiting for them.
    std::process::exit(match result {
        Ok(()) => 0,
        Err(error) => {
            output::report(&format!("the worker ends: {error}"));
            1
        }
    })
}

/// `auris worker --probe` and `--probe-driver`: prints a line for the parent, and ends.
fn probe(args: WorkerArgs, mut pipes: PrivatePipes) -> anyhow::Result<ExitCode> {
    worker::end_with(pipes.requests)?;
    let environment = config::gpu_environment();
    let line = match args.probe_driver {
        Some(path) => serde_json::to_string(&engine::probe::driver_report(path, &environment)),
        None => serde_json::to_string(&engine::probe::report(
            &args.engine,
            worker::BACKEND,
            &environment,
        )),
    }?;
    pipes.events.write_all(format!("{line}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
