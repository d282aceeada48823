//! What the server must never cost, whatever is sent to it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};

use reqwest::multipart::{Form, Part};
use tokio_util::io::ReaderStream;

use super::harness::{Server, wav};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_large_upload_is_never_whole_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.wav");
    // 8 channels at 192 kHz: many bytes for few seconds.
    let spec = hound::WavSpec {
        channels: 8,
        sample_rate: 192_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let header = spec.into_header_for_infinite_file();
    let mut file = BufWriter::new(File::create(&path).unwrap());
    file.write_all(&header).unwrap();
    let second = vec![0x11; 8 * 2 * 192_000];
    while file.get_ref().metadata().unwrap().len() < 250 * MIB {
        file.write_all(&second).unwrap();
    }
    drop(file);

    let server = Server::fake("none", &[]).await;
    let length = fs::metadata(&path).unwrap().len();
    let body = ReaderStream::new(tokio::fs::File::open(&path).await.unwrap());
    let part = Part::stream_with_length(reqwest::Body::wrap_stream(body), length);
    let answer = server.post(Form::new().part("file", part.file_name("large"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let peak = server.peak_memory();
    assert!(peak < 64 * MIB, "the server took {} MiB", peak / MIB);
}

#[tokio::test]
async fn a_long_file_is_never_whole_in_memory() {
    let server = Server::fake("none,speed=5000", &["--slots", "2"]).await;
    let before = server.peak_memory();
    let answer = server.transcribe(wav(3600.0, 1), &[("response_format", "text")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let grown = server.peak_memory() - before;
    // An hour of samples at 16 kHz is 220 MiB.
    assert!(grown < 40 * MIB, "the server took {} MiB more", grown / MIB);
}
