//! What can go wrong with the database of jobs, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;

use super::job::JobId;
use auris_core::shortage::Shortage;

/// SQLite's primary result codes (<https://www.sqlite.org/rescode.html>).
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_NOMEM: u32 = 7;
const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_PROTOCOL: u32 = 15;
const SQLITE_NOTADB: u32 = 26;

/// Why a job cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "cannot use {} for jobs: {source}: give a folder that auris may write with --jobs-dir",
        path.display()
    )]
    Folder { path: PathBuf, source: io::Error },

    #[error(
        "the jobs folder {} is in use by another auris: stop that one, or give each a folder of \
         its own with --jobs-dir",
        .0.display()
    )]
    InUse(PathBuf),

    #[error(
        "{} was written by another version of auris: start that version, or move {} aside and run \
         `auris jobs recover`, which queues every job again whose audio is there",
        .0.display(), with_companions(.0)
    )]
    OtherVersion(PathBuf),

    #[error(
        "{} is damaged ({reason}): move {} aside and run `auris jobs recover`, which queues every \
         job again whose audio is there",
        path.display(), with_companions(path)
    )]
    Damaged { path: PathBuf, reason: String },

    #[error("there is no job {0} any more")]
    Gone(JobId),

    #[error("the jobs database {} failed: {source}: check the room on its disk", path.display())]
    Database { path: PathBuf, source: sqlx::Error },
}

impl StoreError {
    /// What the server is short of; the same call may succeed later. `None` for other failures.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        let source = match self {
            Self::Folder { source, .. } => return Shortage::of(source),
            Self::Database { source, .. } => source,
            _ => return None,
        };
        match source {
            sqlx::Error::PoolTimedOut => Some(Shortage::Busy),
            sqlx::Error::WorkerCrashed => Some(Shortage::Processes),
            sqlx::Error::Io(error) => Some(Shortage::of(error).unwrap_or(Shortage::Disk)),
            sqlx::Error::Database(error) => match primary_code(error.as_ref())? {
                SQLITE_BUSY | SQLITE_LOCKED | SQLITE_PROTOCOL => Some(Shortage::Busy),
                SQLITE_NOMEM => Some(Shortage::Memory),
                SQLITE_IOERR => Some(Shortage::Disk),
                SQLITE_FULL => Some(Shortage::DiskSpace),
                SQLITE_CANTOPEN => Some(Shortage::OpenFiles),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn database(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match source.as_database_error() {
            Some(error) if matches!(primary_code(error), Some(SQLITE_CORRUPT | SQLITE_NOTADB)) => {
                Self::Damaged { path, reason: error.message().to_owned() }
            }
            _ => Self::Database { path, source },
        }
    }

    pub(super) fn migration(path: &Path, error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::database(path, error)
            }
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => {
                Self::OtherVersion(path.to_owned())
            }
            error => Self::Database {
                path: path.to_owned(),
                source: sqlx::Error::Migrate(Box::new(error)),
            },
        }
    }
}

/// The lowest byte of SQLite's extended codes.
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    error.code()?.parse::<u32>().ok().map(|code| code & 0xff)
}

/// The database's name with those of the files that belong to it.
fn with_companions(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}, {name}-wal and {name}-shm")
}
