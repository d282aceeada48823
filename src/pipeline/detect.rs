//! Which language is spoken: asked of a model that hears the first chunk.

use std::fs::File;
use std::sync::Arc;

use super::reader::Reader;
use super::{Pipeline, PipelineError, Ticket};
use crate::audio::Chunk;
use crate::ipc::Work;
use crate::language::Language;
use crate::models::{self, ModelFile};
use crate::recording::Selection;
use crate::scheduler::{ChunkDone, ChunkError, ChunkRequest};

/// The language of a file, and how that was found out.
#[derive(Debug)]
pub struct Detection {
    /// The most probable language.
    pub language: Language,
    /// How probable it is, from 0 to 1. English has 0 if nobody speaks in the file.
    pub probability: f32,
    /// What found it out, where, and the other languages; none if nobody speaks.
    pub done: Option<ChunkDone>,
}

/// The longest that the first chunk is, in seconds.
const FIRST_CHUNK_SECONDS: f64 = 30.0;

impl Pipeline {
    /// Finds out which language is spoken at first in a file, or the `selection` of it: decodes the first chunk and no more.
    /// Dropping the future takes back what is not finished.
    ///
    /// # Errors
    /// [`PipelineError`]; `CannotDetect` if no model knows more than one language.
    pub async fn detect_language(
        &self,
        file: File,
        selection: Selection,
        ticket: Ticket,
    ) -> Result<Detection, PipelineError> {
        let detector = models::detector(&self.models).ok_or(PipelineError::CannotDetect)?;
        let mut reader = Reader::open(file, self.chunks, selection, self).await?;
        let seconds = reader.estimated_seconds().min(FIRST_CHUNK_SECONDS);
        ticket.measure(seconds).await?;
        let Some(first) = reader.next().await? else {
            return Ok(Detection { language: Language::ENGLISH, probability: 0.0, done: None });
        };
        let done = detect(&ticket, detector, &first).await?;
        let Some(&(language, probability)) = done.languages.first() else {
            return Err(PipelineError::CannotDetect);
        };
        Ok(Detection { language, probability, done: Some(done) })
    }
}

/// Asks at once for the languages of a chunk, most probable first.
pub(super) fn detect(
    ticket: &Ticket,
    detector: &ModelFile,
    chunk: &Chunk,
) -> impl Future<Output = Result<ChunkDone, ChunkError>> + use<> {
    let request = ChunkRequest {
        model: detector.name.clone(),
        work: Work::Detect,
        samples: Arc::clone(&chunk.samples),
    };
    ticket.run(request)
}

/// The most probable of the `detected` languages that is among the `candidates`, or is any if
/// there are none. The first candidate if none was detected.
pub(super) fn choose(detected: &[(Language, f32)], candidates: &[Language]) -> Option<Language> {
    let mut detected = detected.iter().map(|(language, _)| *language);
    let found = detected.find(|found| candidates.is_empty() || candidates.contains(found));
    found.or_else(|| candidates.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_candidate_is_chosen() {
        let language = |code: &&str| Language::parse(code).unwrap();
        for (candidates, expected) in [
            (&[][..], Some("en")),
            (&["hi", "ta"], Some("hi")),
            (&["ta", "hi"], Some("hi")),
            (&["ta", "en"], Some("en")),
            (&["fr", "de"], Some("fr")),
        ] {
            let candidates: Vec<_> = candidates.iter().map(language).collect();
            let detected = [("en", 0.6), ("hi", 0.3), ("ta", 0.1)];
            let detected = detected.map(|(code, probability)| (language(&code), probability));
            assert_eq!(choose(&detected, &candidates), expected.map(|code| language(&code)));
        }
        assert_eq!(choose(&[], &[]), None);
    }
}
