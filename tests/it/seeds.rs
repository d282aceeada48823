//! The seeds of `make fuzz` through what it checks, with everything else that is tested.

use std::fs;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use super::harness::repository;

/// Runs every file of a folder through `target`.
fn check(folder: &str, target: fn(&[u8])) {
    let mut seeds = 0;
    for entry in fs::read_dir(repository(folder)).unwrap() {
        let path = entry.unwrap().path();
        let checked = std::panic::catch_unwind(|| target(&fs::read(&path).unwrap()));
        assert!(checked.is_ok(), "{}", path.display());
        seeds += 1;
    }
    assert!(seeds > 0, "{folder} is empty");
}

#[test]
fn audio_is_opened_and_decoded_or_refused() {
    check("tests/fixtures/codecs", targets::open);
    check("tests/fixtures/codecs", targets::decode);
}

#[test]
fn forms_are_received_or_refused() {
    check("fuzz/seeds/form", targets::form);
}

#[test]
fn fields_are_read_or_refused_by_name() {
    check("fuzz/seeds/fields", targets::fields);
}

#[test]
fn frames_are_read_or_refused() {
    check("fuzz/seeds/frames", targets::frames);
}

#[test]
fn whatever_a_worker_writes_ends_well_for_the_server() {
    check("fuzz/seeds/worker", targets::worker);
}

#[test]
fn subtitles_can_be_read() {
    check("fuzz/seeds/subtitles", targets::subtitles);
}
