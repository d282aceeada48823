//! The audio of jobs, until they have ended.
//!
//! A subfolder of the [store](super::store)'s folder. A file gets its name when it is complete and
//! on disk; files that belong to no job are removed at the start.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::store::JobId;

/// The folder's name below that of the store.
const FOLDER: &str = "audio";

const WHOLE: &str = "audio";
const PART: &str = "part";

/// Where the audio of jobs is kept.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

/// A file of the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}: check permissions and the room on the disk", path.display())]
pub struct SpoolError {
    action: &'static str,
    path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl Spool {
    /// Opens the spool below the jobs folder `folder`, and creates it if it is missing.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let spool = Self { folder: folder.join(FOLDER) };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&spool.folder);
        made.map_err(|source| spool.failure("make the folder", &spool.folder, source))?;
        Ok(spool)
    }

    /// An empty file for an upload. It is deleted when dropped.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(&self) -> Result<NamedTempFile, SpoolError> {
        let name = format!(".{PART}");
        let file =
            tempfile::Builder::new().prefix("upload-").suffix(&name).tempfile_in(&self.folder);
        file.map_err(|source| self.failure("make a file in", &self.folder, source))
    }

    /// How many bytes the disk has left.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn free_bytes(&self) -> Result<u64, SpoolError> {
        let room = rustix::fs::statvfs(&self.folder).map_err(io::Error::from);
        let room = room.map_err(|source| self.failure("ask for room in", &self.folder, source))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Makes an upload the audio of a job. Once this returns, not even a power cut loses it.
    ///
    /// # Errors
    /// The file cannot be written to disk or renamed. The next [`Self::sweep`] removes what is left
    /// of it.
    pub async fn keep(&self, upload: NamedTempFile, id: JobId) -> Result<(), SpoolError> {
        let spool = self.clone();
        let path = self.path_of(id);
        let keep = move || {
            upload.as_file().sync_all()?;
            upload.persist_noclobber(&path)?;
            File::open(&spool.folder)?.sync_all()
        };
        let kept = spawn_blocking(keep).await.unwrap_or_else(|error| Err(error.into()));
        kept.map_err(|source| self.failure("keep", &self.path_of(id), source))
    }

    /// The audio of a job.
    ///
    /// # Errors
    /// The file is gone or cannot be read.
    pub fn open_audio(&self, id: JobId) -> Result<File, SpoolError> {
        let path = self.path_of(id);
        File::open(&path).map_err(|source| self.failure("open", &path, source))
    }

    /// Removes the audio of an ended job. A missing file is not an error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        self.remove_file(&self.path_of(id))
    }

    /// Removes files that belong to none of `unfinished`, partial uploads included, and returns how
    /// many. Meant for the start, before anything is received.
    ///
    /// # Errors
    /// The folder cannot be read, or a file cannot be removed.
    pub fn sweep(&self, unfinished: &HashSet<JobId>) -> Result<usize, SpoolError> {
        let failure = |source| self.failure("read", &self.folder, source);
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder).map_err(failure)? {
            let path = entry.map_err(failure)?.path();
            if is_left_over(&path, unfinished) {
                self.remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path_of(&self, id: JobId) -> PathBuf {
        self.folder.join(format!("{id}.{WHOLE}"))
    }

    fn remove_file(&self, path: &Path) -> Result<(), SpoolError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.failure("remove", path, source))
            }
            _ => Ok(()),
        }
    }

    fn failure(&self, action: &'static str, path: &Path, source: io::Error) -> SpoolError {
        SpoolError { action, path: path.to_owned(), source }
    }
}

/// Whether a file is the spool's and no longer needed. Foreign files are left alone.
fn is_left_over(path: &Path, unfinished: &HashSet<JobId>) -> bool {
    let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<JobId>().ok());
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(WHOLE) => id.is_some_and(|id| !unfinished.contains(&id)),
        Some(PART) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
