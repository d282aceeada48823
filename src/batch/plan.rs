//! Which files a command line means, and where their results go. Reads folders, writes nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use walkdir::WalkDir;

use crate::cli::TranscribeArgs;
use auris_format::Format;

/// Extensions of the files that are taken from a folder. A file that is named directly is always
/// tried.
const EXTENSIONS: &[&str] = &[
    "3g2", "3gp", "aac", "aif", "aifc", "aiff", "caf", "flac", "m4a", "m4b", "m4v", "mka", "mkv",
    "mov", "mp2", "mp3", "mp4", "mpga", "oga", "ogg", "opus", "wav", "wave", "weba", "webm",
];

#[derive(Debug)]
pub(super) struct BatchItem {
    pub(super) input: PathBuf,
    /// One for each format; none to print the only one.
    pub(super) outputs: Vec<(Format, PathBuf)>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<BatchItem>,
    /// Inputs that are missing or cannot be read, and why.
    pub(super) failed: Vec<(PathBuf, anyhow::Error)>,
}

/// The files behind the named files and folders, and where their results go.
pub(super) fn plan(args: &TranscribeArgs) -> anyhow::Result<Plan> {
    let Files { found, failed } = find(&args.inputs);
    ensure!(
        !(found.is_empty() && failed.is_empty()),
        "no file here has the extension of an audio file: name a file directly to try it"
    );
    if found.iter().any(|(input, _)| is_standard_input(input)) {
        ensure!(
            !io::stdin().is_terminal(),
            "standard input is a terminal: name a file, or pipe one in"
        );
    }
    let formats = formats(args);
    let Some(folder) = &args.output_dir else {
        if found.len() + failed.len() > 1 || formats.len() > 1 {
            bail!("several results need a folder: give one with --output-dir");
        }
        let job = |(input, _)| BatchItem { input, outputs: Vec::new() };
        return Ok(Plan { jobs: found.into_iter().map(job).collect(), failed });
    };
    ensure!(
        !(formats.contains(&Format::Json) && formats.contains(&Format::VerboseJson)),
        "json and verbose_json would both be .json files: choose one, or run each with its own \
         --output-dir"
    );
    let mut owners: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut jobs = Vec::new();
    for (input, below) in found {
        let place = folder.join(below);
        if let Some(other) = owners.insert(place.with_extension(""), input.clone()) {
            bail!(
                "{} and {} would have the same result file: rename one",
                other.display(),
                input.display()
            );
        }
        let output = |format: &Format| (*format, place.with_extension(format.file_extension()));
        jobs.push(BatchItem { input, outputs: formats.iter().map(output).collect() });
    }
    Ok(Plan { jobs, failed })
}

/// Whether every result of `job` is there.
pub(super) fn is_finished(job: &BatchItem) -> bool {
    !job.outputs.is_empty() && job.outputs.iter().all(|(_, path)| path.is_file())
}

pub(super) fn is_standard_input(input: &Path) -> bool {
    input.as_os_str() == "-"
}

#[derive(Default)]
struct Files {
    /// Each with its place below the output folder.
    found: Vec<(PathBuf, PathBuf)>,
    failed: Vec<(PathBuf, anyhow::Error)>,
}

fn find(inputs: &[PathBuf]) -> Files {
    let mut files = Files::default();
    for input in inputs {
        if is_standard_input(input) {
            files.found.push((input.clone(), "stdin".into()));
            continue;
        }
        match fs::metadata(input).context("cannot be opened") {
            Ok(metadata) if metadata.is_dir() => find_below(input, &mut files),
            Ok(_) => {
                let name = input.file_name().unwrap_or(input.as_os_str());
                files.found.push((input.clone(), name.into()));
            }
            Err(error) => files.failed.push((input.clone(), error)),
        }
    }
    // A file may be named beside its folder.
    let mut seen = HashSet::new();
    files.found.retain(|(input, _)| seen.insert(input.clone()));
    files
}

fn find_below(folder: &Path, files: &mut Files) {
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_audio(entry.path()) => {
                let below = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
                files.found.push((entry.into_path(), below));
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                files.failed.push((path, anyhow::Error::new(error).context("cannot be read")));
            }
        }
    }
}

fn is_audio(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn formats(args: &TranscribeArgs) -> Vec<Format> {
    let mut formats = args.format.clone();
    let mut seen = HashSet::new();
    formats.retain(|format| seen.insert(*format));
    formats
}
