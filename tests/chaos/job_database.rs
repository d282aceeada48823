//! The server's database while no server runs: read, and damaged.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use fastrand::Rng;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

const DATABASE: &str = "jobs.db";
const LOG: &str = "jobs.db-wal";

/// The most places that are overwritten.
const MOST_PLACES: usize = 4;

/// The jobs that have ended. Reads a copy, since closing a database empties its log.
pub async fn ended(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let copy = tempfile::tempdir()?;
    for name in [DATABASE, LOG] {
        if folder.join(name).exists() {
            fs::copy(folder.join(name), copy.path().join(name))?;
        }
    }
    let options = SqliteConnectOptions::new().filename(copy.path().join(DATABASE));
    let pool = SqlitePool::connect_with(options).await?;
    let ids = sqlx::query_scalar("SELECT id FROM jobs WHERE ended_at IS NOT NULL");
    let ids: Vec<String> = ids.fetch_all(&pool).await?;
    pool.close().await;
    Ok(ids.into_iter().collect())
}

/// Overwrites some of the log with random bytes; returns whether there was a log.
pub fn damage_log(folder: &Path, rng: &mut Rng) -> anyhow::Result<bool> {
    let Ok(mut log) = fs::OpenOptions::new().write(true).open(folder.join(LOG)) else {
        return Ok(false);
    };
    let length = log.metadata()?.len();
    if length == 0 {
        return Ok(false);
    }
    for _ in 0..rng.usize(1..=MOST_PLACES) {
        let mut bytes = vec![0; rng.usize(16..2_000)];
        rng.fill(&mut bytes);
        log.seek(SeekFrom::Start(rng.u64(..length)))?;
        log.write_all(&bytes)?;
    }
    Ok(true)
}

/// Moves the database out of the way, as the server advises if it cannot read it.
pub fn set_aside(folder: &Path) -> anyhow::Result<()> {
    for name in [DATABASE, LOG, "jobs.db-shm"] {
        let path = folder.join(name);
        if path.exists() {
            fs::rename(&path, folder.join(format!("damaged-{name}")))?;
        }
    }
    Ok(())
}
