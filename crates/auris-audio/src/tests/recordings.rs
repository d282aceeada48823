//! Recordings of kinds that people send, whose sentences must be where they are in the recording.

use super::*;

/// Where the sentences of a recording begin, in seconds, by the energy of its samples: behind at
/// least 0.3 s of silence.
fn onsets(samples: &[f32]) -> Vec<f64> {
    /// 10 ms.
    const FRAME: usize = SAMPLE_RATE_HZ as usize / 100;
    const PAUSE_FRAMES: usize = 30;
    let power = |frame: &[f32]| frame.iter().map(|s| s * s).sum::<f32>() / frame.len() as f32;
    let powers: Vec<f32> = samples.chunks(FRAME).map(power).collect();
    let threshold = powers.iter().copied().fold(0.0, f32::max) * 1e-4;
    let mut quiet = PAUSE_FRAMES;
    let mut onsets = Vec::new();
    for (index, power) in powers.iter().enumerate() {
        if *power < threshold {
            quiet += 1;
            continue;
        }
        if quiet >= PAUSE_FRAMES {
            onsets.push(index as f64 / 100.0);
        }
        quiet = 0;
    }
    onsets
}

#[test]
fn show() {
    let root = fixture("recordings");
    let mut names: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap())
        .map(|f| f.unwrap().path())
        .collect();
    names.sort();
    let limits =
        Limits { ffmpeg: Ffmpeg::find(std::ffi::OsStr::new("/usr/bin")), ..Limits::default() };
    for name in names {
        let file = File::open(&name).unwrap();
        let short = name.strip_prefix(&root).unwrap().display().to_string();
        match AudioStream::open(file, &limits) {
            Ok(mut stream) => {
                let mut samples = Vec::new();
                while stream.read(&mut samples).unwrap() {}
                println!(
                    "{short}: {:?} of {:.3} s, {:?}, {:?}",
                    onsets(&samples),
                    samples.len() as f64 / 16e3,
                    stream.info().start_offset,
                    stream.losses()
                );
            }
            Err(error) => println!("{short}: {error}"),
        }
    }
}
