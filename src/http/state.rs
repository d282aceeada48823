//! What handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::{Cors, Keys};
use crate::pipeline::Pipeline;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Transcribes.
    pub pipeline: Pipeline,
    /// How uploads are received.
    pub uploads: Arc<UploadSettings>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
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
