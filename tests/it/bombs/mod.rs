//! Files that are made to do harm: they claim what they have not, or hold more than they seem to.
//! Each gets its answer in time, and costs the server little memory.

mod flac;
mod matroska;
mod mp4;
mod mpeg;
#[path = "../../../crates/auris-audio/src/tests/mutation.rs"]
mod mutation;
mod ogg;
mod pcm;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::bad_input::still_works;
use super::harness::{Answer, Server, repository};

/// The longest that any of these files may take. That what is slow to decode is given up after
/// 5 s comes first.
const LONGEST: Duration = Duration::from_secs(20);

/// The most memory that the server may ever have had.
const MOST_MEMORY: u64 = 200 << 20;

/// A file made to do harm.
struct Bomb {
    name: &'static str,
    bytes: Vec<u8>,
    expected: Expected,
}

enum Expected {
    /// An error with this code.
    Refused(&'static str),
    /// So many seconds of it are transcribed.
    Decodes(RangeInclusive<f64>),
}

use Expected::{Decodes, Refused};

fn bomb(name: &'static str, bytes: Vec<u8>, expected: Expected) -> Bomb {
    Bomb { name, bytes, expected }
}

/// A clip whose bytes are changed.
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(repository("tests/fixtures/codecs").join(name)).unwrap()
}

fn status(code: &str) -> u16 {
    match code {
        "audio_too_long" => 413,
        "unsupported_audio" => 415,
        _ => 422,
    }
}

/// What is wrong with an answer.
fn objection(answer: &Answer, expected: &Expected) -> Option<String> {
    match expected {
        Refused(code) if answer.status == 200 => Some(format!("{code} was expected: {answer:?}")),
        Refused(code) => {
            let error = &answer.json()["error"];
            let is_expected = error["code"] == *code && error["param"] == "file";
            if !is_expected {
                return Some(format!("{code} was expected: {error}"));
            }
            answer.error(status(code), code);
            None
        }
        Decodes(seconds) => {
            let decodes =
                answer.header("x-audio-duration").and_then(|text| text.parse::<f64>().ok());
            let is_expected = decodes.is_some_and(|decodes| seconds.contains(&decodes));
            (!is_expected).then(|| format!("{seconds:?} s were expected: {answer:?}"))
        }
    }
}

/// Sends `bombs` to one server, one after the other.
async fn check(bombs: Vec<Bomb>) {
    let limits = ["--max-audio-hours", "0.1", "--max-decode-seconds", "5", "--ffmpeg", "off"];
    let server = Server::fake("none", &limits).await;
    let mut found = Vec::new();
    for Bomb { name, bytes, expected } in bombs {
        let (started, before) = (Instant::now(), server.peak_memory());
        let answer = server.transcribe(bytes, &[]).await;
        let (took, peak) = (started.elapsed(), server.peak_memory());
        found.extend(objection(&answer, &expected).map(|objection| format!("{name}: {objection}")));
        if took > LONGEST {
            found.push(format!("{name}: took {took:?}"));
        }
        if peak > MOST_MEMORY && before < MOST_MEMORY {
            found.push(format!("{name}: {} MiB became {} MiB", before >> 20, peak >> 20));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    still_works(&server).await;
}

#[tokio::test]
async fn wav_aiff_and_caf_do_no_harm() {
    check(pcm::bombs()).await;
}

#[tokio::test]
async fn flac_does_no_harm() {
    check(flac::bombs()).await;
}

#[tokio::test]
async fn mp4_does_no_harm() {
    check(mp4::bombs()).await;
}

#[tokio::test]
async fn matroska_does_no_harm() {
    check(matroska::bombs()).await;
}

#[tokio::test]
async fn ogg_does_no_harm() {
    check(ogg::bombs()).await;
}

#[tokio::test]
async fn mpeg_audio_and_archives_do_no_harm() {
    check(mpeg::bombs()).await;
}

#[tokio::test]
async fn damaged_files_do_no_harm() {
    let server = Server::fake("none", &[]).await;
    let mut clips = Vec::new();
    for entry in std::fs::read_dir(repository("tests/fixtures/codecs")).unwrap() {
        clips.push(entry.unwrap().path());
    }
    clips.sort();
    let clips: Vec<_> = clips.into_iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut decodes = 0;
    for seed in 0..200 {
        let answer = server.transcribe(mutation::mutated(&clips, seed), &[]).await;
        match answer.status {
            200 => decodes += 1,
            413 | 415 | 422 => {
                let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
                assert_ne!(code, "decoding_timeout", "seed {seed}");
                answer.error(answer.status, &code);
            }
            _ => panic!("seed {seed}: {answer:?}"),
        }
    }
    assert!((20..180).contains(&decodes), "{decodes} were decodes");
    assert!(server.peak_memory() < MOST_MEMORY, "{} MiB", server.peak_memory() >> 20);
    still_works(&server).await;
}
