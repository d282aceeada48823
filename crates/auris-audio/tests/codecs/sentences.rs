//! Recordings that take ffmpeg, whose sentences must be where they are in the recording.

#[path = "../../src/tests/onsets.rs"]
mod onsets;

use std::fs::File;
use std::path::Path;

use auris_audio::{AudioStream, Ffmpeg, Limits, Losses};

use self::onsets::onsets;

/// A recording.
struct Case {
    /// In tests/fixtures/recordings.
    file: &'static str,
    /// Where its sentences begin, in seconds.
    sentences: &'static [f64],
    /// The silence that is reported, in seconds: in gaps, and before the audio.
    gaps: f64,
    start_offset: f64,
}

const fn case(file: &'static str, sentences: &'static [f64], gaps: f64, start_offset: f64) -> Case {
    Case { file, sentences, gaps, start_offset }
}

const CASES: &[Case] = &[
    case("1-timestamp-gaps/gap.ts", &[0.22, 9.46], 4.5, 0.0),
    case("own/gap-mp3.flv", &[0.22, 5.17], 2.0, 0.0),
    case("own/clock-twice.flv", &[0.22, 3.56], 0.0, 0.0),
    case("2-audio-starts-later/off.ts", &[4.22], 0.0, 4.0),
    case("2-audio-starts-later/offac3.mkv", &[4.22], 0.0, 4.0),
    case("own/late.flv", &[2.22], 0.0, 2.0),
    case("7-matroska-compressed-track/mmz_ac3.mkv", &[0.22], 0.0, 0.0),
    case("7-matroska-compressed-track/strip_ac3.mkv", &[0.22], 0.0, 0.0),
];

/// How far off all of these may be, in seconds.
const TOLERANCE: f64 = 0.1;

/// Checks every case. Returns how many there are, and how many failed.
pub(super) fn check_all() -> (usize, usize) {
    let failed = CASES.iter().filter(|case| {
        let found = decode(case.file);
        let is_right = found.as_ref().is_ok_and(|(sentences, losses, start_offset)| {
            let is_near = |found: f64, expected: f64| (found - expected).abs() <= TOLERANCE;
            let mut pairs = sentences.iter().zip(case.sentences);
            sentences.len() == case.sentences.len()
                && pairs.all(|(found, expected)| is_near(*found, *expected))
                && is_near(losses.gaps.as_secs_f64(), case.gaps)
                && is_near(*start_offset, case.start_offset)
                && !losses.truncated
        });
        let verdict = if is_right { "" } else { "FAILED " };
        println!("{:<44} {verdict}{found:?}", case.file);
        !is_right
    });
    (CASES.len(), failed.count())
}

/// Where sentences begin, what was lost, and the silence before the audio in seconds.
fn decode(file: &str) -> Result<(Vec<f64>, Losses, f64), String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recordings").join(file);
    let file = File::open(path).map_err(|error| error.to_string())?;
    let ffmpeg = std::env::var_os("PATH").and_then(|path| Ffmpeg::find(&path));
    let limits = Limits { ffmpeg, ..Limits::default() };
    let mut stream = AudioStream::open(file, &limits).map_err(|error| error.to_string())?;
    let mut samples = Vec::new();
    while stream.read(&mut samples).map_err(|error| error.to_string())? {}
    Ok((onsets(&samples), stream.losses(), stream.info().start_offset.as_secs_f64()))
}
