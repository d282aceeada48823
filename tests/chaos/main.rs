//! `make chaos`: jobs and requests while the server is killed, stopped, starved and attacked.
//!
//! Every accepted job must end right exactly once, every answered request must be right, and
//! nothing may be left over. What is broken, and when, follows from a seed that is printed first.
#![allow(missing_docs, unreachable_pub, reason = "a program is not linked to")]
#![allow(clippy::print_stdout, reason = "it prints a table")]

mod bad_clients;
mod client;
mod end;
mod faults;
mod files;
mod health;
mod job_database;
mod jobs;
mod record;
mod requests;
mod run;
mod server;
mod settings;
mod webhooks;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;
use tokio::task::JoinSet;

use faults::Chaos;
use run::Run;
use server::Server;
use settings::Settings;

/// Holds the folder of the disk that can be made full, once it is mounted.
const DISK: &str = "CHAOS_DISK";

/// The size of that disk as `mount` takes it. Jobs are refused with less than 256 MiB free, and what
/// is free takes no memory.
const DISK_SIZE: &str = "1g";

/// How long what was accepted may take once the faults are over.
const SETTLE_LIMIT: Duration = Duration::from_secs(150);

/// How long a client waits for a byte.
const READ_LIMIT: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::read()?;
    if let Some(folder) = std::env::var_os(DISK) {
        return run_on(settings, folder.into(), true);
    }
    let folder = tempfile::tempdir()?;
    // The disk is mounted where only this program and its children see it, and ends with them.
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c"]);
    inside.arg(format!("mount -t tmpfs -o size={DISK_SIZE} tmpfs \"$1\" && {DISK}=$1 exec \"$2\""));
    let mut possible = Command::new("unshare");
    possible.args(["--user", "--map-root-user", "--mount", "--", "mount", "-t", "tmpfs", "tmpfs"]);
    let possible = possible.arg(folder.path()).status().is_ok_and(|status| status.success());
    if !possible {
        println!("no full disk: file systems cannot be mounted here");
        return run_on(settings, folder.path().to_owned(), false);
    }
    inside.arg("chaos").arg(folder.path()).arg(std::env::current_exe()?);
    let status = inside.status().context("unshare cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_on(settings: Settings, folder: PathBuf, has_own_disk: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seed = settings.seed;
    let outcome = runtime.block_on(chaos(settings, &folder, has_own_disk));
    if !matches!(outcome, Ok(true)) {
        let kept = keep(&folder, seed)?;
        println!("repeat it with CHAOS_SEED={seed}; log and database: {}", kept.display());
    }
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Copies what explains a failure out of the run's own disk.
fn keep(folder: &Path, seed: u64) -> anyhow::Result<PathBuf> {
    let kept = std::env::temp_dir().join(format!("chaos-{seed}"));
    std::fs::create_dir_all(&kept)?;
    let database = std::fs::read_dir(folder.join("jobs")).into_iter().flatten().flatten();
    let database = database.map(|entry| entry.path()).filter(|path| path.is_file());
    for file in database.chain([folder.join("log")]) {
        if let Some(name) = file.file_name() {
            std::fs::copy(&file, kept.join(name))?;
        }
    }
    Ok(kept)
}

/// The whole run. Returns whether nothing was wrong.
async fn chaos(settings: Settings, folder: &Path, has_own_disk: bool) -> anyhow::Result<bool> {
    println!("{settings}");
    let mut rng = Rng::with_seed(settings.seed);
    let receiver = webhooks::Receiver::start(settings.seed).await?;
    let server = Server::start(folder, settings.token()).await?;
    let client = auris_models::local_http_client(READ_LIMIT)?;
    let uses = settings.jobs + settings.requests;
    let files = files::all(&mut rng, &client, server.address, uses as usize).await?;
    let before = server.resources()?;
    let run = Arc::new(Run::new(settings, files, receiver, client));
    run.open(server.address);

    let mut clients = JoinSet::new();
    for n in 0..run.settings.jobs {
        clients.spawn(jobs::client(Arc::clone(&run), n));
    }
    for n in 0..run.settings.requests {
        clients.spawn(requests::client(Arc::clone(&run), n));
    }
    let health = tokio::spawn(health::watch(Arc::clone(&run)));
    let mut chaos = Chaos { run: Arc::clone(&run), server, rng, has_own_disk };
    chaos.cause().await?;
    let Chaos { server, .. } = chaos;
    println!("faults are over after {:.0} s", run.started.elapsed().as_secs_f64());

    let settled = Instant::now() + SETTLE_LIMIT;
    let left = tokio::time::timeout_at(settled.into(), async {
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                run.record.violation(format!("a client of this program failed: {error}"));
            }
        }
    });
    if left.await.is_err() {
        run.record.violation(format!("{} clients wait for ever", clients.len()));
    }
    if tokio::time::timeout(SETTLE_LIMIT, end::check_jobs(&run)).await.is_err() {
        run.record.violation("the jobs cannot be listed and asked for");
    }
    end::check_webhooks(&run, settled).await;
    health.abort();
    end::check_leftovers(&run, server, before).await?;
    println!("{}", run.record);
    Ok(run.record.is_clean())
}
