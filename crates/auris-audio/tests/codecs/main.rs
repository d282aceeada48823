//! Whatever people record, against ffmpeg's decode of it and against what was recorded.
//!
//! `make test-audio` makes a file for each case with ffmpeg or sox, decodes it here and with
//! ffmpeg, and prints a line for each: how long it is, how much alike, and how far it is shifted.
//! It needs both programs, so that it is no part of `make test`.

#![allow(clippy::print_stdout, missing_docs)]

mod cases;
mod compare;
mod headers;
mod recording;
mod sentences;
mod tracks;

use std::process::ExitCode;

use cases::{CASES, Case};
use compare::Comparison;
use recording::Recordings;

/// How much longer or shorter than the reference a decode may be, in milliseconds.
const LENGTH_MS: f64 = 5.0;

fn main() -> ExitCode {
    // Cargo passes its own options along; any other word picks the cases whose file has it.
    let words: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let picked =
        |case: &&Case| words.is_empty() || words.iter().any(|w| case.file.contains(w.as_str()));
    let recordings = Recordings::new();
    println!("{:<26} {:>9} {:>8} {:>8}  note", "file", "length ms", "SNR dB", "shift ms");
    let mut failed = 0;
    let mut count = 0;
    for case in CASES.iter().filter(picked) {
        count += 1;
        match check(case, &recordings) {
            Ok(line) => println!("{:<26} {line}  {}", case.file, case.note),
            Err(reason) => {
                failed += 1;
                println!("{:<26} FAILED {reason}  {}", case.file, case.note);
            }
        }
    }
    if words.is_empty() || words.iter().any(|word| word == "tracks") {
        let (more, more_failed) = tracks::check_all();
        (count, failed) = (count + more, failed + more_failed);
    }
    if words.is_empty() || words.iter().any(|word| word == "sentences") {
        let (more, more_failed) = sentences::check_all();
        (count, failed) = (count + more, failed + more_failed);
    }
    if words.is_empty() || words.iter().any(|word| word == "headers") {
        let (more, more_failed) = headers::check_all();
        (count, failed) = (count + more, failed + more_failed);
    }
    println!("{count} cases, {failed} failed");
    if failed == 0 && count > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the file, decodes it both ways and compares. Returns what was measured.
fn check(case: &Case, recordings: &Recordings) -> Result<String, String> {
    let file = recordings.make(case)?;
    let decoded = recording::decode(&file)?;
    let reference = recordings.reference(case, &file)?;
    let original = recordings.original(case)?;
    let against_reference = Comparison::new(&reference, &decoded, case.source.rate_hz);
    let against_original = Comparison::new(&original, &decoded, case.source.rate_hz);
    let length_ms = match case.length {
        cases::Length::AsFfmpeg => against_reference.longer_ms,
        cases::Length::AsRecorded => against_original.longer_ms,
    };
    let (snr_db, shift_ms) = (against_reference.snr_db, against_original.shift_ms);
    let line = format!("{length_ms:>9.2} {snr_db:>8.1} {shift_ms:>8.2}");
    let good =
        length_ms.abs() <= LENGTH_MS && snr_db >= case.snr_db && shift_ms.abs() <= case.shift_ms;
    if good { Ok(line) } else { Err(line) }
}
