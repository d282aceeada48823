//! What handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::cors::Cors;
use super::error::ApiError;
use super::hosts::Hosts;
use super::keys::Keys;
use super::upload::OpenUploads;
use auris_jobs::Jobs;
use auris_jobs::pipeline::Pipeline;

/// Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub pipeline: Pipeline,
    /// Or why this server runs no jobs.
    pub jobs: Result<Jobs, Arc<str>>,
    pub uploads: Arc<UploadSettings>,
    pub open_uploads: OpenUploads,
    pub metrics: PrometheusHandle,
}

impl AppState {
    pub(super) fn jobs(&self) -> Result<&Jobs, ApiError> {
        self.jobs.as_ref().map_err(|reason| ApiError::no_jobs(reason))
    }
}

/// Who may use the service.
#[derive(Debug, Clone, Default)]
pub struct AccessControl {
    pub keys: Keys,
    pub cors: Option<Cors>,
    pub hosts: Hosts,
}

/// How uploads are received.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// The folder for uploads; files there have no name and vanish with the process.
    pub spool: PathBuf,
    pub max_bytes: u64,
    /// How long a client may send nothing.
    pub idle_timeout: Duration,
    /// The slowest upload; 0 for no limit.
    pub min_bytes_per_second: u64,
    /// The longest upload.
    pub longest: Duration,
    /// How many uploads a client may have open.
    pub most_per_client: usize,
}
