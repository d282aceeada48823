//! Tests of the engine with the demo model, on the CPU.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use auris_audio::{AudioStream, Limits};
use auris_core::ipc::ChunkOptions;
use auris_core::language::Language;
use auris_core::transcript::Segment;
use auris_worker::{Session, SessionEvent};

fn demo(gpu_index: Option<u32>) -> LoadSpec {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/ggml-demo.bin");
    LoadSpec { model, gpu_index, gpu_uuid: None, slots: 1, threads: 1, whole_windows: false }
}

#[test]
fn a_gpu_that_is_not_there_is_not_replaced_by_the_cpu() {
    // With the CUDA engine, there may be a GPU 0 here.
    let index = if cfg!(feature = "cuda") { 4_000 } else { 0 };
    let failure = load(&demo(Some(index))).map(|loaded| loaded.load_seconds).unwrap_err();
    assert_eq!(failure.kind, FailureKind::WrongDevice, "{failure}");
}

#[test]
fn the_log_contains_the_place_of_the_weights() {
    let spec = demo(None);
    let loaded = load(&spec).unwrap();
    assert!(loaded.gpu.is_none());
    let on_host: u64 = load_log::weights()
        .iter()
        .filter(|weights| weights.buffer.starts_with("CPU"))
        .map(|weights| weights.bytes)
        .sum();
    // If the next version of whisper.cpp logs this differently, adapt `load_log`.
    assert!(on_host > std::fs::metadata(&spec.model).unwrap().len() / 2, "{on_host} bytes");
}

/// The samples of a clip of the evaluation set.
fn clip(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/eval").join(name);
    let mut stream = AudioStream::open(File::open(path).unwrap(), &Limits::default()).unwrap();
    let mut samples = Vec::new();
    while stream.read(&mut samples).unwrap() {}
    samples
}

fn options(language: &str) -> ChunkOptions {
    ChunkOptions::new(Language::parse(language).unwrap())
}

fn transcribe(session: &mut dyn Session, samples: &[f32], options: &ChunkOptions) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut report = |event| {
        if let SessionEvent::Segment(segment) = event {
            segments.push(segment);
        }
    };
    session.transcribe(samples, options, &AtomicBool::new(false), &mut report).unwrap();
    segments
}

#[test]
fn log_probabilities_are_those_of_the_text() {
    let samples = clip("27.flac"); // Hindi, whose tokens are parts of characters
    let mut loaded = load(&demo(None)).unwrap();
    let session = loaded.sessions[0].as_mut();
    let with_logprobs = ChunkOptions { logprobs: true, ..options("hi") };
    let segments = transcribe(session, &samples, &with_logprobs);
    assert!(!segments.is_empty());
    for Segment { text, tokens, logprobs, avg_logprob, .. } in &segments {
        assert_eq!(logprobs.len(), tokens.len());
        let bytes: Vec<u8> = logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), *text);
        assert!(logprobs.iter().all(|token| token.logprob <= 0.0), "{logprobs:?}");
        let sum: f32 = logprobs.iter().map(|token| token.logprob).sum();
        assert!((sum / logprobs.len() as f32 - avg_logprob).abs() < 1e-4);
    }
    let without = transcribe(session, &samples, &options("hi"));
    assert!(without.iter().all(|segment| segment.logprobs.is_empty()));
}

static SILENCE: [f32; 160_000] = [0.0; 160_000];

fn noise() -> Vec<f32> {
    let next = |seed: &u32| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let numbers = std::iter::successors(Some(1), next);
    numbers.take(SILENCE.len()).map(|n: u32| (n >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// The probability of no speech in the first window, by OpenAI's definition.
fn no_speech_prob(samples: &[f32]) -> f32 {
    let model = WhisperModel::load(&demo(None).model, None, false).unwrap();
    let mut state = model.state(1).unwrap();
    state.encode(samples, model.shape.positions).unwrap();
    let logits = state.decode(&[model.shape.start_of_transcript], 0).unwrap();
    let weights: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
    weights[model.shape.no_speech as usize] / weights.iter().sum::<f32>()
}

#[test]
fn a_chunk_decoded_without_sampling_is_the_same_whatever_its_slot_ran_before() {
    let two_windows = clip("29.flac")[..30 * 16_000].to_vec();
    let chunks = [(clip("27.flac"), options("hi")), (two_windows, options("en"))];
    let mut loaded = load(&demo(None)).unwrap();
    let session = loaded.sessions[0].as_mut();
    let first = chunks.each_ref().map(|(samples, options)| transcribe(session, samples, options));
    for before in [&clip("05.flac")[..], &SILENCE, &noise()] {
        for ((samples, options), first) in chunks.iter().zip(&first) {
            transcribe(session, before, options);
            assert_eq!(transcribe(session, samples, options), *first);
        }
        session.detect(before).unwrap();
        assert_eq!(transcribe(session, &chunks[0].0, &chunks[0].1), first[0]);
    }
}

#[test]
fn the_probability_of_no_speech_is_that_of_the_window() {
    let mut loaded = load(&LoadSpec { whole_windows: true, ..demo(None) }).unwrap();
    let session = loaded.sessions[0].as_mut();
    let mut check = |samples: &[f32], language: &str, plausible: std::ops::Range<f32>| {
        let truth = no_speech_prob(samples);
        assert!(plausible.contains(&truth), "{truth}");
        let segments = transcribe(session, samples, &options(language));
        assert!(!segments.is_empty());
        let reported = segments[0].no_speech_prob;
        assert!((reported / truth - 1.0).abs() < 1e-4, "{reported} instead of {truth}");
        segments
    };
    check(&clip("00.flac"), "en", 0.0..0.01);
    check(&clip("27.flac"), "ja", 0.0..0.01);
    let windows = check(&clip("29.flac")[..30 * 16_000], "en", 0.0..0.01);
    let last = windows.last().unwrap();
    assert!(last.end > 29.0 && last.no_speech_prob != windows[0].no_speech_prob);
}

#[test]
fn a_short_window_gives_the_same_text_as_a_whole_one() {
    let whole = LoadSpec { whole_windows: true, ..demo(None) };
    let (mut short, mut whole) = (load(&demo(None)).unwrap(), load(&whole).unwrap());
    let (short, whole) = (short.sessions[0].as_mut(), whole.sessions[0].as_mut());
    let text = |segments: Vec<Segment>| segments.into_iter().map(|s| s.text).collect::<String>();
    for name in ["00.flac", "05.flac", "10.flac", "24.flac"] {
        let samples = clip(name);
        let language = if name == "24.flac" { "hi" } else { "en" };
        let found = text(transcribe(short, &samples, &options(language)));
        assert_eq!(found, text(transcribe(whole, &samples, &options(language))), "{name}");
        assert!(!found.is_empty());
        assert_eq!(short.detect(&samples).unwrap()[0].0.code(), language);
    }
    // The settings of a short window do not affect a later long chunk.
    let long = clip("29.flac")[..28 * 16_000].to_vec();
    assert_eq!(short.detect(&long).unwrap(), whole.detect(&long).unwrap());
}

#[test]
fn an_empty_short_window_is_retried() {
    let progress_events = |whole_windows| {
        let mut loaded = load(&LoadSpec { whole_windows, ..demo(None) }).unwrap();
        let mut count = 0;
        let mut report = |event| count += u32::from(matches!(event, SessionEvent::Progress));
        let cancel = AtomicBool::new(false);
        let samples = &SILENCE[..48_000];
        loaded.sessions[0].transcribe(samples, &options("en"), &cancel, &mut report).unwrap();
        count
    };
    assert!(progress_events(false) > progress_events(true), "the whole window was not tried");
}

#[test]
fn the_attention_is_the_same_with_flash_attention() {
    let samples = clip("00.flac");
    let scores = [false, true].map(|flash| {
        let model = WhisperModel::load(&demo(None).model, None, flash).unwrap();
        let mut state = model.state(1).unwrap();
        state.encode(&samples, 500).unwrap();
        let tokens = model.tokenize(" Hello there, this is a text.");
        let heads = alignment::heads(&model.shape);
        let captured = state.attention(&tokens, &heads, 200).unwrap();
        assert_eq!((captured.len(), captured[0].frames), (heads.len(), 200));
        assert!(captured.iter().all(|head| head.values.len() == 200 * tokens.len()));
        // Without a capture, nothing of a decode is kept.
        state.decode(&tokens, 0).unwrap();
        captured
    });
    let [plain, flash] = &scores;
    for (one, other) in plain.iter().zip(flash) {
        let pairs = one.values.iter().zip(&other.values);
        let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let spread = one.values.iter().copied().fold(f32::MIN, f32::max)
            - one.values.iter().copied().fold(f32::MAX, f32::min);
        assert!(spread > 0.5 && far < spread * 0.05, "{far} of {spread}");
    }
}
