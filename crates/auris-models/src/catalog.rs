//! The models that a server was started with, and whether each is installed or still missing while
//! another one stands in for it.
//!
//! Pure but for the lock that its handles share.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::store::ModelFile;

/// The models of a server. Cheap to clone; all clones see a change.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<RwLock<Arc<Models>>>);

/// A [`Catalog`] at one moment.
#[derive(Debug, Clone)]
pub struct Models {
    /// The requested models, the default one first. The file of a missing one is where it
    /// will be.
    pub requested: Vec<ModelFile>,
    /// The availability of each of them.
    availability: Vec<Availability>,
    /// The model that stands in for missing ones.
    pub stand_in: Option<ModelFile>,
}

/// Whether a model can be used.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Availability {
    /// It can be used.
    Installed,
    /// Its file is being downloaded.
    Downloading {
        /// What has arrived of it, from 0 to 100.
        percent: u8,
    },
    /// Its file is here, and no device has loaded it yet.
    Loading,
    /// It is not installed.
    Missing {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// Why another model stands in for a model, as responses report it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum StandInReason {
    /// It is being downloaded.
    ModelDownloading,
    /// It is here, and being loaded for the first time.
    ModelLoading,
    /// It is not here, and its download failed or is not allowed.
    ModelNotAvailable,
}

impl Availability {
    fn stand_in_reason(&self) -> Option<StandInReason> {
        match self {
            Self::Installed => None,
            Self::Downloading { .. } => Some(StandInReason::ModelDownloading),
            Self::Loading => Some(StandInReason::ModelLoading),
            Self::Missing { .. } => Some(StandInReason::ModelNotAvailable),
        }
    }
}

impl Catalog {
    /// A catalog of models that are all installed.
    pub fn installed(requested: Vec<ModelFile>) -> Self {
        let availability = vec![Availability::Installed; requested.len()];
        Self(Arc::new(RwLock::new(Arc::new(Models { requested, availability, stand_in: None }))))
    }

    /// A catalog in which the models called `missing` still have to be downloaded, while `stand_in`
    /// stands in for them.
    pub fn with_stand_in(requested: Vec<ModelFile>, missing: &[&str], stand_in: ModelFile) -> Self {
        let availability = requested.iter().map(|model| {
            if missing.contains(&model.name.as_str()) {
                Availability::Downloading { percent: 0 }
            } else {
                Availability::Installed
            }
        });
        let availability = availability.collect();
        let models = Models { requested, availability, stand_in: Some(stand_in) };
        Self(Arc::new(RwLock::new(Arc::new(models))))
    }

    /// The current state.
    pub fn now(&self) -> Arc<Models> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, model: &str, availability: Availability) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = current.requested.iter().position(|own| own.name == model) {
            Arc::make_mut(&mut current).availability[index] = availability;
        }
    }
}

impl Models {
    /// The model for requests that name none; a catalog has at least one.
    pub fn default_model(&self) -> Option<&ModelFile> {
        self.requested.first()
    }

    pub fn find(&self, name: &str) -> Option<&ModelFile> {
        self.requested.iter().find(|model| model.name == name)
    }

    /// Each requested model, and its availability.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelFile, &Availability)> {
        self.requested.iter().zip(&self.availability)
    }

    /// The models to load: the installed ones, and what stands in for the others.
    pub fn loaded(&self) -> Vec<&ModelFile> {
        let installed = self.iter().filter(|(_, state)| **state == Availability::Installed);
        let mut loaded: Vec<&ModelFile> = installed.map(|(model, _)| model).collect();
        if let Some(stand_in) = &self.stand_in
            && loaded.iter().all(|model| model.name != stand_in.name)
        {
            loaded.push(stand_in);
        }
        loaded
    }

    /// Whether a request that began with the model `name` can continue with it.
    pub fn runs(&self, name: &str) -> bool {
        self.loaded().iter().any(|model| model.name == name)
    }

    /// The name of the model that runs for `model`, and why that is another one if it is.
    pub fn runner<'a>(&'a self, model: &'a ModelFile) -> (&'a str, Option<StandInReason>) {
        let own = self.iter().find(|(own, _)| own.name == model.name);
        let reason = own.and_then(|(_, availability)| availability.stand_in_reason());
        match (&self.stand_in, reason) {
            (Some(stand_in), Some(reason)) => (&stand_in.name, Some(reason)),
            _ => (&model.name, None),
        }
    }

    /// Whether every requested model is installed and loaded.
    pub fn is_complete(&self) -> bool {
        self.availability.iter().all(|state| *state == Availability::Installed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{Dimensions, Languages};
    use super::*;

    fn file(name: &str) -> ModelFile {
        ModelFile {
            name: name.to_owned(),
            path: name.into(),
            size_bytes: 1,
            languages: Languages::Multilingual { count: 99 },
            dimensions: Dimensions {
                state: 384,
                text_layers: 4,
                audio_context: 1_500,
                text_context: 448,
            },
        }
    }

    fn loaded(models: &Models) -> Vec<&str> {
        models.loaded().iter().map(|model| model.name.as_str()).collect()
    }

    #[test]
    fn another_model_stands_in_until_a_missing_one_is_installed() {
        let requested = vec![file("tiny"), file("medium")];
        let catalog = Catalog::with_stand_in(requested, &["medium"], file("base"));
        let before = catalog.now();
        let medium = before.find("medium").unwrap();
        assert_eq!(before.runner(medium), ("base", Some(StandInReason::ModelDownloading)));
        assert_eq!(before.runner(before.find("tiny").unwrap()), ("tiny", None));
        assert_eq!(loaded(&before), ["tiny", "base"]);
        assert!(before.find("base").is_none() && before.runs("base") && !before.runs("medium"));

        let reason = "gone".to_owned();
        catalog.set("medium", Availability::Missing { reason });
        let models = catalog.now();
        assert_eq!(models.runner(medium).1, Some(StandInReason::ModelNotAvailable));
        assert!(!models.is_complete());

        catalog.set("medium", Availability::Installed);
        let models = catalog.now();
        assert_eq!(models.runner(medium), ("medium", None));
        assert!(models.is_complete());
        // A request that began earlier continues.
        assert_eq!(before.runner(medium).0, "base");
        assert!(models.runs("base"));
    }

    #[test]
    fn a_requested_stand_in_is_loaded_once() {
        let requested = vec![file("base"), file("medium")];
        let catalog = Catalog::with_stand_in(requested, &["medium"], file("base"));
        assert_eq!(loaded(&catalog.now()), ["base"]);
    }
}
