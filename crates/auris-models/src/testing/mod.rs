//! A model file and a server that misbehaves with it, for tests of this crate and those above it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

pub mod server;

use sha2::{Digest, Sha256};

use crate::{Dimensions, Languages, PublishedModel};

pub const LENGTH: usize = 300_000;

pub fn file() -> Vec<u8> {
    model_bytes(51_865, LENGTH)
}

/// The published model `test`, which is [`file`].
pub fn entry() -> PublishedModel {
    PublishedModel {
        name: "test",
        file_name: "ggml-test.bin",
        size_bytes: LENGTH as u64,
        sha256: hex::encode(Sha256::digest(file())).leak(),
        languages: Languages::Multilingual { count: 99 },
        dimensions: Dimensions {
            state: 384,
            text_layers: 4,
            audio_context: 1_500,
            text_context: 448,
        },
        bundled: false,
    }
}

/// A header of a small multilingual model, followed by `length` bytes in all.
pub fn model_bytes(vocabulary: u32, length: usize) -> Vec<u8> {
    let numbers = [vocabulary, 1_500, 384, 6, 4, 448, 384, 6, 4, 80, 1];
    let mut bytes = crate::header::MAGIC.to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend((bytes.len()..length).map(|index| (index % 251) as u8));
    bytes
}
