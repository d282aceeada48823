//! The small subcommands: each a few lines around the library.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print their results")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, EngineArgs, HealthcheckArgs, ModelsArgs, ModelsCommand, WorkerArgs};
use crate::config::{self, EnginePlan, ModelSource};
use crate::engine::EngineKind;
use crate::engine::fake::Fault;
use crate::http;
use crate::models;
use crate::worker;

/// How long a server may take to say that it lives.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints why the program ends, and gives its exit status.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// `auris devices`: what there is to run on, without loading anything.
///
/// # Errors
/// An option that cannot be meant.
pub fn devices(args: &EngineArgs) -> anyhow::Result<ExitCode> {
    let plan = EnginePlan::new(args, Vec::new())?;
    println!(
        "{:<8} {:<5} {:<7} {:>10} {:>10}  NAME",
        "DEVICE", "SLOTS", "THREADS", "MEMORY", "FREE"
    );
    for device in &plan.devices {
        let info = &device.info;
        println!(
            "{:<8} {:<5} {:<7} {:>10} {:>10}  {}",
            info.id.as_str(),
            device.slots,
            device.threads,
            indicatif::BinaryBytes(info.memory_total_bytes).to_string(),
            indicatif::BinaryBytes(info.memory_free_bytes).to_string(),
            info.name
        );
    }
    for (backend, reason) in &plan.unused {
        println!("{backend:<8} not used: {reason}");
    }
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
        ModelsCommand::List => {
            println!("{:<24} {:>10}  {:<13} INSTALLED", "NAME", "SIZE", "LANGUAGES");
            for row in store.list() {
                let languages = match row.languages {
                    Some(languages) if languages.is_multilingual() => "multilingual",
                    Some(_) => "English",
                    None => "not a model",
                };
                let path = row.path.map(|path| path.display().to_string());
                let size = indicatif::BinaryBytes(row.size_bytes).to_string();
                println!(
                    "{:<24} {size:>10}  {languages:<13} {}",
                    row.name,
                    path.unwrap_or_default()
                );
            }
        }
        ModelsCommand::Pull { names } => {
            for name in names {
                let progress = models::progress_bar(&name);
                let model = models::obtain(store, &name, &source.download, &progress).await?;
                println!("{}", model.path.display());
            }
        }
        ModelsCommand::Path { name } => println!("{}", store.resolve(&name)?.path.display()),
        ModelsCommand::Rm { name } => println!("removed {}", store.remove(&name)?.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// `auris openapi`: prints the document as it is committed.
///
/// # Errors
/// None that is known.
pub fn openapi() -> anyhow::Result<ExitCode> {
    print!("{}", http::openapi_json()?);
    Ok(ExitCode::SUCCESS)
}

/// `auris healthcheck`: success if the server answers well.
///
/// # Errors
/// Why it does not.
pub async fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let path = if args.ready { "readyz" } else { "healthz" };
    let url = format!("http://{}/{path}", config::reachable(args.listen));
    let response = models::http_client(HEALTH_TIMEOUT)?
        .get(&url)
        .send()
        .await
        .with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    println!("{status}: {body}");
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `auris completions`.
///
/// # Errors
/// None.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    clap_complete::generate(shell, &mut Cli::command(), "auris", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// `auris worker`: serves one model to the parent on standard input and output.
///
/// # Errors
/// A broken pipe or protocol.
pub fn worker(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    worker::die_of_panics();
    let pipes = worker::claim_stdio()?;
    if let EngineKind::Fake(script) = &args.engine {
        if script.strikes(Fault::Exit) {
            return Ok(ExitCode::from(127));
        }
        if script.strikes(Fault::Garbage) || script.strikes(Fault::Version) {
            crate::engine::fake::misgreet(script, pipes.events);
        }
    }
    let result = worker::run(pipes.requests, pipes.events, args.engine);
    // Slots may still be in C code, which nothing can interrupt: end without waiting for them.
    std::process::exit(match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("the worker ends: {error}");
            1
        }
    })
}
