//! Downloads the requested models that are not installed, and adds them to the scheduler. Runs in
//! the server process.
//!
//! Until then, the bundled model does their work. A request switches with its next file, never
//! within one: a file that starts with the bundled model ends with it.

use std::sync::{Mutex, PoisonError};

use metrics::gauge;

use crate::{MemoryNeed, ModelPlan, Scheduler, Variant};
use auris_core::metrics as names;
use auris_models::{
    self, Availability, Catalog, DownloadConfig, Entry, ModelError, ModelFile, Progress, Store,
};

/// The waits between failed downloads, each after several attempts, as multiples of the pause
/// between attempts: 10 s, doubling up to 10 min.
const FIRST_WAIT: u32 = 10;
const LONGEST_WAIT: u32 = 600;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Provision {
    /// The store of installed models.
    pub store: Store,
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
    pub fn start(self, missing: &[&'static Entry]) {
        self.update_gauges();
        for entry in missing {
            tokio::spawn(self.clone().fetch(entry));
        }
    }

    /// Returns when the model does its own work, or can never be installed.
    async fn fetch(self, entry: &'static Entry) {
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
        let mut wait = self.download.retry_pause * FIRST_WAIT;
        let mut is_known = false;
        let file = loop {
            let error = match self.download(entry).await {
                Ok(file) => break file,
                Err(error) => error,
            };
            let is_final = matches!(error, ModelError::Offline { .. });
            if !std::mem::replace(&mut is_known, true) {
                tracing::warn!(
                    model = entry.name,
                    stand_in,
                    retry_seconds = (!is_final).then_some(wait.as_secs_f64()),
                    "the bundled model goes on with this one's work: {error}"
                );
            } else {
                tracing::debug!(model = entry.name, "downloading failed again: {error}");
            }
            self.set(entry, Availability::Missing { reason: error.to_string() });
            if is_final {
                return;
            }
            tokio::select! {
                () = self.scheduler.ended() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(self.download.retry_pause * LONGEST_WAIT);
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
            self.scheduler.stand_down(&stand_in.name);
        }
    }

    async fn download(&self, entry: &'static Entry) -> Result<ModelFile, ModelError> {
        let told = Mutex::new(None);
        let on_progress = |progress| {
            let percent = match progress {
                Progress::Receiving { received_bytes, total_bytes } => {
                    (received_bytes.saturating_mul(100) / total_bytes.max(1)).min(100) as u8
                }
                Progress::Waiting => 0,
                Progress::Verifying | Progress::Done => 100,
            };
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.replace(percent) != Some(percent) {
                self.set(entry, Availability::Downloading { percent });
            }
        };
        auris_models::pull(&self.store, entry, &self.download, &on_progress).await
    }

    fn set(&self, entry: &Entry, availability: Availability) {
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
pub fn model_plan(model: &ModelFile, store: &Store, whole_windows: bool) -> ModelPlan {
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
fn variants(model: &ModelFile, store: &Store) -> Vec<Variant> {
    let prefix = format!("{}-q", model.name);
    let of_model = auris_models::REGISTRY.iter().filter(|entry| entry.name.starts_with(&prefix));
    let mut variants: Vec<Variant> = of_model
        .map(|entry| Variant {
            name: entry.name.to_owned(),
            file: store.resolve(entry.name).ok().map(|model| model.path),
            need: need(entry.size_bytes, entry.dimensions),
        })
        .collect();
    let eight_bits = store.resolve(&format!("{prefix}8_0"));
    if let (true, Ok(found)) = (variants.is_empty(), eight_bits)
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
