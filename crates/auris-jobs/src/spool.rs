//! The audio of jobs, until they have ended.
//!
//! A subfolder of the [store](super::store)'s folder. A file gets its name when it is complete and
//! on disk; files that belong to no job are removed at the start. Files are touched on the blocking
//! pool only.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::store::JobId;

/// The folder's name below that of the store.
const FOLDER: &str = "audio";

const WHOLE: &str = "audio";
const PART: &str = "part";

/// Where the audio of jobs is kept.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
}

/// A file of the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}: check permissions and the room on the disk", path.display())]
pub struct SpoolError {
    action: &'static str,
    path: PathBuf,
    pub source: io::Error,
}

impl Spool {
    /// Opens the spool below the jobs folder `folder`, and creates it if it is missing. Removes
    /// files that belong to none of `unfinished`, partial uploads included.
    pub(crate) async fn open(
        folder: &Path,
        unfinished: HashSet<JobId>,
    ) -> Result<Self, SpoolError> {
        let folder = folder.join(FOLDER);
        on_disk("make the folder", folder.clone(), |folder| {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)
        })
        .await?;
        on_disk("clean up", folder.clone(), move |folder| sweep(folder, &unfinished)).await?;
        Ok(Self { folder })
    }

    /// An empty file for an upload. It is deleted when dropped.
    pub(crate) async fn create(&self) -> Result<NamedTempFile, SpoolError> {
        let create = |folder: &Path| {
            let suffix = format!(".{PART}");
            tempfile::Builder::new().prefix("upload-").suffix(&suffix).tempfile_in(folder)
        };
        on_disk("make a file in", self.folder.clone(), create).await
    }

    /// How many bytes the disk has left.
    pub(crate) async fn free_bytes(&self) -> Result<u64, SpoolError> {
        on_disk("check the free space in", self.folder.clone(), |folder| {
            let room = rustix::fs::statvfs(folder)?;
            Ok(room.f_bavail.saturating_mul(room.f_frsize))
        })
        .await
    }

    /// Makes an upload the audio of a job. Once this returns, not even a power cut loses it. If it
    /// fails, the next [`Self::open`] removes what is left.
    pub(crate) async fn keep(&self, upload: NamedTempFile, id: JobId) -> Result<(), SpoolError> {
        let folder = self.folder.clone();
        on_disk("keep", self.path_of(id), move |path| {
            upload.as_file().sync_all()?;
            upload.persist_noclobber(path)?;
            File::open(folder)?.sync_all()
        })
        .await
    }

    /// The audio of a job, at its start.
    pub(crate) async fn open_audio(&self, id: JobId) -> Result<File, SpoolError> {
        on_disk("open", self.path_of(id), |path| File::open(path)).await
    }

    /// Removes the audio of an ended job. A missing file is not an error.
    pub(crate) async fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        on_disk("remove", self.path_of(id), remove_file).await
    }

    /// Removes the audio of a refused job, soon. What is left if the server ends first is removed at
    /// its next start.
    pub(crate) fn remove_soon(&self, id: JobId) {
        let spool = self.clone();
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = spool.remove(id).await {
                tracing::warn!(job.id = %id, "audio of a refused job is left over: {error}");
            }
        });
    }

    fn path_of(&self, id: JobId) -> PathBuf {
        self.folder.join(format!("{id}.{WHOLE}"))
    }
}

async fn on_disk<T: Send + 'static>(
    action: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, SpoolError> {
    let place = path.clone();
    let result = spawn_blocking(move || work(&place)).await;
    let result = result.unwrap_or_else(|error| Err(error.into()));
    result.map_err(|source| SpoolError { action, path, source })
}

fn sweep(folder: &Path, unfinished: &HashSet<JobId>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_left_over(&path, unfinished) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
