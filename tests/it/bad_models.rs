//! Model files that are cut short, or made to crash the loader: told in words, while the other
//! models go on serving.

use std::fs;
use std::path::PathBuf;

use super::harness::{DEMO, Server, clip};

/// The demo model as a file of another name, changed by `change`.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(DEMO).unwrap();
    change(&mut bytes);
    let path = folder.path().join("ggml-own.bin");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where the first tensor's header begins: number of dimensions, length of the name, type.
/// Before it are the magic number, 11 hyperparameters, the filters and the vocabulary.
fn first_tensor(bytes: &[u8]) -> usize {
    let filters = 12 * 4;
    let mut at = filters + 8 + number(bytes, filters) * number(bytes, filters + 4) * 4;
    let words = number(bytes, at);
    at += 4;
    for _ in 0..words {
        at += 4 + number(bytes, at);
    }
    at
}

async fn check(change: impl FnOnce(&mut Vec<u8>)) {
    let (_folder, path) = changed(change);
    let server = Server::demo(&["--models", path.to_str().unwrap()]).await;
    let own = async || {
        let models = server.device("cpu").await["models"].clone();
        models.as_array().unwrap().iter().find(|model| model["name"] == "own").cloned().unwrap()
    };
    let is_told = async || own().await["state"] == "unavailable";
    server.until("the bad model is not told", is_told).await;
    let failure = own().await["last_failure"].clone();
    assert!(!failure["detail"].as_str().unwrap().is_empty(), "{failure}");
    let refused = server.transcribe(clip("00.flac"), &[("model", "own")]).await;
    let message = refused.error(503, "model_unavailable");
    assert!(message.contains("own"), "{message}");
    let served = server.transcribe(clip("00.flac"), &[("model", "demo")]).await;
    assert_eq!(served.text(), "How is the weather in Boston tomorrow?");
}

#[tokio::test]
async fn a_model_that_is_cut_short() {
    check(|bytes| bytes.truncate(bytes.len() / 2)).await;
}

#[tokio::test]
async fn a_tensor_with_more_dimensions_than_there_are() {
    check(|bytes| {
        let at = first_tensor(bytes);
        bytes[at..at + 4].copy_from_slice(&100_000u32.to_le_bytes());
    })
    .await;
}

#[tokio::test]
async fn a_vocabulary_that_is_longer_than_the_file() {
    check(|bytes| {
        let filters = 12 * 4;
        let at = filters + 8 + number(bytes, filters) * number(bytes, filters + 4) * 4;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    })
    .await;
}
