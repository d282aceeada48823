//! The names of files in the spool: a job's id, and what it is.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::JobId;

/// What a file of the spool is, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(super) enum FileKind {
    /// The audio of an accepted job.
    Audio,
    /// An upload, or the audio of a job that is not accepted yet.
    Part,
    /// A job as it was accepted, as JSON.
    #[strum(serialize = "json")]
    Record,
}

/// A file of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpoolFile {
    pub(super) id: JobId,
    pub(super) kind: FileKind,
}

impl SpoolFile {
    /// What a file is by its name; `None` for foreign files.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let id = path.file_stem()?.to_str()?.parse().ok()?;
        Some(Self { id, kind: kind(path)? })
    }
}

impl fmt::Display for SpoolFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.kind)
    }
}

/// Whether a file is an upload that a kill has left, or was of a job that was never accepted.
pub(super) fn is_part(path: &Path) -> bool {
    kind(path) == Some(FileKind::Part)
}

fn kind(path: &Path) -> Option<FileKind> {
    path.extension()?.to_str()?.parse().ok()
}

/// What is in `folder`; nothing if it is missing.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Removes all files of a job, the audio first: a record alone is removed at the next start.
pub(super) fn remove(folder: &Path, id: JobId) -> io::Result<()> {
    for kind in [FileKind::Audio, FileKind::Part, FileKind::Record] {
        remove_file(&folder.join(SpoolFile { id, kind }.to_string()))?;
    }
    Ok(())
}

/// A missing file is not an error.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
