//! The files that are sent, and the right text of each.

use std::io::Cursor;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use fastrand::Rng;
use hound::{SampleFormat, WavSpec, WavWriter};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::bytes::Bytes;

/// A file is sent about so often.
const USES: usize = 12;

const RATE: u32 = 16_000;

pub struct AudioFile {
    pub bytes: Bytes,
    /// What an undisturbed server makes of it.
    pub text: String,
}

/// Files of 5 to 60 seconds to be sent `uses` times, each with sounds of its own, and what `server`
/// makes of them.
pub async fn all(
    rng: &mut Rng,
    client: &Client,
    server: SocketAddr,
    uses: usize,
) -> anyhow::Result<Vec<AudioFile>> {
    while !client.get(format!("http://{server}/readyz")).send().await?.status().is_success() {
        sleep(Duration::from_millis(50)).await;
    }
    let mut files = Vec::new();
    for n in 0..uses.div_ceil(USES) {
        let samples = rng.u32(5 * RATE..60 * RATE);
        let bytes: Bytes = wav(samples, n as f64).into();
        let form = Form::new().text("language", "en");
        let form = form.part("file", Part::stream(Body::from(bytes.clone())).file_name("audio"));
        let url = format!("http://{server}/v1/audio/transcriptions");
        let answer = client.post(url).multipart(form).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        let text = answer["text"].as_str().unwrap_or_default().to_owned();
        ensure!(samples_of(&text) == samples, "{text:?} is not the text of {samples} samples");
        files.push(AudioFile { bytes, text });
    }
    Ok(files)
}

/// How many samples the fake engine has read, as its text says.
fn samples_of(text: &str) -> u32 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let counts = words.windows(2).filter(|pair| pair[1] == "samples");
    counts.filter_map(|pair| pair[0].parse::<u32>().ok()).sum()
}

/// A tone as a WAV file.
fn wav(samples: u32, n: f64) -> Vec<u8> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).expect("memory can be written");
    for sample in 0..samples {
        let phase = f64::from(sample) * (0.05 + n * 1e-3);
        writer.write_sample((phase.sin() * 8_000.0) as i16).expect("memory can be written");
    }
    writer.finalize().expect("memory can be written");
    bytes.into_inner()
}
