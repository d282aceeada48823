//! Merges chunk results into one transcript. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::Route;
use super::chunk_result::{ChunkResult, seconds};
use super::segment_merger::SegmentMerger;
use auris_core::recording::{Channel, DecodedAudio};
use auris_core::transcript::{Run, SkipReason, Skipped, Task, Transcript};

/// The result of a request and its cost.
#[derive(Debug, Clone)]
pub struct TranscriptionOutput {
    pub transcript: Transcript,
    pub model: String,
    /// The longest time that a chunk waited.
    pub queue_time: Duration,
    /// Time in the engine, over all chunks.
    pub inference_time: Duration,
}

/// Merges `results` of the file that was `decoded`, in any order.
pub(crate) fn output(
    task: Task,
    route: &Route,
    results: &[Arc<ChunkResult>],
    decoded: DecodedAudio,
) -> TranscriptionOutput {
    let DecodedAudio { duration, start_offset, losses } = decoded;
    let mut results: Vec<&ChunkResult> = results.iter().map(|result| &**result).collect();
    results.sort_by_key(|result| result.index);
    let mut runs: Vec<Run> = results.iter().map(|result| result.run.clone()).collect();
    // The retries of the detection belong to the first stretch.
    if let (Some(first), Some(detection)) = (runs.first_mut(), &route.detection) {
        let earlier = detection.fallback_reason.clone();
        first.fallback_reason = earlier.or(first.fallback_reason.take());
    }
    let detection = route.detection.iter().map(|done| (done.queue_time, done.inference_time));
    let chunks = results.iter().map(|result| (result.queue_time, result.inference_time));
    let times = detection.chain(chunks);
    TranscriptionOutput {
        queue_time: times.clone().map(|(queue_time, _)| queue_time).max().unwrap_or_default(),
        inference_time: times.map(|(_, inference_time)| inference_time).sum(),
        transcript: Transcript {
            task,
            language: route.language,
            detected: route.detection.iter().flat_map(|done| done.languages.clone()).collect(),
            duration,
            start_offset,
            losses,
            segments: SegmentMerger::of(results.iter().copied())
                .map(|(segment, _)| segment)
                .collect(),
            runs,
            skipped: skipped(&results, &route.parts.split, duration),
            parts: route.parts.clone(),
        },
        model: route.model.clone(),
    }
}

/// The stretches of the file, or of each channel if it was `split`, that are not in the text.
/// `results` are in order.
fn skipped(results: &[&ChunkResult], split: &[Channel], duration: f64) -> Vec<Skipped> {
    if split.is_empty() {
        return skipped_of(None, results, duration);
    }
    let channels = split.iter().copied().map(Some);
    let mut skipped: Vec<Skipped> =
        channels.flat_map(|channel| skipped_of(channel, results, duration)).collect();
    skipped.sort_by(|one, other| one.start.total_cmp(&other.start));
    skipped
}

/// The stretches of a channel that are not in the text, between its chunks and within them.
fn skipped_of(channel: Option<Channel>, results: &[&ChunkResult], duration: f64) -> Vec<Skipped> {
    let mut skipped = Vec::new();
    let mut end = 0.0;
    let silence = |start: f64, end: f64| {
        (end > start).then_some(Skipped { start, end, reason: SkipReason::NoSpeech, channel })
    };
    for result in results.iter().filter(|result| result.run.channel == channel) {
        skipped.extend(silence(end, seconds(result.start_sample)));
        skipped.extend_from_slice(&result.skipped);
        end = seconds(result.start_sample + result.samples);
    }
    skipped.extend(silence(end, duration));
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::chunk_result::testing::{channel_chunk, chunk, segment};
    use auris_core::language::Language;
    use auris_core::transcript::Segment;

    fn decoded(duration: f64) -> DecodedAudio {
        DecodedAudio { duration, ..DecodedAudio::default() }
    }

    #[test]
    fn chunks_that_finish_out_of_order_are_put_in_order_and_on_the_clock_of_the_file() {
        let results = [
            chunk(1, 20, vec![segment(0.5, 30.0, " world")]),
            chunk(0, 0, vec![segment(1.0, 2.0, " hello"), segment(2.0, 3.0, "  ")]),
        ];
        let language = Language::ENGLISH;
        let route = Route { model: "demo".to_owned(), language, ..Route::default() };
        let output = output(Task::Transcribe, &route, &results, decoded(40.0));
        let Transcript { segments, runs, .. } = output.transcript;
        let times: Vec<_> = segments.iter().map(|s| (s.text.as_str(), s.start, s.end)).collect();
        assert_eq!(times, [(" hello", 1.0, 2.0), (" world", 20.5, 40.0)]);
        assert_eq!(segments[1].words[0].start, 20.5);
        assert_eq!(runs.iter().map(|run| run.start).collect::<Vec<_>>(), [0.0, 20.0]);
    }

    #[test]
    fn silence_and_doubtful_text_are_reported_as_skipped() {
        let doubtful =
            Segment { no_speech_prob: 0.9, avg_logprob: -1.5, ..segment(2.0, 3.0, " a") };
        let results = [chunk(1, 40, vec![doubtful]), chunk(0, 5, vec![segment(0.0, 1.0, " b")])];
        let (english, model) = (Language::ENGLISH, "demo".to_owned());
        let route = Route { model, language: english, ..Route::default() };
        let skipped = |results: &[Arc<ChunkResult>], duration| {
            let transcript =
                output(Task::Transcribe, &route, results, decoded(duration)).transcript;
            let skipped = transcript.skipped.into_iter();
            skipped.map(|s| (s.start, s.end, s.reason)).collect::<Vec<_>>()
        };
        let silence = |start, end| (start, end, SkipReason::NoSpeech);
        assert_eq!(
            skipped(&results, 70.0),
            [
                silence(0.0, 5.0),
                silence(25.0, 40.0),
                (42.0, 43.0, SkipReason::LowConfidence),
                silence(60.0, 70.0)
            ]
        );
        assert_eq!(skipped(&[], 70.0), [silence(0.0, 70.0)]);
        assert_eq!(skipped(&[chunk(0, 0, Vec::new())], 20.0), []);
    }

    #[test]
    fn skipped_stretches_have_their_channel() {
        let right = Some(Channel::Right);
        let results = [channel_chunk(right, 0, 5, vec![segment(0.0, 1.0, " b")]).into()];
        let mut route = Route::default();
        route.parts.split = Channel::all(2);
        let transcript = output(Task::Transcribe, &route, &results, decoded(30.0)).transcript;
        assert_eq!(transcript.segments[0].channel, Some(Channel::Right));
        assert_eq!(transcript.parts.split, Channel::all(2));
        let skipped = transcript.skipped.into_iter().map(|s| (s.channel.unwrap(), s.start, s.end));
        assert_eq!(
            skipped.collect::<Vec<_>>(),
            [(Channel::Left, 0.0, 30.0), (Channel::Right, 0.0, 5.0), (Channel::Right, 25.0, 30.0)]
        );
    }
}
