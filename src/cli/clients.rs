//! The options about connections and uploads: what one client may take.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// The most open connections; a quarter of them may be one client's [default: what the limit of
    /// open files allows, at most 1024]
    #[arg(long, env = "AURIS_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Close connections that for this many seconds send no request or take nothing of a response
    #[arg(
        long,
        env = "AURIS_CONNECTION_IDLE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 75.0
    )]
    pub connection_idle_seconds: f64,
    /// The largest upload in bytes
    #[arg(
        long,
        env = "AURIS_MAX_UPLOAD_BYTES",
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..),
        default_value_t = 2 << 30
    )]
    pub max_upload_bytes: u64,
    /// How many seconds a client may send nothing during an upload
    #[arg(long, env = "AURIS_UPLOAD_IDLE_SECONDS", value_name = "SECONDS", default_value_t = 60.0)]
    pub upload_idle_seconds: f64,
    /// The slowest upload in bytes per second, after its first 10 seconds; 0 for no limit
    #[arg(
        long,
        env = "AURIS_MIN_UPLOAD_BYTES_PER_SECOND",
        value_name = "BYTES",
        default_value_t = 500
    )]
    pub min_upload_bytes_per_second: u64,
    /// The longest upload in seconds
    #[arg(
        long,
        env = "AURIS_MAX_UPLOAD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 3600.0
    )]
    pub max_upload_seconds: f64,
    /// Where uploads are stored [default: the system's folder for temporary files]
    #[arg(long, env = "AURIS_SPOOL_DIR", value_name = "FOLDER")]
    pub spool_dir: Option<PathBuf>,
    /// Minutes of audio that may wait before requests are refused
    #[arg(long, env = "AURIS_MAX_QUEUE_MINUTES", value_name = "MINUTES", default_value_t = 240.0)]
    pub max_queue_minutes: f64,
    /// The share of the queue that one client may use: above 0, at most 1
    #[arg(long, env = "AURIS_CALLER_SHARE", value_name = "SHARE", default_value_t = 0.5)]
    pub caller_share: f64,
}
