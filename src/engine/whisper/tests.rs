//! The engine on the bundled demo model, on the CPU.

use std::fs::File;
use std::path::Path;

use super::*;
use crate::audio::{AudioStream, Limits};
use crate::language::Language;
use crate::transcript::{Segment, Task};

fn demo(gpu_index: Option<u32>) -> LoadSpec {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ggml-demo-q8_0.bin");
    LoadSpec { model, gpu_index, gpu_uuid: None, slots: 1, threads: 1 }
}

#[test]
fn a_gpu_that_is_not_there_is_not_replaced_by_the_cpu() {
    // With the CUDA engine there may be a GPU 0 here.
    let index = if cfg!(feature = "cuda") { 4_000 } else { 0 };
    let failure = load(&demo(Some(index))).map(|loaded| loaded.load_seconds).unwrap_err();
    assert_eq!(failure.kind, FailureKind::WrongDevice, "{failure}");
}

#[test]
fn the_log_tells_where_the_weights_are() {
    let spec = demo(None);
    let loaded = load(&spec).unwrap();
    assert!(loaded.gpu.is_none());
    let on_host: u64 = load_log::weights()
        .iter()
        .filter(|weights| weights.buffer.starts_with("CPU"))
        .map(|weights| weights.bytes)
        .sum();
    // The next version of whisper.cpp may log it otherwise: then `load_log` is to be changed.
    assert!(on_host > std::fs::metadata(&spec.model).unwrap().len() / 2, "{on_host} bytes");
}

/// What is heard in a Hindi clip, whose tokens are parts of characters.
fn transcribe(logprobs: bool) -> Vec<Segment> {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eval/27.flac");
    let mut stream = AudioStream::open(File::open(clip).unwrap(), &Limits::default()).unwrap();
    let mut samples = Vec::new();
    while stream.read(&mut samples).unwrap() {}
    let options = ChunkOptions {
        task: Task::Transcribe,
        language: Language::parse("hi").unwrap(),
        prompt: None,
        temperature: 0.0,
        words: false,
        logprobs,
    };
    let mut segments = Vec::new();
    let mut tell = |event| {
        if let SessionEvent::Segment(segment) = event {
            segments.push(segment);
        }
    };
    let mut loaded = load(&demo(None)).unwrap();
    loaded.sessions[0].transcribe(&samples, &options, &AtomicBool::new(false), &mut tell).unwrap();
    segments
}

#[test]
fn log_probabilities_are_those_of_the_text() {
    let segments = transcribe(true);
    assert!(!segments.is_empty());
    for Segment { text, tokens, logprobs, avg_logprob, .. } in &segments {
        assert_eq!(logprobs.len(), tokens.len());
        let bytes: Vec<u8> = logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), *text);
        assert!(logprobs.iter().all(|token| token.logprob <= 0.0), "{logprobs:?}");
        let sum: f32 = logprobs.iter().map(|token| token.logprob).sum();
        assert!((sum / logprobs.len() as f32 - avg_logprob).abs() < 1e-4);
    }
    let unasked = transcribe(false);
    assert!(unasked.iter().all(|segment| segment.logprobs.is_empty()));
}
