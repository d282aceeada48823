//! Whole files through the whole pipeline. What one step does alone is tested in its own module.

mod channels;
mod chunks;
mod codecs;
mod damage;
mod ffmpeg;
mod limits;
mod mutation;
mod onsets;
mod recordings;
mod joined;
mod recordings_headers;
mod silence;
mod tracks;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;

use super::*;
use auris_core::recording::{Selection, TrackChoice, TranscribedParts};

/// A file of tests/fixtures.
fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures", name].iter().collect()
}

pub(super) fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// A file without a name that holds `bytes`.
pub(super) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// What came out of a file.
#[derive(Debug)]
pub(super) struct Decoded {
    info: AudioInfo,
    pub(super) samples: Vec<f32>,
    truncated: bool,
    losses: Losses,
}

fn decode(file: File, limits: &Limits) -> Result<Decoded, AudioError> {
    let mut stream = AudioStream::open(file, limits)?;
    let mut samples = Vec::new();
    while stream.read(&mut samples)? {}
    let truncated = stream.truncated();
    let losses = stream.losses();
    Ok(Decoded { info: stream.info().clone(), samples, truncated, losses })
}

/// The signals of a selected part of a file.
fn decode_selected(
    file: File,
    limits: &Limits,
    (track, channel): (&str, &str),
) -> Result<(TranscribedParts, Vec<Vec<f32>>), AudioError> {
    let track = if track.is_empty() { TrackChoice::Usual } else { track.parse().unwrap() };
    let selection = Selection { track, channel: channel.parse().unwrap() };
    let mut stream = AudioStream::open_selected(file, limits, &selection)?;
    let mut signals = vec![Vec::new(); stream.signals()];
    while stream.read_signals(&mut signals)? {}
    Ok((stream.parts(), signals))
}

pub(super) fn decode_fixture(name: &str) -> Result<Decoded, AudioError> {
    decode(File::open(fixture(name)).unwrap(), &Limits::default())
}

pub(super) fn decode_bytes(bytes: &[u8]) -> Result<Decoded, AudioError> {
    decode(file_of(bytes), &Limits::default())
}

/// A WAV file of `seconds` of a tone at half of full scale, the same in all channels.
fn tone_wav(sample_rate: u32, channels: u16, seconds: f64, frequency_hz: f64) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    let step = std::f64::consts::TAU * frequency_hz / f64::from(sample_rate);
    for frame in 0..(seconds * f64::from(sample_rate)) as u32 {
        for _ in 0..channels {
            writer.write_sample((16_384.0 * (step * f64::from(frame)).sin()) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}
