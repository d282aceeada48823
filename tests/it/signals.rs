//! Sounds to send: silence, noise, hum, clips, and what is put together of them. At 16 kHz.

use std::f64::consts::TAU;
use std::fs::File;

use auris_audio::{AudioStream, Limits, SAMPLE_RATE_HZ};

use super::harness::repository;

const RATE: f64 = SAMPLE_RATE_HZ as f64;

fn count(seconds: f64) -> usize {
    (seconds * RATE) as usize
}

pub fn silence(seconds: f64) -> Vec<f32> {
    vec![0.0; count(seconds)]
}

/// A tone with `peak` as its largest sample.
pub fn tone(seconds: f64, frequency_hz: f64, peak: f64) -> Vec<f32> {
    let phase = |n: usize| n as f64 / RATE * frequency_hz * TAU;
    (0..count(seconds)).map(|n| (phase(n).sin() * peak) as f32).collect()
}

/// Noise with `level` as its root mean square.
pub fn white_noise(seconds: f64, level: f32) -> Vec<f32> {
    let mut state = 1_u32;
    let random = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    at_level((0..count(seconds)).map(random).collect(), level)
}

/// The same with equal power in each octave (Paul Kellet's economy filter).
pub fn pink_noise(seconds: f64, level: f32) -> Vec<f32> {
    let mut poles = [0.0_f32; 3];
    let mut pink = white_noise(seconds, 1.0);
    for sample in &mut pink {
        let white = *sample;
        poles[0] = 0.997_65 * poles[0] + white * 0.099_046;
        poles[1] = 0.963 * poles[1] + white * 0.296_516_4;
        poles[2] = 0.57 * poles[2] + white * 1.052_691_3;
        *sample = poles.iter().sum::<f32>() + white * 0.184_8;
    }
    at_level(pink, level)
}

/// The root mean square.
pub fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).sqrt()
}

fn at_level(mut samples: Vec<f32>, wanted: f32) -> Vec<f32> {
    let gain = wanted / level(&samples);
    samples.iter_mut().for_each(|sample| *sample *= gain);
    samples
}

pub fn mix(samples: &[f32], other: &[f32]) -> Vec<f32> {
    samples.iter().zip(other).map(|(one, other)| one + other).collect()
}

/// A clip of the evaluation set.
pub fn speech(name: &str) -> Vec<f32> {
    let file = File::open(repository("tests/fixtures/eval").join(name)).unwrap();
    let mut stream = AudioStream::open(file, &Limits::default()).unwrap();
    let mut samples = Vec::new();
    while stream.read(&mut samples).unwrap() {}
    samples
}

/// As a WAV file of 16-bit samples.
pub fn wav_of(samples: &[f32]) -> Vec<u8> {
    wav_of_channels(&[samples.to_vec()])
}

/// The same with several channels, each as long as the longest.
pub fn wav_of_channels(channels: &[Vec<f32>]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: channels.len() as u16,
        sample_rate: SAMPLE_RATE_HZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for frame in 0..channels.iter().map(Vec::len).max().unwrap_or(0) {
        for channel in channels {
            let sample = channel.get(frame).copied().unwrap_or(0.0);
            writer.write_sample((sample * 32_767.0) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// A mono WAV file of 16-bit samples at 16 kHz: `seconds` of a quiet tone that `seed` changes.
pub fn wav(seconds: f64, seed: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for n in 0..(seconds * 16_000.0) as u32 {
        let phase = f64::from(n) * (0.05 + f64::from(seed % 997) * 1e-4);
        writer.write_sample((phase.sin() * 8_000.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}
