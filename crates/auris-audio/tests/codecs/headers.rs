//! Recordings in containers and with headers that only ffmpeg reads, by where something is parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::recording;

/// A file of tests/fixtures/recordings, or one that ffmpeg makes of its first sentence with these
/// options; how many bytes are cut off its start.
const CASES: &[(&str, &str, usize)] = &[
    ("15-m2ts-mxf/cam.mts", "", 0),
    ("15-m2ts-mxf/cam.mts", "", 100),
    ("15-m2ts-mxf/a.mxf", "", 0),
    ("15-m2ts-mxf/ok.ts", "", 0),
    ("15-m2ts-mxf/cut.ts", "", 0),
    ("15-m2ts-mxf/run_in.mxf", "", 0),
    ("g726.wav", "-ar 8000 -c:a g726 -b:a 32k", 0),
    ("s8.caf", "-c:a pcm_s8", 0),
    ("long-int.wav", "-c:a pcm_s64le", 0),
    ("unknown-size.au", "-c:a pcm_s16be -seekable 0", 0),
    ("ima.aifc", "-c:a adpcm_ima_qt -f aiff", 0),
];

/// When the sentence begins, in seconds, give or take 0.15 s.
const ONSET: f64 = 0.22;

/// Checks every case. Returns how many there are, and how many failed.
pub(super) fn check_all() -> (usize, usize) {
    let folder = tempfile::tempdir().expect("a folder for files");
    let failed = CASES.iter().filter(|(file, options, cut)| {
        let found = onset(folder.path(), file, options, *cut);
        let is_right = found.as_ref().is_ok_and(|onset| (onset - ONSET).abs() < 0.15);
        println!("{file:<26} {}cut={cut} {found:?} s", if is_right { "" } else { "FAILED " });
        !is_right
    });
    (CASES.len(), failed.count())
}

/// When something is parts first, in seconds.
fn onset(folder: &Path, file: &str, options: &str, cut: usize) -> Result<f64, String> {
    let path = make(folder, file, options)?;
    let bytes = fs::read(&path).map_err(|error| error.to_string())?;
    let part = folder.join("part");
    fs::write(&part, &bytes[cut..]).map_err(|error| error.to_string())?;
    let samples = recording::decode(&part)?;
    let power = |part: &[f32]| part.iter().map(|s| s * s).sum::<f32>() / part.len() as f32;
    let first = samples.chunks(160).position(|part| power(part).sqrt() > 0.015);
    first.map(|step| step as f64 / 100.0).ok_or_else(|| "nothing is parts".to_owned())
}

fn make(folder: &Path, file: &str, options: &str) -> Result<PathBuf, String> {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recordings");
    if options.is_empty() {
        return Ok(recordings.join(file));
    }
    let made = folder.join(file);
    let source = recordings.join("6-wav-sizes-that-disagree/caf_ok.caf");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(source);
    command.args(options.split_whitespace()).arg(&made);
    let status = command.status().map_err(|error| error.to_string())?;
    if status.success() { Ok(made) } else { Err("ffmpeg cannot make it".to_owned()) }
}
