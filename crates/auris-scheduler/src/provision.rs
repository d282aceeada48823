//! Downloads the requested models that are not installed, and adds them to the scheduler. Runs in
//! the server process.
//!
//! Until then, the bundled model does their work. A request switches with its next file, never
//! within one: a file that starts with the bundled model ends with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use metrics::gauge;

use crate::{MemoryNeed, ModelPlan, Scheduler, Variant};
use auris_core::metrics as names;
use auris_models::{
    self, Availability, Catalog, DownloadConfig, DownloadProgress, ModelError, ModelFile,
    ModelStore, PublishedModel,
};

/// The waits between failed downloads, each after several attempts, as multiples of the pause
/// between attempts: 10 s, doubling up to 10 min.
const FIRST_WAIT: u32 = 10;
const LONGEST_WAIT: u32 = 600;

#[derive(Debug, Clone)]
pub struct Provision {
    pub store: ModelStore,
    /// Where models come from.
    pub download: DownloadConfig,
    /// Receives the state of each download.
    pub catalog: Catalog,
    /// Loads the finished models.
    pub scheduler: Scheduler,
    /// Whether short audio is encoded in whole windows of 30 s, too.
    pub whole_windows: bool,
}

impl Provision {
    /// Starts a task for each of the `missing` models, and returns at once.
    pub fn start(self, missing: &[&'static PublishedModel]) {
        self.update_gauges();
        for entry in missing {
            tokio::spawn(self.clone().fetch(entry));
        }
    }

    /// Returns when the model does its own work, or can never be installed.
    async fn fetch(self, entry: &'static PublishedModel) {
        let stand_in = self.catalog.now().stand_in.as_ref().map(|model| model.name.clone());
        let stand_in = stand_in.unwrap_or_default();
        if !self.download.offline {
            tracing::warn!(
                model = entry.name,
                stand_in,
                "the model is not installed: it is downloaded now, and the bundled one does its \
                 work meanwhile; `auris models pull {}` gets it before the start",
                entry.name
            );
        }
        let waits = ExponentialBuilder::new()
            .with_min_delay(self.download.retry_pause * FIRST_WAIT)
            .with_max_delay(self.download.retry_pause * LONGEST_WAIT)
            .without_max_times();
        let mut is_known = false;
        let mut report = |error: &ModelError, wait: Option<Duration>| {
            if std::mem::replace(&mut is_known, true) {
                tracing::debug!(model = entry.name, "downloading failed again: {error}");
            } else {
                tracing::warn!(
                    model = entry.name,
                    stand_in,
                    retry_seconds = wait.map(|wait| wait.as_secs_f64()),
                    "the bundled model continues with this one's work: {error}"
                );
            }
            self.set(entry, Availability::Missing { reason: error.to_string() });
        };
        let download = || self.download(entry);
        let file = download
            .retry(waits)
            .when(|error| !matches!(error, ModelError::Offline { .. }))
            .notify(|error, wait| report(error, Some(wait)));
        let file = tokio::select! {
            () = self.scheduler.ended() => return,
            file = file => file,
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => return report(&error, None),
        };
        self.set(entry, Availability::Loading);
        self.scheduler.add_models(vec![model_plan(&file, &self.store, self.whole_windows)]);
        self.scheduler.when_usable(entry.name).await;
        self.set(entry, Availability::Installed);
        tracing::info!(model = entry.name, "the model does its own work from now on");
        let models = self.catalog.now();
        if let Some(stand_in) = &models.stand_in
            && models.is_complete()
            && models.find(&stand_in.name).is_none()
        {
            self.scheduler.retire_model(&stand_in.name);
        }
    }

    async fn download(&self, entry: &'static PublishedModel) -> Result<ModelFile, ModelError> {
        let reported = Mutex::new(None);
        let on_progress = |progress| {
            let percent = match progress {
                DownloadProgress::Receiving { received_bytes, total_bytes } => {
                    (received_bytes.saturating_mul(100) / total_bytes.max(1)).min(100) as u8
                }
                DownloadProgress::Waiting => 0,
                DownloadProgress::Verifying | DownloadProgress::Done => 100,
            };
            let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.replace(percent) != Some(percent) {
                self.set(entry, Availability::Downloading { percent });
            }
        };
        auris_models::pull(&self.store, entry, &self.download, &on_progress).await
    }

    fn set(&self, entry: &PublishedModel, availability: Availability) {
        self.catalog.set(entry.name, availability);
        self.update_gauges();
    }

    fn update_gauges(&self) {
        for (model, availability) in self.catalog.now().iter() {
            let is_available = *availability == Availability::Installed;
            gauge!(names::MODEL_AVAILABLE, "model" => model.name.clone())
                .set(f64::from(u8::from(is_available)));
        }
    }
}

/// What a device may load for `model`. Looks up its quantised variants in `store`.
pub fn model_plan(model: &ModelFile, store: &ModelStore, whole_windows: bool) -> ModelPlan {
    ModelPlan {
        name: model.name.clone(),
        file: model.path.clone(),
        need: need(model.size_bytes, model.dimensions),
        whole_windows,
        variants: variants(model, store),
    }
}

/// What a model takes on a device.
fn need(size_bytes: u64, dimensions: auris_models::Dimensions) -> MemoryNeed {
    MemoryNeed { weights_bytes: size_bytes, state_bytes: dimensions.slot_bytes() }
}

/// The quantised variants of a model, largest first: all variants of a published model; for any
/// other model, the one with 8-bit weights.
fn variants(model: &ModelFile, store: &ModelStore) -> Vec<Variant> {
    let prefix = format!("{}-q", model.name);
    let of_model = auris_models::REGISTRY.iter().filter(|entry| entry.name.starts_with(&prefix));
    let mut variants: Vec<Variant> = of_model
        .map(|entry| Variant {
            name: entry.name.to_owned(),
            file: store.resolve(entry.name).ok().map(|model| model.path),
            need: need(entry.size_bytes, entry.dimensions),
        })
        .collect();
    if variants.is_empty()
        && let Ok(found) = store.resolve(&format!("{prefix}8_0"))
        && found.path != model.path
    {
        let need = need(found.size_bytes, found.dimensions);
        variants.push(Variant { name: found.name, file: Some(found.path), need });
    }
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.need.weights_bytes));
    variants
}

#[cfg(test)]
mod tests;
