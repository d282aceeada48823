//! `auris-worker`: one model on one device. The server starts it and drives it over standard input
//! and output; built with the feature `cuda` it is installed as `auris-worker-cuda`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use auris_core::probe::GpuEnvironment;
use auris_engine::{BACKEND, allocator, confinement, cpu_features, probe, whisper};
use auris_worker::{Engine, PrivatePipes};

/// Run one model on one device, driven by `auris`
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Print what this program can run on as a line of JSON, and exit
    #[arg(long)]
    probe: bool,
    /// Print whether this CPU can run the engine as a line of JSON, and exit
    #[arg(long, conflicts_with = "probe")]
    check_cpu: bool,
    /// Print what a library of the NVIDIA driver reports as a line of JSON, and exit
    #[arg(long, value_name = "PATH", conflicts_with = "probe")]
    probe_driver: Option<PathBuf>,
    /// Keep access to files, network and programs, for systems on which confinement breaks the engine
    #[arg(long)]
    no_sandbox: bool,
    /// What to log, such as `info` or `auris=debug`
    #[arg(long, env = "AURIS_LOG", default_value = "info")]
    log: EnvFilter,
}

fn main() -> anyhow::Result<ExitCode> {
    allocator::return_large_blocks();
    auris_worker::abort_on_panic();
    auris_worker::prefer_as_oom_victim();
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(args.log)
        .with_ansi(false)
        // They are reported with `eprintln!`, which panics when the parent is gone.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    let pipes = auris_worker::claim_stdio()?;
    let environment = GpuEnvironment::read();
    if args.probe {
        return answer(pipes, || serde_json::to_string(&probe::report(&environment)));
    }
    if args.check_cpu {
        return answer(pipes, || serde_json::to_string(&probe::cpu_report()));
    }
    if let Some(path) = args.probe_driver {
        return answer(pipes, || serde_json::to_string(&probe::driver_report(path, &environment)));
    }
    let missing = cpu_features::missing_instructions();
    ensure!(missing.is_empty(), "this CPU lacks {}", missing.join(", "));
    let confine = |spec: &_| match args.no_sandbox {
        true => Ok(()),
        false => confinement::confine(spec, &environment),
    };
    let engine = Engine { backend: BACKEND, confine, load: whisper::load };
    let result = auris_worker::run(pipes.requests, pipes.events, engine);
    // Slots may still be in C code, which cannot be interrupted: exit without waiting for them.
    std::process::exit(match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("the worker ends: {error}");
            1
        }
    })
}

/// Prints a line for the parent. A driver that hangs is abandoned when the parent exits.
fn answer(
    mut pipes: PrivatePipes,
    line: impl FnOnce() -> serde_json::Result<String>,
) -> anyhow::Result<ExitCode> {
    auris_worker::end_with(pipes.requests)?;
    pipes.events.write_all(format!("{}\n", line()?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
