//! A request that has been checked.

use std::fs::File;

use super::reader::Reader;
use super::{Pipeline, PipelineError, TranscriptionRequest, check_language};
use auris_core::transcript::Options;
use auris_models::{AliasTarget, ModelFile};

/// A request whose file is open, and whose model and language are checked.
pub struct Prepared {
    pub(super) pipeline: Pipeline,
    pub(super) reader: Reader,
    /// The model that was asked for by name.
    pub(super) model: Option<ModelFile>,
    pub(super) options: Options,
}

impl Pipeline {
    /// Opens a file, which is at its start, and checks that it can be transcribed as requested.
    ///
    /// # Errors
    /// [`PipelineError`], except refusals and those of single chunks.
    pub async fn prepare(
        &self,
        file: File,
        request: TranscriptionRequest,
    ) -> Result<Prepared, PipelineError> {
        let TranscriptionRequest { model, options, chunks, selection } = request;
        let model = self.find_model(model.as_deref())?;
        check_language(model.as_ref(), options.language)?;
        let reader = Reader::open(file, chunks, selection, self).await?;
        Ok(Prepared { pipeline: self.clone(), reader, model, options })
    }

    /// Finds a model of this server by name. `None` for names that leave the choice to the service.
    ///
    /// # Errors
    /// [`PipelineError::UnknownModel`].
    pub fn find_model(&self, name: Option<&str>) -> Result<Option<ModelFile>, PipelineError> {
        let name = name.unwrap_or_default();
        let models = self.models.now();
        let alias = self.aliases.resolve(name);
        let found = models.find(name).or_else(|| match alias? {
            AliasTarget::Model(model) => models.find(model),
            AliasTarget::ByLanguage => None,
        });
        match (found, alias) {
            (Some(model), _) => Ok(Some(model.clone())),
            (None, Some(AliasTarget::ByLanguage)) => Ok(None),
            (None, _) => {
                let loaded: Vec<&str> = models.requested.iter().map(|m| m.name.as_str()).collect();
                let (name, loaded) = (name.chars().take(60).collect(), loaded.join(", "));
                Err(PipelineError::UnknownModel { name, loaded })
            }
        }
    }
}

impl Prepared {
    /// The model that was asked for; `None` if the language decides.
    pub(crate) fn model_name(&self) -> Option<&str> {
        self.model.as_ref().map(|model| model.name.as_str())
    }

    /// The length of the audio in seconds: an estimate if the file does not declare it.
    pub fn estimated_seconds(&self) -> f64 {
        self.reader.estimated_seconds()
    }
}
