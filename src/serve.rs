//! `auris serve`: builds the parts, runs them, and drains on SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::config::{self, EnginePlan, ModelSource};
use crate::doctor;
use crate::http::{self, AppState, OpenUploads};
use crate::output;
use auris_core::metrics;
use auris_jobs::pipeline::Pipeline;
use auris_jobs::{JobSettings, Jobs};
use auris_sandbox::Confinement;
use auris_scheduler::Scheduler;
use auris_scheduler::provision::Provision;

/// How often unread counters are cleaned up.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How long responses may take to reach their clients after the last request.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Runs the server until SIGTERM or SIGINT, then finishes what was accepted.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    // Report every mistake before a model is downloaded, a port in use first.
    let listener = http::listen(args.address.listen).with_context(|| {
        format!("cannot listen on {}: give another address with --listen", args.address.listen)
    })?;
    let address = listener.local_addr()?;
    let connections = config::connections(&args.clients, config::raise_open_files())?;
    let uploads = config::uploads(&args.clients, &connections)?;
    let capacity = config::capacity(&args.clients)?;
    let job_settings = config::jobs(&args)?;
    let drain_limit = config::seconds("--drain-seconds", args.drain_seconds)?;
    let access = config::access(&args.access, address)?;
    let is_open = config::is_open(&args.access, &access, address)?;
    report_confinement(args.engine.devices.no_sandbox);
    let plan = EnginePlan::new(&args.engine)?;
    plan.check_cpu_program().await?;
    let source = ModelSource::new(&args.engine.store)?;
    let requested = config::find_models(&args.engine.models_to_serve(), &source.store)?;
    plan.check_aliases(&requested.files)?;
    let (catalog, missing) = requested.begin(&source).await?;
    let plan = plan.with_models(catalog.clone(), &source.store);

    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), metrics::SECONDS_BUCKETS)?
        .install_recorder()?;
    metrics::describe();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            let upkeep = upkeep.clone();
            // On a thread for blocking work, of which one is always there for that reason: it would
            // end after 10 s, and where another cannot be started, the runtime panics.
            let _ = tokio::task::spawn_blocking(move || upkeep.run_upkeep()).await;
        }
    });

    let pipeline = match plan.start(capacity).await {
        Err(error) if args.engine.devices.require_gpu => {
            output::report(&doctor::explain(&args.engine).await?);
            return Err(error);
        }
        started => started?,
    };
    let scheduler = pipeline.scheduler.clone();
    let ModelSource { store, download } = source;
    let whole_windows = plan.whole_windows;
    Provision { store, download, catalog, scheduler: scheduler.clone(), whole_windows }
        .start(&missing);
    let is_configured = args.jobs.jobs_dir.is_some();
    let jobs = start_jobs(job_settings, is_configured, &pipeline).await?;
    let state = AppState {
        pipeline,
        jobs: jobs.clone(),
        uploads: uploads.into(),
        open_uploads: OpenUploads::default(),
        metrics,
    };
    if is_open {
        tracing::warn!(
            "anyone who can reach {address} can use this server: set AURIS_API_KEYS (`auris keys \
             new` creates keys) or listen on 127.0.0.1 only"
        );
    }
    let app = http::router(state, access)?;
    let jobs = jobs.ok();
    // Before the address is printed: a script that reads it may send a signal at once.
    let signals = StopSignals::catch().context("cannot receive signals")?;
    output::result(&format!("listening on http://{address}\n"))?;
    tracing::info!("API description at http://{address}/docs");
    let stop = CancellationToken::new();
    let ended = tokio::select! {
        () = http::serve(listener, app, connections, stop.clone()) => Ok(()),
        () = scheduler.ended() => bail!("the scheduler failed; the log has the cause"),
        () = async {
            drained(signals, &scheduler, jobs.as_ref(), drain_limit).await;
            stop.cancel();
            tokio::time::sleep(CLOSE_GRACE).await;
        } => Ok(()),
    };
    if let Some(jobs) = jobs {
        jobs.close().await;
    }
    ended
}

/// Reports once what workers and ffmpeg are not kept from.
fn report_confinement(is_off: bool) {
    if is_off {
        tracing::warn!("--no-sandbox: workers and ffmpeg can reach files and the network");
        return;
    }
    match Confinement::available() {
        Ok(available) if available.is_whole() => {}
        available => tracing::warn!(
            "this system confines workers and ffmpeg in part only ({available:?}); `auris doctor` \
             says what it lacks"
        ),
    }
}

/// Starts the jobs. If their folder cannot be used, the server runs without them, unless the folder
/// was configured.
async fn start_jobs(
    settings: Option<JobSettings>,
    is_configured: bool,
    pipeline: &Pipeline,
) -> anyhow::Result<Result<Jobs, Arc<str>>> {
    let reason = match settings {
        None => "there is no home folder for jobs: give a folder with --jobs-dir".into(),
        Some(settings) => match Jobs::start(pipeline.clone(), settings).await {
            Ok(jobs) => return Ok(Ok(jobs)),
            Err(error) if is_configured => return Err(error.into()),
            Err(error) => error.to_string(),
        },
    };
    tracing::warn!("this server runs no jobs: {reason}");
    Ok(Err(reason.into()))
}

/// Returns when the server may stop accepting connections: after a signal, once every accepted
/// request is finished or out of time. Until then new requests are refused.
async fn drained(
    mut signals: StopSignals,
    scheduler: &Scheduler,
    jobs: Option<&Jobs>,
    limit: Duration,
) {
    signals.next().await;
    tracing::info!("shutting down after the accepted requests");
    // Background jobs continue at the next start, and make room for requests with a client.
    if let Some(jobs) = jobs {
        jobs.interrupt();
    }
    tokio::select! {
        () = scheduler.drain() => tracing::info!("all accepted requests are finished"),
        () = tokio::time::sleep(limit) => tracing::warn!("stopping unfinished requests after {limit:?}"),
        () = signals.next() => tracing::warn!("stopping unfinished requests after a second signal"),
    }
}

/// The signals that end the server. None is lost between two calls of `next`.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
