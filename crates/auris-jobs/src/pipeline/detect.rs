//! Detects the spoken language with a model, from the first chunk, or from the first few if one is
//! short or leaves doubt.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use super::reader::Reader;
use super::{Pipeline, PipelineError, Ticket};
use auris_audio::Chunk;
use auris_core::ipc::Work;
use auris_core::language::Language;
use auris_core::recording::Selection;
use auris_models::StandInReason;
use auris_scheduler::{ChunkDone, ChunkError, ChunkRequest};

/// The language of a file, and how it was detected.
#[derive(Debug)]
pub struct Detection {
    /// The most probable language.
    pub language: Language,
    /// How probable it is, from 0 to 1. Without speech in the file, it is English with 0.
    pub probability: f32,
    /// The result of the detection with the other languages; `None` without speech.
    pub done: Option<ChunkDone>,
}

/// The longest that a chunk is, in seconds.
const CHUNK_SECONDS: f64 = 30.0;

/// A language this probable is accepted, however short the audio.
const CERTAIN: f32 = 0.9;

/// A language this probable is accepted if it was detected from this much audio, in seconds.
const LIKELY: f32 = 0.5;
const ENOUGH_SECONDS: f64 = 10.0;

/// The most chunks to examine.
const MAX_CHUNKS: usize = 3;

impl Pipeline {
    /// Detects the language at the start of a file, or of the `selection` of it. Dropping the future
    /// cancels what is not finished.
    ///
    /// # Errors
    /// [`PipelineError`]; `CannotDetect` if no model knows more than one language.
    pub async fn detect_language(
        &self,
        file: File,
        selection: Selection,
        ticket: Ticket,
    ) -> Result<Detection, PipelineError> {
        let models = self.models.now();
        let model = auris_models::detector(&models.requested).ok_or(PipelineError::CannotDetect)?;
        let detector = Detector { ticket: &ticket, model: models.runner(model), candidates: &[] };
        let mut reader = Reader::open(file, self.chunks, selection, self).await?;
        let seconds = reader.estimated_seconds().min(CHUNK_SECONDS * MAX_CHUNKS as f64);
        ticket.measure(seconds).await?;
        let Some(first) = reader.next().await? else {
            return Ok(Detection { language: Language::ENGLISH, probability: 0.0, done: None });
        };
        let detecting = detector.submit(&first);
        let mut chunks = VecDeque::from([first]);
        let done = detector.conclude(detecting, &mut reader, &mut chunks).await?;
        let Some(&(language, probability)) = done.languages.first() else {
            return Err(PipelineError::CannotDetect);
        };
        Ok(Detection { language, probability, done: Some(done) })
    }
}

/// Detects the language of one file.
pub(super) struct Detector<'a> {
    pub(super) ticket: &'a Ticket,
    /// The model, and why it is not the preferred one.
    pub(super) model: (&'a str, Option<StandInReason>),
    /// The languages to choose among; any if there are none.
    pub(super) candidates: &'a [Language],
}

impl Detector<'_> {
    /// Submits a chunk at once; the result lists the most probable language first.
    pub(super) fn submit(
        &self,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<ChunkDone, ChunkError>> + use<> {
        let (model, stands_in) = self.model;
        let samples = Arc::clone(&chunk.samples);
        self.ticket.run(ChunkRequest {
            model: model.to_owned(),
            work: Work::Detect,
            samples,
            stands_in,
        })
    }

    /// The languages of a file whose `first` chunk is being examined. Reads more chunks if that
    /// leaves doubt, and adds them to `chunks`.
    pub(super) async fn conclude(
        &self,
        first: impl Future<Output = Result<ChunkDone, ChunkError>>,
        reader: &mut Reader,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<ChunkDone, PipelineError> {
        let mut done = first.await?;
        let mut seconds = chunks.iter().map(|chunk| chunk.duration().as_secs_f64()).sum::<f64>();
        while !is_settled(&done.languages, self.candidates, seconds)
            && chunks.len() < MAX_CHUNKS
            && let Some(next) = reader.next().await?
        {
            let more = self.submit(&next).await?;
            let length = next.duration().as_secs_f64();
            done.languages = mean((&done.languages, seconds), (&more.languages, length));
            done.inference_time += more.inference_time;
            done.fallback_reason = done.fallback_reason.or(more.fallback_reason);
            seconds += length;
            chunks.push_back(next);
        }
        Ok(done)
    }
}

/// Whether the most probable candidate is probable enough, among the candidates, for so much audio.
fn is_settled(detected: &[(Language, f32)], candidates: &[Language], seconds: f64) -> bool {
    let possible =
        |found: &&(Language, f32)| candidates.is_empty() || candidates.contains(&found.0);
    let possible = || detected.iter().filter(possible).map(|found| found.1);
    let share = possible().next().unwrap_or(0.0) / possible().sum::<f32>().max(f32::MIN_POSITIVE);
    share >= CERTAIN || (share >= LIKELY && seconds >= ENOUGH_SECONDS)
}

/// The mean of two detections by the length of their audio, most probable first.
fn mean(
    (one, one_seconds): (&[(Language, f32)], f64),
    (other, other_seconds): (&[(Language, f32)], f64),
) -> Vec<(Language, f32)> {
    let share = (one_seconds / (one_seconds + other_seconds).max(f64::MIN_POSITIVE)) as f32;
    let probability = |detected: &[(Language, f32)], language: Language| {
        detected.iter().find(|found| found.0 == language).map_or(0.0, |found| found.1)
    };
    let both = |&(language, _): &(Language, f32)| {
        let (one, other) = (probability(one, language), probability(other, language));
        (language, one * share + other * (1.0 - share))
    };
    let mut mean: Vec<(Language, f32)> = one.iter().map(both).collect();
    mean.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    mean
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

    fn languages(detected: &[(&str, f32)]) -> Vec<(Language, f32)> {
        detected.iter().map(|(code, p)| (Language::parse(code).unwrap(), *p)).collect()
    }

    #[test]
    fn little_audio_must_be_certain_and_more_may_be_likely() {
        let welsh = Language::parse("cy").unwrap();
        for (detected, candidates, seconds, expected) in [
            (&[("en", 0.95)][..], &[][..], 1.0, true),
            (&[("en", 0.7), ("cy", 0.2)], &[], 3.0, false),
            (&[("en", 0.7), ("cy", 0.2)], &[], 12.0, true),
            (&[("cy", 0.4), ("en", 0.35), ("de", 0.25)], &[], 25.0, false),
            // Only what may be chosen counts.
            (&[("en", 0.5), ("cy", 0.3), ("de", 0.01)], &[welsh], 1.0, true),
            (&[], &[], 30.0, false),
        ] {
            let detected = languages(detected);
            assert_eq!(is_settled(&detected, candidates, seconds), expected, "{detected:?}");
        }
    }

    #[test]
    fn longer_audio_weighs_more() {
        let (short, long) =
            (languages(&[("cy", 0.6), ("en", 0.4)]), languages(&[("en", 0.8), ("cy", 0.2)]));
        let mean = mean((&short, 1.0), (&long, 3.0));
        assert_eq!(mean[0].0, Language::ENGLISH);
        assert!((mean[0].1 - 0.7).abs() < 1e-6 && (mean[1].1 - 0.3).abs() < 1e-6);
    }
}
