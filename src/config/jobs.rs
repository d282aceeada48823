//! The settings of jobs.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use etcetera::BaseStrategy;

use crate::cli::{JobArgs, ServeArgs};
use auris_jobs::{JobSettings, Secret, WebhookSettings};

/// The settings of jobs, from the options of `serve`; `None` if there is no folder for them.
pub fn jobs(args: &ServeArgs) -> anyhow::Result<Option<JobSettings>> {
    let JobArgs { jobs_dir, max_jobs, max_jobs_bytes, job_retention_hours, .. } = &args.jobs;
    ensure!(*max_jobs > 0, "--max-jobs starts at 1");
    let secret = args.jobs.webhook_secret.as_deref().unwrap_or_default();
    let secrets = secret.split(',').map(str::trim).filter(|secret| !secret.is_empty());
    let secrets = secrets.map(str::parse).collect::<Result<Vec<Secret>, _>>();
    let secrets = secrets.context("--webhook-secret cannot be used")?;
    let allow_private = args.jobs.webhook_allow_private;
    let retention = super::seconds("--job-retention-hours", job_retention_hours * 3600.0)?;
    Ok(jobs_folder(jobs_dir.clone()).map(|folder| JobSettings {
        folder,
        most_unfinished: *max_jobs,
        most_bytes: *max_jobs_bytes,
        caller_share: args.clients.caller_share,
        webhooks: (!secrets.is_empty()).then_some(WebhookSettings { secrets, allow_private }),
        retention,
    }))
}

/// The given folder, or else that of the user; `None` if there is no home folder.
pub fn jobs_folder(given: Option<PathBuf>) -> Option<PathBuf> {
    given.or_else(default_folder)
}

fn default_folder() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.state_dir().unwrap_or_else(|| base.data_dir()).join("auris").join("jobs"))
}
