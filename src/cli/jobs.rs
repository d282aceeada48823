//! The options about jobs and webhooks.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    /// Where jobs and their audio are stored [default: the user's state folder]
    #[arg(long, env = "AURIS_JOBS_DIR", value_name = "FOLDER")]
    pub jobs_dir: Option<PathBuf>,
    /// The most unfinished jobs
    #[arg(long, env = "AURIS_MAX_JOBS", value_name = "N", default_value_t = 1000)]
    pub max_jobs: usize,
    /// Hours to keep finished jobs
    #[arg(long, env = "AURIS_JOB_RETENTION_HOURS", value_name = "HOURS", default_value_t = 24.0)]
    pub job_retention_hours: f64,
    /// The secret that signs webhooks: `whsec_` and base64 of 24 to 64 bytes; two, separated by a
    /// comma, while one replaces the other. Without a secret there are no webhooks
    #[arg(long, env = "AURIS_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// Send webhooks to private addresses too
    #[arg(long, env = "AURIS_WEBHOOK_ALLOW_PRIVATE", value_parser = BoolishValueParser::new())]
    pub webhook_allow_private: bool,
}
