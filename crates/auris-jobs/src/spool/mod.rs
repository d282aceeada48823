//! The audio of jobs, until they have ended.
//!
//! A subfolder of the [store](super::store)'s folder. Each job has its audio and a record: the job
//! as it was accepted, from which [`Jobs::recover`](crate::Jobs::recover) makes its row again if the
//! database is lost. Until the row is stored, the audio is called `ID.part`, so that what a kill
//! leaves of jobs that were never accepted is known and removed at the start. Files are touched on
//! the blocking pool only.

mod files;
mod orphans;
mod quota;

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::store::{JobId, NewJob};
use auris_core::shortage::Shortage;

use files::{FileKind, SpoolFile};
use quota::SpoolQuota;

pub(crate) use orphans::{Known, Orphan, Orphans};
pub use quota::{QuotaError, SpooledBytes};

/// The folder's name below that of the store.
const FOLDER: &str = "audio";

/// The name of the folder for audio that the database does not know.
const ORPHANED: &str = "orphaned";

/// Where the audio of jobs is kept.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
    orphaned: PathBuf,
    quota: SpoolQuota,
    /// The jobs with audio, and what it takes.
    kept: Arc<Mutex<HashMap<JobId, SpooledBytes>>>,
}

/// A file of the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}: check permissions and the room on the disk", path.display())]
pub struct SpoolError {
    action: &'static str,
    path: PathBuf,
    pub source: io::Error,
}

impl SpoolError {
    /// What the server is short of, if that is the cause.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        Shortage::of(&self.source)
    }
}

impl Spool {
    /// Opens the spool below the jobs folder `folder`, and creates it if it is missing. The audio
    /// may take `most_bytes`, or half of the room that there is without it. [`Self::tidy`] comes next.
    pub(crate) async fn open(folder: &Path, most_bytes: Option<u64>) -> Result<Self, SpoolError> {
        let (orphaned, folder) = (folder.join(ORPHANED), folder.join(FOLDER));
        on_disk("make the folder", folder.clone(), make_folder).await?;
        let quota = SpoolQuota::new(most_bytes);
        Ok(Self { folder, orphaned, quota, kept: Arc::default() })
    }

    /// Checks that there is a spool below `folder`, which may be mistyped.
    pub(crate) async fn check(folder: &Path) -> Result<(), SpoolError> {
        let read = |folder: &Path| fs::read_dir(folder).map(drop);
        on_disk("find the audio of jobs in", folder.join(FOLDER), read).await
    }

    /// An empty file for an upload. It is deleted when dropped.
    pub(crate) async fn create(&self) -> Result<NamedTempFile, SpoolError> {
        on_disk("make a file in", self.folder.clone(), temporary).await
    }

    /// Room for a file; see [`SpoolQuota::begin`].
    pub(crate) fn begin(
        &self,
        caller: &str,
        share: f64,
        declared: u64,
        free: u64,
    ) -> Result<SpooledBytes, QuotaError> {
        self.quota.begin(caller, share, declared, free)
    }

    /// How many bytes the disk has left.
    pub(crate) async fn free_bytes(&self) -> Result<u64, SpoolError> {
        on_disk("check the free space in", self.folder.clone(), free_bytes).await
    }

    /// Stores the upload and the record of a job that is about to be accepted. Once this returns, not
    /// even a power cut loses them. [`Self::accept`] comes next, when the job is in the database.
    pub(crate) async fn keep(&self, upload: NamedTempFile, job: &NewJob) -> Result<(), SpoolError> {
        let (folder, record) = (self.folder.clone(), serde_json::to_vec(job));
        let named = self.path_of(job.id, FileKind::Record);
        on_disk("keep", self.path_of(job.id, FileKind::Part), move |part| {
            upload.as_file().sync_all()?;
            upload.persist_noclobber(part)?;
            let mut file = temporary(&folder)?;
            file.write_all(&record?)?;
            file.as_file().sync_all()?;
            file.persist(named)?;
            sync_folder(&folder)
        })
        .await
    }

    /// Makes the upload of a job that is in the database its audio.
    pub(crate) async fn accept(&self, id: JobId, bytes: SpooledBytes) -> Result<(), SpoolError> {
        self.rename(id, FileKind::Part, FileKind::Audio).await?;
        self.kept().insert(id, bytes);
        Ok(())
    }

    /// Takes [`Self::accept`] back, so that a kill before the row is deleted leaves no orphan.
    pub(crate) async fn withdraw(&self, id: JobId) -> Result<(), SpoolError> {
        self.rename(id, FileKind::Audio, FileKind::Part).await
    }

    async fn rename(&self, id: JobId, from: FileKind, to: FileKind) -> Result<(), SpoolError> {
        let (folder, from) = (self.folder.clone(), self.path_of(id, from));
        let rename = move |to: &Path| {
            match fs::rename(from, to) {
                // An earlier attempt came this far.
                Err(error) if error.kind() == ErrorKind::NotFound && to.exists() => {}
                renamed => renamed?,
            }
            sync_folder(&folder)
        };
        on_disk("rename a file to", self.path_of(id, to), rename).await
    }

    /// The audio of a job, at its start.
    pub(crate) async fn open_audio(&self, id: JobId) -> Result<File, SpoolError> {
        on_disk("open", self.path_of(id, FileKind::Audio), |path| File::open(path)).await
    }

    /// Whether there is audio of this job.
    pub(crate) fn has_audio(&self, id: JobId) -> bool {
        self.kept().contains_key(&id)
    }

    /// Which of `ids` have audio.
    pub(crate) fn with_audio(&self, ids: &[JobId]) -> Vec<JobId> {
        let kept = self.kept();
        ids.iter().filter(|id| kept.contains_key(id)).copied().collect()
    }

    /// Removes all files of a job. That there are none is not an error.
    pub(crate) async fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        on_disk("remove the audio of a job from", self.folder.clone(), move |folder| {
            files::remove(folder, id)
        })
        .await?;
        self.kept().remove(&id);
        Ok(())
    }

    /// Removes the files of a refused job, soon. What is left if the server ends first is removed at
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

    fn kept(&self) -> MutexGuard<'_, HashMap<JobId, SpooledBytes>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, id: JobId, kind: FileKind) -> PathBuf {
        self.folder.join(SpoolFile { id, kind }.to_string())
    }
}

/// How many bytes the disk of a folder has left.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(folder)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Once this returns, not even a power cut undoes what was renamed or created in `folder`.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file with the permissions 0600 that is removed when dropped, or at the next start.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let suffix = format!(".{}", FileKind::Part);
    // `tempfile_in` hides the number of the system's error behind the path.
    let create = |path: &Path| {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    };
    tempfile::Builder::new().prefix("upload-").suffix(&suffix).make_in(folder, create)
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

#[cfg(test)]
mod tests;
