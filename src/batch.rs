//! `auris transcribe`: files and folders, through the same path as a request.
//!
//! Results are written whole or not at all, finished files are skipped when it is run again, and
//! a file that fails does not keep the others from being done.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "results and reports are printed")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::cli::TranscribeArgs;
use crate::config::{self, EnginePlan, ModelSource};
use crate::format::{self, Format, Granularities};
use crate::pipeline::{Input, Output, Pipeline};
use crate::scheduler::Capacity;
use crate::transcript::Options;

/// Endings of the files that are taken from a folder. A file that is named itself is always
/// tried.
const EXTENSIONS: &[&str] = &[
    "3gp", "aac", "aif", "aiff", "caf", "flac", "m4a", "m4b", "mka", "mkv", "mov", "mp2", "mp3",
    "mp4", "oga", "ogg", "opus", "wav", "wave", "weba", "webm",
];

/// A file to transcribe and where its results go.
#[derive(Debug, PartialEq)]
struct Job {
    input: PathBuf,
    /// One for each format; none to print the only one.
    outputs: Vec<(Format, PathBuf)>,
}

/// Transcribes everything that `args` names. Fails at the end if one of the files did.
///
/// # Errors
/// What keeps it from beginning.
pub async fn run(args: TranscribeArgs) -> anyhow::Result<ExitCode> {
    ensure!((0.0..=1.0).contains(&args.temperature), "--temperature must be from 0 to 1");
    let jobs = plan(&args)?;
    let (finished, open): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| !args.force && is_finished(job));
    for job in &finished {
        eprintln!("skipped  {} (finished; --force does it again)", job.input.display());
    }
    if open.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }

    let source = ModelSource::new(&args.engine.store)?;
    let models = config::obtain_models(&args.engine.models, &source).await?;
    let plan = EnginePlan::new(&args.engine, models)?;
    let everything = Capacity { total_seconds: f64::INFINITY, caller_share: 1.0 };
    let pipeline = plan.start(everything);
    // As many files at once as there are slots: a short file uses no more than one.
    let at_once = plan.devices.iter().map(|device| device.slots).sum();

    let bars = MultiProgress::new();
    let (args, pipeline, bars) = (&args, &pipeline, &bars);
    let transcribe = |job: Job| async move {
        let result = transcribe(&job, args, pipeline, bars).await;
        (job.input, result)
    };
    let mut results = futures_util::stream::iter(open).map(transcribe).buffer_unordered(at_once);
    let mut failed = Vec::new();
    while let Some((input, result)) = results.next().await {
        match result {
            Ok(report) => bars.suspend(|| eprintln!("done     {}  {report}", input.display())),
            Err(error) => failed.push((input, error)),
        }
    }
    for (input, error) in &failed {
        eprintln!("failed   {}: {error:#}", input.display());
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files behind the named files and folders, and where their results go.
fn plan(args: &TranscribeArgs) -> anyhow::Result<Vec<Job>> {
    let mut files: Vec<(PathBuf, PathBuf)> = Vec::new(); // and their place below the output
    for input in &args.inputs {
        if input.is_dir() {
            for entry in WalkDir::new(input).sort_by_file_name() {
                let entry = entry.with_context(|| format!("cannot read {}", input.display()))?;
                if entry.file_type().is_file() && is_audio(entry.path()) {
                    let below = entry.path().strip_prefix(input).unwrap_or(entry.path());
                    files.push((entry.path().to_owned(), below.to_owned()));
                }
            }
        } else {
            let name = input.file_name().context("an input has no file name")?;
            files.push((input.clone(), name.into()));
        }
    }
    ensure!(!files.is_empty(), "the folder holds no audio file");
    let Some(folder) = &args.output_dir else {
        if files.len() > 1 || args.format.len() > 1 {
            bail!("several results: say where they go with --output-dir");
        }
        let job = |(input, _)| Job { input, outputs: Vec::new() };
        return Ok(files.into_iter().map(job).collect());
    };
    let mut jobs: Vec<Job> = Vec::new();
    for (input, below) in files {
        let output = |format: &Format| {
            (*format, folder.join(&below).with_extension(format.file_extension()))
        };
        let outputs: Vec<_> = args.format.iter().map(output).collect();
        let same = |job: &&Job| job.outputs.first() == outputs.first();
        if let Some(other) = jobs.iter().find(same) {
            bail!(
                "{} and {} would have the same result file: rename one",
                other.input.display(),
                input.display()
            );
        }
        jobs.push(Job { input, outputs });
    }
    Ok(jobs)
}

fn is_audio(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn is_finished(job: &Job) -> bool {
    !job.outputs.is_empty() && job.outputs.iter().all(|(_, path)| path.exists())
}

/// Transcribes one file and writes its results. Returns the report for its line.
async fn transcribe(
    job: &Job,
    args: &TranscribeArgs,
    pipeline: &Pipeline,
    bars: &MultiProgress,
) -> anyhow::Result<String> {
    let started = Instant::now();
    let bar = bars.add(ProgressBar::new(0).with_style(bar_style()?));
    bar.set_message(job.input.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let file = File::open(&job.input).context("cannot be opened")?;
    let options = Options {
        task: args.task(),
        language: args.language,
        prompt: args.prompt.clone(),
        temperature: args.temperature,
        words: args.format.iter().any(|format| *format != Format::Text),
    };
    let input =
        Input { file, model: args.model.clone(), options, caller: "command line".to_owned() };
    let transcribed = pipeline
        .transcribe(input, |progress| {
            bar.set_length(progress.total_seconds.ceil() as u64);
            bar.set_position(progress.done_seconds as u64);
        })
        .await;
    bar.finish_and_clear();
    let output = transcribed?;
    if job.outputs.is_empty() {
        let format = args.format.first().copied().unwrap_or(Format::Text);
        print!("{}", render(&output, format));
    } else {
        write_all(job, &output)?;
    }
    Ok(report(&output, started))
}

fn render(output: &Output, format: Format) -> String {
    let granularities = Granularities { segments: true, words: true };
    format::render(&output.transcript, format, granularities)
}

/// Writes every result beside its place first, and moves all of them only then.
fn write_all(job: &Job, output: &Output) -> anyhow::Result<()> {
    let mut written = Vec::new();
    for (format, path) in &job.outputs {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut file = tempfile::Builder::new()
            .prefix(".auris-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        file.write_all(render(output, *format).as_bytes())?;
        file.as_file().sync_all()?;
        written.push((file, path));
    }
    for (file, path) in written {
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn report(output: &Output, started: Instant) -> String {
    let elapsed = started.elapsed().as_secs_f64();
    let duration = output.transcript.duration;
    let truncated = if output.truncated { ", the file ends early" } else { "" };
    format!(
        "{duration:.1} s of {} in {elapsed:.1} s by {}{truncated}",
        output.transcript.language.name(),
        output.model
    )
}

fn bar_style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{wide_msg} {bar:30} {pos}/{len} s of audio, {eta} left")?)
}
