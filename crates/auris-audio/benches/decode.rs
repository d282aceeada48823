//! The cost of decoding and resampling one file, and of cutting it into chunks:
//! `cargo bench --bench decode -- FILE [CHANNEL] [vad]`, where CHANNEL is `mix`, `split` or another
//! choice, and `vad` looks for speech as well.
//!
//! Prints seconds of audio, chunks, CPU seconds (user and system) and the peak of resident memory.
//! To compare, in turns: `ffmpeg -threads 1 -i FILE -f f32le -ac 1 -ar 16000 -y /dev/null`.

#![allow(clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::time::Instant;

use auris_audio::{AudioStream, ChunkPolicy, Chunks, Limits, SAMPLE_RATE_HZ, Vad};
use auris_core::recording::Selection;

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`; without a file, as in `cargo test --benches`, a short one will do.
    let short = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/eval/29.flac");
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let file = File::open(words.next().as_deref().unwrap_or(short))?;
    let (mut channel, mut vad) = (Default::default(), None);
    for word in words {
        match word.as_str() {
            "vad" => vad = Some(Vad::default()),
            word => channel = word.parse()?,
        }
    }
    let selection = Selection { channel, ..Selection::default() };

    let started = Instant::now();
    let stream = AudioStream::open_selected(file, &Limits::default(), &selection)?;
    let mut chunks = Chunks::new(stream, ChunkPolicy { vad, ..ChunkPolicy::default() });
    let mut count = 0;
    while chunks.next_chunk()?.is_some() {
        count += 1;
    }
    let wall = started.elapsed().as_secs_f64();

    let audio = chunks.decoded_samples() as f64 / f64::from(SAMPLE_RATE_HZ);
    println!("{audio:.1} s of audio in {count} chunks, wall {wall:.2} s{}", usage());
    Ok(())
}

/// CPU time and peak memory of this process, if /proc reports them.
fn usage() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms; field 3 follows the name.
    let ticks: u32 = stat
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(|fields| fields.split_whitespace().skip(11).take(2))
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    format!(", CPU {:.2} s, peak memory {}", f64::from(ticks) / 100.0, peak.trim())
}
