//! What handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::error::ApiError;
use super::{Cors, Keys};
use auris_jobs::Jobs;
use auris_jobs::pipeline::Pipeline;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Transcribes.
    pub pipeline: Pipeline,
    /// Keeps what outlives its client, or why that is not possible here.
    pub jobs: Result<Jobs, Arc<str>>,
    /// How uploads are received.
    pub uploads: Arc<UploadSettings>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
}

impl AppState {
    /// The jobs of this server.
    pub(super) fn jobs(&self) -> Result<&Jobs, ApiError> {
        self.jobs.as_ref().map_err(|reason| ApiError::no_jobs(reason))
    }
}

/// Who may use the service.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The keys of which requests must have one.
    pub keys: Keys,
    /// The origins whose pages may use it.
    pub cors: Option<Cors>,
}

/// How uploads are received.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// Where they wait; the files there have no name and vanish with the process.
    pub spool: PathBuf,
    /// The largest upload in bytes.
    pub max_bytes: u64,
    /// How long a client may send nothing.
    pub idle_timeout: Duration,
}
