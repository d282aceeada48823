//! How much voice activity detection keeps of spoken words, and of files without speech:
//! `cargo bench --bench voice_activity -- FOLDER [WORDS]`.
//!
//! `FOLDER/truth.json` is a list of `{"file": …, "kind": …}`, where the kind `nonspeech` means no
//! speech. WORDS, or else `FOLDER/word_times.json`, is `{"files": {FILE: [[WORD, START, END], …]}}`
//! with times in seconds; bench/word_times.py writes one.
//!
//! Prints a table: recordings as they are, quieter, and beside noise. A word is lost if less than
//! half of it is in a chunk.

#![allow(clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use auris_audio::{AudioStream, ChunkPolicy, Chunks, Ffmpeg, Limits, SAMPLE_RATE_HZ};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recording {
    file: String,
    kind: String,
}

/// A word, its start and its end in seconds.
type Word = (String, f64, f64);

#[derive(Deserialize)]
struct Words {
    files: BTreeMap<String, Vec<Word>>,
}

/// What is done to a recording.
enum Condition {
    AsItIs,
    /// Its loud parts are brought to this level, in dB of full scale.
    Quiet(f32),
    /// Its loud parts are brought to -20 dB, and noise of so many dB less is added.
    Beside(Noise, f32),
}

#[derive(Clone, Copy)]
enum Noise {
    White,
    Pink,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(folder) = arguments.next() else {
        println!("voice_activity: give a folder of recordings");
        return Ok(());
    };
    let folder = Path::new(&folder);
    let words = arguments.next().map_or_else(|| folder.join("word_times.json"), Into::into);
    let words: Words = read(&words)?;
    let recordings: Vec<Recording> = read(&folder.join("truth.json"))?;

    println!("| recordings | words lost | kept where nobody speaks |\n|---|---|---|");
    use Condition::{AsItIs, Beside, Quiet};
    for (name, condition) in [
        ("as they are", AsItIs),
        ("at -30 dB", Quiet(-30.0)),
        ("at -40 dB", Quiet(-40.0)),
        ("at -50 dB", Quiet(-50.0)),
        ("white noise of 10 dB less", Beside(Noise::White, 10.0)),
        ("white noise of 5 dB less", Beside(Noise::White, 5.0)),
        ("pink noise of 10 dB less", Beside(Noise::Pink, 10.0)),
        ("pink noise of 5 dB less", Beside(Noise::Pink, 5.0)),
    ] {
        let mut row = Row::default();
        for recording in &recordings {
            let is_silent = recording.kind == "nonspeech";
            let times = words.files.get(&recording.file).filter(|words| !words.is_empty());
            // Noise beside noise is no other case.
            if times.is_none() && (!is_silent || matches!(condition, Beside(..))) {
                continue;
            }
            let samples = apply(&condition, decode(File::open(folder.join(&recording.file))?)?);
            row.add(&recording.file, times.map_or(&[], Vec::as_slice), &samples)?;
        }
        println!("| {name} | {row}");
    }
    Ok(())
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_reader(file)?)
}

#[derive(Default)]
struct Row {
    words: usize,
    lost: usize,
    silent: f64,
    kept: f64,
    kept_of: Vec<String>,
    seconds: f64,
    cpu: f64,
}

impl Row {
    fn add(&mut self, file: &str, words: &[Word], samples: &[f32]) -> anyhow::Result<()> {
        let started = Instant::now();
        let chunks = detect(samples)?;
        self.cpu += started.elapsed().as_secs_f64();
        self.seconds += seconds(samples.len());
        if words.is_empty() {
            let kept: f64 = chunks.iter().map(|chunk| chunk.end - chunk.start).sum();
            self.silent += seconds(samples.len());
            self.kept += kept;
            if kept > 0.0 {
                self.kept_of.push(format!("{file} {kept:.1} s"));
            }
        }
        self.words += words.len();
        for (word, start, end) in words {
            if covered(&chunks, *start..*end) < (end - start) / 2.0 {
                self.lost += 1;
                println!("<!-- {file}: {word} at {start:.2} s -->");
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} | ", self.lost, self.words)?;
        if self.silent > 0.0 {
            write!(f, "{:.1} of {:.0} s {} ", self.kept, self.silent, self.kept_of.join(", "))?;
        }
        write!(f, "| <!-- {:.1} s for an hour -->", self.cpu / self.seconds * 3_600.0)
    }
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE_HZ)
}

/// How much of `span` is in `spans`.
fn covered(spans: &[Range<f64>], span: Range<f64>) -> f64 {
    let common =
        |other: &Range<f64>| (other.end.min(span.end) - other.start.max(span.start)).max(0.0);
    spans.iter().map(common).sum()
}

fn decode(file: File) -> anyhow::Result<Vec<f32>> {
    let limits = Limits {
        ffmpeg: Ffmpeg::find(&std::env::var_os("PATH").unwrap_or_default()),
        ..Limits::default()
    };
    let mut stream = AudioStream::open(file, &limits)?;
    let mut samples = Vec::new();
    while stream.read(&mut samples)? {}
    Ok(samples)
}

/// The chunks in seconds.
fn detect(samples: &[f32]) -> anyhow::Result<Vec<Range<f64>>> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE_HZ,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let file = tempfile::NamedTempFile::new()?;
    let mut writer = hound::WavWriter::create(file.path(), spec)?;
    samples.iter().try_for_each(|sample| writer.write_sample(*sample))?;
    writer.finalize()?;
    let stream = AudioStream::open(file.reopen()?, &Limits::default())?;
    let mut cut = Chunks::new(stream, ChunkPolicy::default());
    let mut chunks = Vec::new();
    while let Some(chunk) = cut.next_chunk()? {
        let start = chunk.start().as_secs_f64();
        chunks.push(start..start + chunk.duration().as_secs_f64());
    }
    Ok(chunks)
}

fn apply(condition: &Condition, samples: Vec<f32>) -> Vec<f32> {
    let (level, noise) = match condition {
        Condition::AsItIs => return samples,
        Condition::Quiet(level) => (*level, vec![0.0; samples.len()]),
        Condition::Beside(noise, below) => (-20.0, noise.samples(samples.len(), -20.0 - below)),
    };
    let gain = ratio(level) / loud_level(&samples);
    let mixed = samples.iter().zip(noise);
    mixed.map(|(sample, noise)| (sample * gain + noise).clamp(-1.0, 1.0)).collect()
}

fn ratio(db: f32) -> f32 {
    10_f32.powf(db / 20.0)
}

/// The root mean square of a loud block of 100 ms: one in ten is louder, such as a click.
fn loud_level(samples: &[f32]) -> f32 {
    let power = |block: &[f32]| block.iter().map(|s| s * s).sum::<f32>() / block.len() as f32;
    let mut powers: Vec<f32> = samples.chunks(SAMPLE_RATE_HZ as usize / 10).map(power).collect();
    powers.sort_by(f32::total_cmp);
    powers.get(powers.len() * 9 / 10).copied().unwrap_or_default().sqrt().max(1e-9)
}

impl Noise {
    /// Noise with `db` of full scale as its root mean square; pink by Paul Kellet's filter.
    fn samples(self, length: usize, db: f32) -> Vec<f32> {
        let mut state = 1_u32;
        let mut poles = [0.0_f32; 3];
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            poles[0] = 0.997_65 * poles[0] + white * 0.099_046;
            poles[1] = 0.963 * poles[1] + white * 0.296_516_4;
            poles[2] = 0.57 * poles[2] + white * 1.052_691_3;
            match self {
                Self::White => white,
                Self::Pink => poles.iter().sum::<f32>() + white * 0.184_8,
            }
        };
        let samples: Vec<f32> = (0..length).map(next).collect();
        let power = samples.iter().map(|s| s * s).sum::<f32>() / length.max(1) as f32;
        let gain = ratio(db) / power.sqrt().max(1e-9);
        samples.into_iter().map(|sample| sample * gain).collect()
    }
}
