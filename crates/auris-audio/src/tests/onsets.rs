//! Where sentences begin. The comparison with ffmpeg (tests/codecs) uses it as well.

/// Where sentences begin, in seconds, by the energy of the samples: behind at least 0.3 s of silence.
pub(crate) fn onsets(samples: &[f32]) -> Vec<f64> {
    /// 10 ms at 16 kHz.
    const FRAME: usize = 160;
    const PAUSE_FRAMES: usize = 30;
    let power = |frame: &[f32]| frame.iter().map(|s| s * s).sum::<f32>() / frame.len() as f32;
    let powers: Vec<f32> = samples.chunks(FRAME).map(power).collect();
    let threshold = powers.iter().copied().fold(0.0, f32::max) * 1e-4;
    // What begins with the file has a start, too.
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
