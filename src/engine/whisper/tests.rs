//! The engine on the bundled demo model, on the CPU.

use std::path::Path;

use super::*;

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
