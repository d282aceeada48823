//! What clients may take: connections, uploads and the queue.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{seconds, spool};
use crate::cli::ClientArgs;
use crate::http::{ConnectionLimits, ConnectionSettings, UploadSettings};
use auris_scheduler::Capacity;

/// The most connections unless the operator wants more.
const USUAL_CONNECTIONS: u64 = 1024;

/// Open files of the database, workers, probes and ffmpeg, of jobs at work, and of connections for
/// health checks.
const OTHER_FILES: u64 = 128;

/// The most open files that a connection takes: itself and an upload with its copy.
const FILES_PER_CONNECTION: u64 = 3;

/// Raises the limit of open files as far as this process may, and returns it.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// How connections are served by a process that may open so many files.
pub fn connections(args: &ClientArgs, open_files: u64) -> anyhow::Result<ConnectionSettings> {
    let idle = seconds("--connection-idle-seconds", args.connection_idle_seconds)?;
    let most = open_files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    ensure!(most > 0, "this process may open {open_files} files: raise the limit (`ulimit -n`)");
    let wanted = args.max_connections.map(|wanted| wanted as u64);
    ensure!(wanted != Some(0), "--max-connections starts at 1");
    if let Some(wanted) = wanted.filter(|wanted| *wanted > most) {
        anyhow::bail!(
            "--max-connections {wanted} takes {} open files and this process may have {open_files}: \
             raise the limit (`ulimit -n`), or give at most {most}",
            wanted.saturating_mul(FILES_PER_CONNECTION).saturating_add(OTHER_FILES)
        );
    }
    let total = wanted.unwrap_or(most.min(USUAL_CONNECTIONS)) as usize;
    let limits = ConnectionLimits { total, per_client: total.div_ceil(4) };
    Ok(ConnectionSettings { limits, idle })
}

pub fn uploads(
    args: &ClientArgs,
    connections: &ConnectionSettings,
) -> anyhow::Result<UploadSettings> {
    Ok(UploadSettings {
        spool: spool(args.spool_dir.as_deref())?,
        max_bytes: args.max_upload_bytes,
        idle_timeout: seconds("--upload-idle-seconds", args.upload_idle_seconds)?,
        min_bytes_per_second: args.min_upload_bytes_per_second,
        longest: seconds("--max-upload-seconds", args.max_upload_seconds)?,
        most_per_client: connections.limits.per_client,
    })
}

pub fn capacity(args: &ClientArgs) -> anyhow::Result<Capacity> {
    let total = seconds("--max-queue-minutes", args.max_queue_minutes * 60.0)?;
    let share = args.caller_share;
    ensure!(share > 0.0 && share <= 1.0, "--caller-share must be above 0 and at most 1");
    Ok(Capacity { total_seconds: total.as_secs_f64(), caller_share: share })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn total(arguments: &[&str], open_files: u64) -> Result<usize, String> {
        #[derive(Parser)]
        struct Options {
            #[command(flatten)]
            clients: ClientArgs,
        }
        let options = Options::parse_from(["auris"].iter().chain(arguments));
        let settings = connections(&options.clients, open_files);
        settings.map(|settings| settings.limits.total).map_err(|error| error.to_string())
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(total(&[], 256), Ok(42));
        assert_eq!(total(&[], 1 << 20), Ok(1024));
        assert_eq!(total(&["--max-connections", "5000"], 1 << 20), Ok(5000));
        let error = total(&["--max-connections", "5000"], 1024).unwrap_err();
        assert!(error.contains("give at most 298"), "{error}");
        assert!(total(&[], 100).unwrap_err().contains("ulimit -n"));
        assert!(total(&["--max-connections", "0"], 1024).is_err());
    }
}
