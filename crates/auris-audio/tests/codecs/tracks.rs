//! Files with several audio tracks, whose tracks ffmpeg counts and decodes.

use std::fs::File;
use std::path::Path;

use auris_audio::{AudioStream, Ffmpeg, Limits};
use auris_core::recording::{Selection, TrackChoice};

/// A file of tests/fixtures/codecs, the requested track, and the number of the decoded one; or how
/// the refusal ends.
const CASES: [(&str, &str, Result<u32, &str>); 11] = [
    ("tracks.ts", "", Ok(1)),
    ("tracks.ts", "1", Ok(1)),
    ("tracks.ts", "2", Ok(2)),
    ("tracks.ts", "hin", Ok(2)),
    ("tracks.ts", "3", Err("it has 1 (mp2, eng, 1 channel), 2 (mp2, hin, 1 channel)")),
    ("tracks-ac3.mkv", "eng", Ok(1)),
    ("tracks-ac3.mkv", "2", Ok(2)),
    ("tracks-ac3.mkv", "tam", Err("it has 1 (AC-3, eng, 1 channel), 2 (opus, hin, 1 channel)")),
    ("avi.avi", "2", Err("it has 1 (pcm_s16le, 1 channel)")),
    ("au.au", "1", Ok(1)),
    ("mkv-ac3.mkv", "", Ok(1)),
];

/// Checks every case: the first track is the sentence, the second the same backwards. Returns how
/// many there are, and how many failed.
pub(super) fn check_all() -> (usize, usize) {
    let failed = CASES.iter().filter(|(file, choice, expected)| {
        let found = parts(file, choice);
        let is_right = match (&found, expected) {
            (Ok(number), Ok(expected)) => number == expected,
            (Err(message), Err(expected)) => message.ends_with(expected),
            _ => false,
        };
        let verdict = if is_right { "" } else { "FAILED " };
        println!("{file:<26} {verdict}track={choice} {found:?}");
        !is_right
    });
    (CASES.len(), failed.count())
}

/// The number of the track that is decoded, by what is in it.
fn parts(file: &str, choice: &str) -> Result<u32, String> {
    let ffmpeg = std::env::var_os("PATH").and_then(|path| Ffmpeg::find(&path));
    let limits = Limits { ffmpeg, ..Limits::default() };
    let track = match choice {
        "" => TrackChoice::Usual,
        choice => choice.parse().map_err(|error| format!("{error}"))?,
    };
    let samples = decode(file, &limits, track)?;
    let mut speech = decode("speech.wav", &limits, TrackChoice::Usual)?;
    let forwards = likeness(&speech, &samples);
    speech.reverse();
    let backwards = likeness(&speech, &samples);
    if forwards.max(backwards) < 0.9 {
        return Err(format!("it is neither: {forwards:.2} and {backwards:.2}"));
    }
    Ok(if forwards > backwards { 1 } else { 2 })
}

fn decode(file: &str, limits: &Limits, track: TrackChoice) -> Result<Vec<f32>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/codecs").join(file);
    let file = File::open(path).map_err(|error| error.to_string())?;
    let selection = Selection { track, ..Selection::default() };
    let mut stream =
        AudioStream::open_selected(file, limits, &selection).map_err(|error| error.to_string())?;
    let mut samples = Vec::new();
    while stream.read(&mut samples).map_err(|error| error.to_string())? {}
    Ok(samples)
}

/// How alike two signals are at their starts, from -1 to 1, if either may be some milliseconds late.
fn likeness(one: &[f32], other: &[f32]) -> f64 {
    let compared = one.len().min(other.len()).saturating_sub(2 * MOST_SHIFT);
    let at = |shift: usize| {
        let pairs = one[MOST_SHIFT..][..compared].iter().zip(&other[shift..]);
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (a, b) in pairs {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt()
    };
    (0..2 * MOST_SHIFT).map(at).fold(-1.0, f64::max)
}

/// How late one may be after the other, in samples.
const MOST_SHIFT: usize = 1_200;
