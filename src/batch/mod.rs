//! `auris transcribe`: files and folders, through the same path as a request.
//!
//! Results are written completely or not at all, finished files are skipped when the command is run
//! again, and a file that fails does not stop the others.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::TranscribeArgs;
use crate::config::{self, EnginePlan, ModelSource};
use crate::output as terminal;
use auris_core::transcript::Options;
use auris_format::{Format, Granularities, Rendering};
use auris_jobs::pipeline::{Pipeline, PipelineError, TranscriptionOutput, TranscriptionRequest};
use auris_scheduler::{Caller, Capacity};

mod plan;
mod results;

use plan::{BatchItem, Plan};

/// Transcribes everything that `args` names. Fails at the end if one of the files did.
pub async fn run(args: TranscribeArgs) -> anyhow::Result<ExitCode> {
    ensure!((0.0..=1.0).contains(&args.temperature), "--temperature must be from 0 to 1");
    args.cue_rules().map_err(anyhow::Error::msg)?;
    let Plan { jobs, mut failed } = plan::plan(&args)?;
    let (finished, open): (Vec<BatchItem>, Vec<BatchItem>) =
        jobs.into_iter().partition(|job| !args.force && plan::is_finished(job));
    for job in &finished {
        let name = name(&job.input);
        terminal::report(&format!("skipped  {name} (already done; --force repeats it)"));
    }
    if !open.is_empty() {
        transcribe_all(open, &args, &mut failed).await?;
    }
    for (input, error) in &failed {
        terminal::report(&format!("failed   {}: {error:#}", name(input)));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads the models and runs every job. Those that fail are added to `failed`.
async fn transcribe_all(
    jobs: Vec<BatchItem>,
    args: &TranscribeArgs,
    failed: &mut Vec<(PathBuf, anyhow::Error)>,
) -> anyhow::Result<()> {
    // Report every mistake before a model is downloaded.
    let plan = EnginePlan::new(&args.engine)?;
    plan.check_cpu_program().await?;
    if let Some(folder) = &args.output_dir {
        results::make_folder(folder)?;
    }
    let source = ModelSource::new(&args.engine.store)?;
    let only = args.model.clone().map(|name| vec![name]);
    let names = only.unwrap_or_else(|| args.engine.models_to_transcribe());
    let catalog = config::find_models(&names, &source.store)?.obtain(&source).await?;
    let plan = plan.with_models(catalog, &source.store);
    let everything = Capacity { total_seconds: f64::INFINITY, caller_share: 1.0 };
    let pipeline = plan.start(everything).await?;
    // As many files at once as there are slots: a short file uses no more than one.
    let at_once = pipeline.scheduler.slots().max(plan.cpu.slots);

    let bars = MultiProgress::new();
    let (pipeline, bars) = (&pipeline, &bars);
    let transcribe = |job: BatchItem| async move {
        let result = transcribe(&job, args, pipeline, bars).await;
        (job.input, result)
    };
    let mut results = futures_util::stream::iter(jobs).map(transcribe).buffer_unordered(at_once);
    while let Some((input, result)) = results.next().await {
        match result {
            Ok(report) => bars.suspend(|| {
                terminal::report(&format!("done     {}  {report}", name(&input)));
            }),
            Err(error) => failed.push((input, error)),
        }
    }
    Ok(())
}

/// Transcribes one file and writes its results. Returns the report for its line.
async fn transcribe(
    job: &BatchItem,
    args: &TranscribeArgs,
    pipeline: &Pipeline,
    bars: &MultiProgress,
) -> anyhow::Result<String> {
    let started = Instant::now();
    let input = job.input.clone();
    // A pipe may keep its reader waiting.
    let file = tokio::task::spawn_blocking(move || open(&input)).await??;
    let bar = bars.add(ProgressBar::new(0).with_style(bar_style()?));
    // The line is short, and the file name says more than the start of its path.
    bar.set_message(job.input.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let has_words = |format: &Format| format.needs_words() || format.can_list_words();
    let options = Options {
        task: args.task(),
        language: args.language,
        prompt: args.prompt.clone(),
        temperature: args.temperature,
        words: args.format.iter().any(has_words),
        ..Options::default()
    };
    // The only one that is loaded, by the name that a path stands for.
    let models = pipeline.models.now();
    let model = args.model.as_ref().and(models.default_model()).map(|model| model.name.clone());
    let ticket = pipeline.scheduler.admit(Caller::default()).await?;
    let selection = args.selection();
    let request = TranscriptionRequest { model, options, chunks: pipeline.chunks, selection };
    let transcribed = async {
        let transcription = pipeline.prepare(file, request).await?.start(ticket).await?;
        let run = transcription.run(|_, progress| {
            bar.set_length(progress.total_seconds.ceil() as u64);
            bar.set_position(progress.done_seconds as u64);
            std::future::ready(Ok::<_, PipelineError>(()))
        });
        run.await
    };
    let transcribed = transcribed.await;
    bar.finish_and_clear();
    let output = transcribed?;
    let granularities = Granularities { segments: true, words: true };
    let cues = args.cue_rules().map_err(anyhow::Error::msg)?;
    let render = |format| {
        let rendering = Rendering { format, granularities, cues, logprobs: false };
        auris_format::render(&output.transcript, &rendering)
    };
    if job.outputs.is_empty() {
        let format = args.format.first().copied().unwrap_or(Format::Text);
        bars.suspend(|| terminal::result(&render(format)))?;
    } else {
        let text = |(format, path): &(Format, PathBuf)| (path.clone(), render(*format));
        let texts: Vec<(PathBuf, String)> = job.outputs.iter().map(text).collect();
        results::write_all(&texts)?;
    }
    Ok(report(&output, started))
}

fn open(input: &Path) -> anyhow::Result<File> {
    if plan::is_standard_input(input) {
        return spool(io::stdin().lock());
    }
    let file = File::open(input).context("cannot be opened")?;
    let is_pipe = file.metadata().context("cannot be opened")?.file_type().is_fifo();
    if is_pipe { spool(file) } else { Ok(file) }
}

fn spool(mut from: impl Read) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().context("cannot create a temporary file: set TMPDIR")?;
    io::copy(&mut from, &mut file).context("cannot be copied to a temporary file")?;
    file.rewind().context("cannot be read from its temporary file")?;
    Ok(file)
}

fn name(input: &Path) -> String {
    if plan::is_standard_input(input) {
        "standard input".to_owned()
    } else {
        input.display().to_string()
    }
}

fn report(output: &TranscriptionOutput, started: Instant) -> String {
    let elapsed = started.elapsed().as_secs_f64();
    let duration = output.transcript.duration;
    let truncated = if output.transcript.losses.truncated { ", the file ends early" } else { "" };
    format!(
        "{duration:.1} s of {} in {elapsed:.1} s by {}{truncated}",
        output.transcript.language.name(),
        output.model
    )
}

fn bar_style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{wide_msg} {bar:30} {pos}/{len} s of audio, {eta} left")?)
}
