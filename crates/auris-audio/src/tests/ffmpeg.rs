//! Files that go through ffmpeg, which scripts replace here. tests/codecs runs the real one.

use std::os::unix::fs::PermissionsExt;

use auris_core::shortage::Shortage;

use super::*;

/// A script for ffmpeg, with a recording among its libraries.
fn stand_in(script: &str) -> (tempfile::TempDir, Ffmpeg) {
    let folder = tempfile::tempdir().unwrap();
    let [programs, libraries] = ["bin", "lib"].map(|name| folder.path().join(name));
    std::fs::create_dir(&programs).unwrap();
    std::fs::create_dir(&libraries).unwrap();
    let program = programs.join("ffmpeg");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(fixture("codecs/speech.wav"), libraries.join("speech.wav")).unwrap();
    let ffmpeg = Ffmpeg::find(programs.as_os_str()).expect("the script is not found");
    (folder, ffmpeg)
}

/// Decodes `bytes` with a script for ffmpeg.
fn decode_by(script: &str, bytes: &[u8]) -> Result<Decoded, AudioError> {
    let (_folder, ffmpeg) = stand_in(script);
    decode(file_of(bytes), &Limits { ffmpeg: Some(ffmpeg), ..Limits::default() })
}

/// What looks like an AMR file, with a WAV file as its content.
fn amr() -> Vec<u8> {
    [b"#!AMR\n".to_vec(), fixture_bytes("codecs/speech.wav")].concat()
}

/// A script that finds the content.
const CONVERT: &str = "tail -c +7 /dev/fd/0";

/// A script that has a recording of its own.
const SPEECH: &str = "cat \"${0%/*}/../lib/speech.wav\"";

#[test]
fn what_ffmpeg_makes_of_a_file_is_decoded() {
    let decoded = decode_by(CONVERT, &amr()).unwrap();
    assert_eq!(decoded.samples, decode_fixture("codecs/speech.wav").unwrap().samples);
    assert_eq!((decoded.info.container, decoded.info.codec), ("AMR", "unknown"));
    assert_eq!(decoded.info.sample_rate_hz, 16_000);
    assert!(!decoded.truncated);
}

#[test]
fn ffmpeg_gets_one_file_and_its_format_by_name_and_no_environment() {
    let expected = "-protocol_whitelist file -f amr -i file:/dev/fd/0 ";
    let script = format!(
        r#"case "$*:$CARGO_MANIFEST_DIR" in *"{expected}"*":") {CONVERT};; *) exit 1;; esac"#
    );
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "nothing is there to leave out");
    decode_by(&script, &amr()).unwrap();
}

#[test]
fn audio_without_a_decoder_goes_to_ffmpeg() {
    for name in ["mkv-ac3.mkv", "mp4-ac3.mp4", "m4a-aac-5.1.m4a", "ogg-opus-5.1.opus"] {
        let bytes = fixture_bytes(&format!("codecs/{name}"));
        let decoded = decode_by(SPEECH, &bytes).unwrap();
        assert_eq!(decoded.samples.len(), 16_000, "{name}");
    }
}

#[test]
fn what_a_reader_refuses_goes_to_ffmpeg() {
    let gsm = [&b"RIFF\0\0\0\0WAVEfmt \x14\0\0\0\x31\0"[..], &[1; 18], b"data", &[7; 999]].concat();
    for bytes in [[&b"fLaC"[..], &[9; 999]].concat(), gsm, tone_wav(16_000, 1, 0.0, 1.0)] {
        let own = decode_bytes(&bytes).unwrap_err();
        let decoded = decode_by(SPEECH, &bytes).unwrap();
        assert_eq!(decoded.samples.len(), 16_000, "{own}");
        // If it can do no better, the first reason counts.
        let error = decode_by("exit 1", &bytes).unwrap_err();
        let is_own = error.to_string() == own.to_string();
        assert!(is_own || matches!(own, AudioError::NeedsFfmpeg { .. }), "{error}, {own}");
    }
}

#[test]
fn a_file_that_ffmpeg_gives_up_in_the_middle_is_truncated() {
    let decoded = decode_by(&format!("{CONVERT}; exit 1"), &amr()).unwrap();
    assert_eq!(decoded.samples.len(), 16_000);
    assert!(decoded.truncated);
}

#[track_caller]
fn check_failure(script: &str, name: &str, expected: &str) {
    let error = decode_by(script, &fixture_bytes(&format!("codecs/{name}"))).unwrap_err();
    assert!(error.to_string().starts_with(expected), "{name}: {error}");
}

#[test]
fn the_cause_of_a_failure_is_reported() {
    let script = "echo '[avi @ 0x55d0] [error] is damaged.' >&2; exit 1";
    check_failure(script, "avi.avi", "the AVI file is damaged (is damaged): export or record");
    check_failure("exit 1", "avi.avi", "the AVI file is damaged (ffmpeg finds no audio in it)");
    let script = "echo '[fatal] Output file #0 does not contain any stream' >&2; exit 1";
    check_failure(script, "avi.avi", "the AVI file has no audio track");
}

#[test]
fn what_ffmpeg_cannot_decode_either_is_refused_by_name() {
    check_failure(
        "exit 1",
        "mp4-ac3.mp4",
        "the MP4 file holds AC-3 audio, which cannot be decoded",
    );
    check_failure("exit 1", "video-only.mp4", "the MP4 file has no audio track");
}

#[test]
fn limits_hold_for_what_ffmpeg_makes() {
    let wav = [b"#!AMR\n".to_vec(), tone_wav(16_000, 9, 0.1, 440.0)].concat();
    let result = decode_by(CONVERT, &wav);
    assert!(matches!(result, Err(AudioError::TooManyChannels { found: 9, .. })), "{result:?}");
}

#[test]
fn ffmpeg_reaches_nothing_but_its_file() {
    if !auris_sandbox::Confinement::available().unwrap().is_whole() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = tempfile::NamedTempFile::new().unwrap();
    let escape = format!(
        "cat /etc/passwd || ls \"${{0%/*}}\" || cat {secret} || cat /proc/$PPID/environ || true >{secret} || \
         true >/dev/shm/{port} || bash -c 'true >/dev/tcp/127.0.0.1/{port}'",
        secret = secret.path().display()
    );
    let script = format!("if {escape}; then exit 1; fi; {CONVERT}");
    assert_eq!(decode_by(&script, &amr()).unwrap().samples.len(), 16_000);

    let (_folder, ffmpeg) = stand_in(&script);
    let limits = Limits { ffmpeg: Some(ffmpeg.unconfined()), ..Limits::default() };
    let error = decode(file_of(&amr()), &limits).unwrap_err();
    assert!(matches!(error, AudioError::Corrupt { .. }), "{error}");
}

#[track_caller]
fn check_busy<T: std::fmt::Debug>(result: Result<T, AudioError>) {
    let is_busy = matches!(&result, Err(AudioError::Io(error))
        if error.kind() == std::io::ErrorKind::ResourceBusy);
    assert!(is_busy, "{result:?}");
}

#[test]
fn what_the_system_lacks_is_not_the_files_fault() {
    for said in [
        "[dec:mp2 @ 0x5581] [error] pthread_create() failed: Resource temporarily unavailable",
        "[error] Error opening input: Too many open files",
    ] {
        check_busy(decode_by(&format!("echo '{said}' >&2; exit 1"), &amr()));
    }
    for script in [
        "kill -9 $$".to_owned(),
        format!("{CONVERT}; kill -9 $$"),
        "echo '[fatal] Cannot allocate memory' >&2; exit 1".to_owned(),
    ] {
        let error = decode_by(&script, &amr()).unwrap_err();
        let shortage = match &error {
            AudioError::Io(error) => Shortage::of(error),
            _ => None,
        };
        assert_eq!(shortage, Some(Shortage::Decoder), "{script}: {error}");
    }
    let error = decode_by("exit 127", &amr()).unwrap_err();
    assert!(matches!(error, AudioError::Io(_)), "{error}");
}

#[test]
fn no_more_children_live_than_there_is_room_for() {
    let (_folder, ffmpeg) = stand_in(CONVERT);
    let limits = Limits { ffmpeg: Some(ffmpeg.clone()), ..Limits::default() };
    let mut slots: Vec<_> = (1..ffmpeg.at_once()).map(|_| ffmpeg.slot().unwrap()).collect();
    for _ in 0..3 {
        decode(file_of(&amr()), &limits).unwrap();
    }
    slots.push(ffmpeg.slot().unwrap());
    check_busy(decode(file_of(&amr()), &limits));
    slots.pop();
    decode(file_of(&amr()), &limits).unwrap();
}

#[test]
fn a_folder_is_no_program() {
    assert!(Ffmpeg::new(std::env::temp_dir()).is_err());
    assert!(Ffmpeg::new(fixture("codecs/speech.wav")).is_err());
    assert!(Ffmpeg::find(std::ffi::OsStr::new("/nowhere")).is_none());
}
