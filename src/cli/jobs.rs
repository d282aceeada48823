//! The options about jobs and webhooks.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    /// Where jobs and their audio are stored [default: the user's state folder]
    #[arg(long, env = "AURIS_JOBS_DIR", value_name = "FOLDER")]
    pub jobs_dir: Option<PathBuf>,
    /// The most unfinished jobs
    #[arg(long, env = "AURIS_MAX_JOBS", value_name = "N", default_value_t = 1000)]
    pub max_jobs: usize,
    /// The most bytes that the audio of jobs and of uploads that become jobs may take [default: half
    /// of what is free in the folder at the start]
    #[arg(
        long,
        env = "AURIS_MAX_JOBS_BYTES",
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub max_jobs_bytes: Option<u64>,
    /// Hours to keep finished jobs, counted while the server runs
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

#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    pub command: JobsCommand,
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Queue the jobs again whose audio is there and which the database does not know
    ///
    /// For a database that was damaged, lost or moved aside. Stop the server first; the next one runs
    /// the jobs.
    Recover {
        /// Where jobs and their audio are stored [default: the user's state folder]
        #[arg(long, env = "AURIS_JOBS_DIR", value_name = "FOLDER")]
        jobs_dir: Option<PathBuf>,
    },
}
