//! From a registry entry to its verified file in the models folder.
//!
//! One download at a time for each file, across processes; it continues where an earlier one ended,
//! and the file appears under its name only when whole, verified and on disk. One request is in
//! `transfer`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::error::ModelError;
use super::progress::DownloadProgress;
use super::registry::{self, PublishedModel};
use super::store::{ModelFile, ModelStore, etag_path, part_path};
use super::transfer::{DownloadConfig, Transfer};

/// Attempts in a row that may bring nothing before the download is given up.
const FRUITLESS_ATTEMPTS: usize = 5;

/// How often a busy lock is tried. Not awaited on a thread, which nothing could then cancel.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// [`ModelStore::resolve`], and where that finds a known model missing, [`pull`].
///
/// # Errors
/// Those of the two. Cancel safe, as [`pull`] is.
pub async fn obtain(
    store: &ModelStore,
    name_or_path: &str,
    config: &DownloadConfig,
    on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
) -> Result<ModelFile, ModelError> {
    match store.resolve(name_or_path) {
        Err(ModelError::NotInstalled { name, url, path }) => match registry::find(&name) {
            Some(entry) => pull(store, entry, config, on_progress).await,
            None => Err(ModelError::NotInstalled { name, url, path }),
        },
        resolved => resolved,
    }
}

/// Downloads `entry` into the store's folder, unless it is installed already.
///
/// A file of that name which is broken, in the folder that may be written, is replaced.
///
/// Cancel safe: when dropped, what has arrived stays as `NAME.bin.part`, and a later call continues
/// from there if the server still has the same version.
///
/// # Errors
/// [`ModelError::Offline`]; [`ModelError::BundledMissing`] for a model that is published nowhere;
/// [`ModelError::Setting`]; [`ModelError::Network`], [`ModelError::Status`] and
/// [`ModelError::WrongFile`] from the transfer; [`ModelError::Checksum`], after which nothing is
/// kept; [`ModelError::Write`].
pub async fn pull(
    store: &ModelStore,
    entry: &PublishedModel,
    config: &DownloadConfig,
    on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
) -> Result<ModelFile, ModelError> {
    let installed = store.resolve_entry(entry);
    if installed.is_ok() || entry.bundled {
        return installed;
    }
    let path = store.path_of(entry);
    let url = entry.url(&config.endpoint);
    if config.offline {
        return Err(ModelError::Offline { name: entry.name.to_owned(), url, path });
    }
    let lock = lock(&path, on_progress).await?;
    let installed = store.resolve_entry(entry);
    if installed.is_ok() {
        return installed;
    }
    let transfer = Transfer::new(entry, config, path.clone(), lock.clone())?;
    tracing::info!(model = entry.name, url, "downloading a model");
    receive(&transfer, config, on_progress).await?;
    on_progress(DownloadProgress::Verifying);
    install(path, url, entry.sha256, lock).await?;
    on_progress(DownloadProgress::Done);
    tracing::info!(model = entry.name, "model downloaded and verified");
    store.resolve_entry(entry)
}

/// Repeats attempts until the part is whole. One that brought bytes starts the count anew, so
/// that a bad line wins in the end against a large file.
async fn receive(
    transfer: &Transfer,
    config: &DownloadConfig,
    on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
) -> Result<(), ModelError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(config.retry_pause)
        .with_max_delay(config.retry_pause * 30)
        .with_max_times(FRUITLESS_ATTEMPTS - 1)
        .with_jitter();
    let mut pauses = backoff.build();
    loop {
        let before = transfer.received_bytes();
        let error = match transfer.attempt(on_progress).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        if transfer.received_bytes() > before {
            pauses = backoff.build();
        }
        let Some(pause) = pauses.next() else { return Err(error) };
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "download interrupted");
        tokio::time::sleep(pause).await;
    }
}

/// The lock on downloads to `path`: an empty file beside it, which stays. It ends with the last
/// clone of the result, or with the process.
async fn lock(
    path: &Path,
    on_progress: &(dyn Fn(DownloadProgress) + Send + Sync),
) -> Result<Arc<File>, ModelError> {
    let path = path.with_extension("bin.lock");
    let failed = |source| ModelError::Write { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file =
        File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let mut waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut waiting, true) {
                    on_progress(DownloadProgress::Waiting);
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            // Some network file systems have no locks; the checksum still guards the result.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Ok(Arc::new(file))
}

/// Checks the part beside `path` and moves it there, on the blocking pool.
async fn install(
    path: PathBuf,
    url: String,
    expected: &'static str,
    lock: Arc<File>,
) -> Result<(), ModelError> {
    let target = path.clone();
    let task = spawn_blocking(move || {
        let _lock = lock;
        let part = part_path(&path);
        let found = sha256(&part)
            .map_err(|source| ModelError::Unreadable { path: part.clone(), source })?;
        let failed = |source| ModelError::Write { path: part.clone(), source };
        if found != expected {
            fs::remove_file(&part).map_err(failed)?;
            let _ = fs::remove_file(etag_path(&path));
            return Err(ModelError::Checksum { url, found, expected: expected.to_owned() });
        }
        fs::rename(&part, &path).map_err(failed)?;
        let _ = fs::remove_file(etag_path(&path));
        // The rename is on disk when the folder is.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()).map_err(failed)
    });
    task.await.unwrap_or_else(|error| Err(ModelError::Write { path: target, source: error.into() }))
}

/// The SHA-256 of a file in lower-case hexadecimal. Blocks for about a second a gigabyte.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests;
