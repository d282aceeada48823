//! Merges chunk results into one transcript. Pure.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::segment_merger::SegmentMerger;
use super::{Route, hallucination_filter};
use auris_audio::SAMPLE_RATE_HZ;
use auris_core::recording::Channel;
use auris_core::transcript::{Run, Segment, SkipReason, Skipped, Task, Transcript, Word};
use auris_scheduler::ChunkDone;

/// A finished chunk and its position in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChunkResult {
    /// Its place, from 0.
    pub index: usize,
    /// Its first sample, counted at 16 kHz from the start of the file.
    pub start_sample: u64,
    /// Its length in samples.
    pub samples: u64,
    /// Its channel, if each is transcribed on its own.
    pub channel: Option<Channel>,
    /// The engine's result.
    pub done: ChunkDone,
}

impl ChunkResult {
    /// When it starts, in seconds from the start of the file.
    pub fn start_seconds(&self) -> f64 {
        seconds(self.start_sample)
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        seconds(self.samples)
    }

    /// Its segments on the file's clock, without those that are empty or cannot be trusted.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.filtered().kept.into_iter()
    }

    /// The stretches whose text cannot be trusted.
    fn skipped(&self) -> impl Iterator<Item = Skipped> {
        self.filtered().skipped.into_iter()
    }

    fn filtered(&self) -> hallucination_filter::Filtered {
        let (start, end) = (seconds(self.start_sample), seconds(self.start_sample + self.samples));
        let spoken = self.done.segments.iter().filter(|segment| !segment.text.trim().is_empty());
        let channel = self.channel;
        hallucination_filter::filter_segments(
            spoken.map(|segment| Segment { channel, ..shift(segment.clone(), start, end) }),
        )
    }

    /// Where it was transcribed.
    pub fn run(&self) -> Run {
        Run {
            start: seconds(self.start_sample),
            end: seconds(self.start_sample + self.samples),
            device: self.done.device.clone(),
            backend: self.done.backend,
            model: self.done.model.clone(),
            fallback_reason: self.done.fallback_reason.clone(),
            channel: self.channel,
        }
    }
}

/// The result of a request and its cost.
#[derive(Debug, Clone)]
pub struct Output {
    /// The result.
    pub transcript: Transcript,
    /// The model that ran.
    pub model: String,
    /// Whether the file ended early; what it had was transcribed.
    pub truncated: bool,
    /// The longest time that a chunk waited.
    pub queue_time: Duration,
    /// Time in the engine, over all chunks.
    pub inference_time: Duration,
}

/// Merges `results`, in any order. `duration` is the file's length in seconds.
pub fn output(
    task: Task,
    route: &Route,
    results: &[Arc<ChunkResult>],
    duration: f64,
    truncated: bool,
) -> Output {
    let mut results: Vec<&ChunkResult> = results.iter().map(|result| &**result).collect();
    results.sort_by_key(|result| result.index);
    let mut runs: Vec<Run> = results.iter().map(|result| result.run()).collect();
    // The retries of the detection belong to the first stretch.
    if let (Some(first), Some(detection)) = (runs.first_mut(), &route.detection) {
        let earlier = detection.fallback_reason.clone();
        first.fallback_reason = earlier.or(first.fallback_reason.take());
    }
    let done = || route.detection.iter().chain(results.iter().map(|result| &result.done));
    Output {
        queue_time: done().map(|done| done.queue_time).max().unwrap_or_default(),
        inference_time: done().map(|done| done.inference_time).sum(),
        transcript: Transcript {
            task,
            language: route.language,
            detected: route.detection.iter().flat_map(|done| done.languages.clone()).collect(),
            duration,
            segments: SegmentMerger::of(results.iter().copied())
                .map(|(segment, _)| segment)
                .collect(),
            runs,
            skipped: skipped(&results, &route.heard.split, duration),
            heard: route.heard.clone(),
        },
        model: route.model.clone(),
        truncated,
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
    let mut heard = 0.0;
    let silence = |start: f64, end: f64| {
        (end > start).then_some(Skipped { start, end, reason: SkipReason::NoSpeech, channel })
    };
    for result in results.iter().filter(|result| result.channel == channel) {
        skipped.extend(silence(heard, result.start_seconds()));
        skipped.extend(result.skipped());
        heard = result.start_seconds() + result.seconds();
    }
    skipped.extend(silence(heard, duration));
    skipped
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE_HZ)
}

/// Moves a segment from its chunk's clock to the file's. whisper.cpp pads a chunk to 30 s, and
/// may place an end in the padding.
fn shift(segment: Segment, chunk_start: f64, chunk_end: f64) -> Segment {
    let at = |seconds: f64| (chunk_start + seconds).clamp(chunk_start, chunk_end);
    let word = |word: Word| Word { start: at(word.start), end: at(word.end), ..word };
    Segment {
        start: at(segment.start),
        end: at(segment.end),
        words: segment.words.into_iter().map(word).collect(),
        ..segment
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use auris_core::device::{Backend, DeviceId};
    use auris_core::language::Language;

    pub(in crate::pipeline) fn segment(start: f64, end: f64, text: &str) -> Segment {
        Segment {
            start,
            end,
            text: text.to_owned(),
            tokens: Vec::new(),
            temperature: 0.0,
            avg_logprob: 0.0,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
            words: vec![Word { text: text.trim().to_owned(), start, end, probability: 1.0 }],
            logprobs: Vec::new(),
            channel: None,
        }
    }

    pub(in crate::pipeline) fn chunk(
        index: usize,
        start: u64,
        segments: Vec<Segment>,
    ) -> Arc<ChunkResult> {
        Arc::new(ChunkResult {
            index,
            start_sample: start * 16_000,
            samples: 20 * 16_000,
            channel: None,
            done: ChunkDone {
                segments,
                languages: Vec::new(),
                device: DeviceId::cpu(),
                backend: Backend::Cpu,
                model: "demo".to_owned(),
                fallback_reason: None,
                queue_time: Duration::ZERO,
                inference_time: Duration::ZERO,
            },
        })
    }

    #[test]
    fn chunks_that_finish_out_of_order_are_put_in_order_and_on_the_clock_of_the_file() {
        let results = [
            chunk(1, 20, vec![segment(0.5, 30.0, " world")]),
            chunk(0, 0, vec![segment(1.0, 2.0, " hello"), segment(2.0, 3.0, "  ")]),
        ];
        let language = Language::ENGLISH;
        let route = Route { model: "demo".to_owned(), language, ..Route::default() };
        let output = output(Task::Transcribe, &route, &results, 40.0, false);
        let Transcript { segments, runs, .. } = output.transcript;
        let times: Vec<_> = segments.iter().map(|s| (s.text.as_str(), s.start, s.end)).collect();
        assert_eq!(times, [(" hello", 1.0, 2.0), (" world", 20.5, 40.0)]);
        assert_eq!(segments[1].words[0].start, 20.5);
        assert_eq!(runs.iter().map(|run| run.start).collect::<Vec<_>>(), [0.0, 20.0]);
    }

    #[test]
    fn what_is_between_chunks_or_cannot_be_trusted_is_skipped() {
        let doubtful =
            Segment { no_speech_prob: 0.9, avg_logprob: -1.5, ..segment(2.0, 3.0, " a") };
        let results = [chunk(1, 40, vec![doubtful]), chunk(0, 5, vec![segment(0.0, 1.0, " b")])];
        let (english, model) = (Language::ENGLISH, "demo".to_owned());
        let route = Route { model, language: english, ..Route::default() };
        let skipped = |results: &[Arc<ChunkResult>], duration| {
            let transcript = output(Task::Transcribe, &route, results, duration, false).transcript;
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
    fn what_is_skipped_of_each_channel_is_reported_with_it() {
        let result = Arc::unwrap_or_clone(chunk(0, 5, vec![segment(0.0, 1.0, " b")]));
        let results = [Arc::new(ChunkResult { channel: Some(Channel::Right), ..result })];
        let mut route = Route::default();
        route.heard.split = Channel::all(2);
        let transcript = output(Task::Transcribe, &route, &results, 30.0, false).transcript;
        assert_eq!(transcript.segments[0].channel, Some(Channel::Right));
        assert_eq!(transcript.heard.split, Channel::all(2));
        let skipped = transcript.skipped.into_iter().map(|s| (s.channel.unwrap(), s.start, s.end));
        assert_eq!(
            skipped.collect::<Vec<_>>(),
            [(Channel::Left, 0.0, 30.0), (Channel::Right, 0.0, 5.0), (Channel::Right, 25.0, 30.0)]
        );
    }
}
