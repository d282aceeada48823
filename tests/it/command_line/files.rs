//! `auris transcribe`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{Ran, command, fails, files_below, run, text};
use crate::harness::{DEMO, fake, repository, wav};
use crate::signals::{silence, wav_of};

/// A folder with inputs, and a place for results beside it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    /// With an input for each `(path, content)`.
    fn new(inputs: &[(&str, Vec<u8>)]) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(desk.path("in")).unwrap();
        for (name, content) in inputs {
            let path = desk.path("in").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `auris transcribe` in the folder, on the fake engine.
    fn transcribe(&self, arguments: &[&str]) -> Command {
        let mut command =
            command(&["transcribe", "--cpu-program", &fake("none"), "--offline", "--no-vad"]);
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.transcribe(&[&["--models", DEMO], arguments].concat()))
    }

    /// Checks that nothing was begun: the models are not even looked for.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], needles: &[&str]) {
        let mut command = self.transcribe(arguments);
        fails(command.arg("--models-dir").arg(self.path("no-models")), needles);
        assert!(!self.path("out").exists(), "{arguments:?}");
    }
}

/// The lines that begin with `word`.
fn lines<'a>(ran: &'a Ran, word: &str) -> Vec<&'a str> {
    ran.stderr.lines().filter(|line| line.starts_with(word)).collect()
}

#[test]
fn standard_output_gets_the_text_alone() {
    let clip = repository("tests/fixtures/eval/00.flac");
    let ran = run(&mut command(&["transcribe", text(&clip), "--models", DEMO, "--offline"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout, "How is the weather in Boston tomorrow?\n");
    // No log, and no progress bar where nobody watches.
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("done     ") && ran.stderr.ends_with(" by demo\n"), "{ran:?}");
    assert!(!ran.stderr.contains(['\u{1b}', '\r']), "{ran:?}");
}

#[test]
fn a_track_and_channels_are_chosen_as_in_requests() {
    let transcribe = |file: &str, options: &[&str]| {
        let file = repository("tests/fixtures").join(file);
        let all = [&["transcribe", text(&file), "--models", DEMO, "--offline"], options].concat();
        run(&mut command(&all))
    };
    let first = "How is the weather in Boston tomorrow?";
    for (file, options, expected) in [
        (
            "codecs/call.opus",
            ["--channel", "split"],
            format!("left: {first}\nright: Turn off the office radio.\n"),
        ),
        ("codecs/call.opus", ["--channel", "left"], format!("{first}\n")),
        ("codecs/tracks.mkv", ["--track", "hin"], "रवि मुंबई में रहता है।\n".to_owned()),
        ("codecs/tracks.mkv", ["--track", "1"], format!("{first}\n")),
    ] {
        let ran = transcribe(file, &options);
        assert_eq!((ran.code, &ran.stdout), (Some(0), &expected), "{ran:?}");
    }
    for (file, options, needle) in [
        ("codecs/tracks.mkv", ["--track", "3"], "no audio track 3: it has 1 (opus, eng"),
        ("eval/00.flac", ["--channel", "right"], "1 channel, of which none is right"),
        ("eval/00.flac", ["--channel", "both"], "unknown channel \"both\": give mix, left"),
        ("eval/00.flac", ["--track", "0"], "unknown track \"0\": give its number from 1"),
    ] {
        let ran = transcribe(file, &options);
        assert!(ran.code != Some(0) && ran.stderr.contains(needle), "{ran:?}");
    }
}

#[test]
fn standard_input_gives_what_its_file_gives() {
    let desk = Desk::new(&[("a.wav", wav(2.0, 1))]);
    let named = desk.run(&["in/a.wav", "--format", "srt"]);
    assert!(named.stdout.starts_with("1\n00:00:00,"), "{named:?}");
    let mut piped = desk.transcribe(&["-", "--format", "srt", "--models", DEMO]);
    let piped = run(piped.stdin(File::open(desk.path("in/a.wav")).unwrap()));
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_eq!(piped.stdout, named.stdout);
    assert_eq!(lines(&piped, "done     standard input").len(), 1, "{piped:?}");
}

#[test]
fn a_pipe_among_the_files_is_read_once_and_whole() {
    let desk = Desk::new(&[("a.wav", wav(2.0, 1))]);
    let named = desk.run(&["in/a.wav"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let content = wav(2.0, 1);
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &content));
    let mut piped = desk.transcribe(&["/dev/stdin", "--models", DEMO]);
    let piped = run(piped.stdin(reader));
    feeder.join().unwrap().unwrap();
    assert_eq!(piped.stdout, named.stdout, "{piped:?}");
}

#[test]
fn a_folder_keeps_its_structure_and_a_bad_file_keeps_nothing_from_being_done() {
    let desk = Desk::new(&[
        ("a.wav", wav(1.0, 1)),
        ("deep/er/b.WAV", wav(1.0, 2)),
        ("bad.mp3", b"these are words, not sounds".to_vec()),
        ("notes.txt", b"not for transcription".to_vec()),
    ]);
    let all = ["in", "in/a.wav", "missing.wav", "-o", "out", "--format", "srt,json,srt"];
    let ran = desk.run(&all);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, "");
    let results = ["a.json", "a.srt", "deep/er/b.json", "deep/er/b.srt"];
    assert_eq!(files_below(&desk.path("out")), results);
    assert_eq!(lines(&ran, "done ").len(), 2, "{ran:?}");
    let report: Vec<&str> = ran.stderr.lines().collect();
    let [.., missing, bad] = report.as_slice() else { panic!("{ran:?}") };
    assert!(missing.starts_with("failed   missing.wav: cannot be opened: "), "{ran:?}");
    assert!(bad.starts_with("failed   in/bad.mp3: "), "{ran:?}");
    assert_eq!(report.len(), 4, "{ran:?}");
}

#[test]
fn what_is_finished_is_not_done_again_unless_it_is_forced() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1)), ("b.wav", wav(1.0, 2))]);
    let all = ["in", "-o", "out", "-f", "srt,json"];
    assert_eq!(desk.run(&all).code, Some(0));
    let first = fs::read_to_string(desk.path("out/a.srt")).unwrap();
    fs::write(desk.path("out/a.srt"), "corrected by hand").unwrap();
    fs::remove_file(desk.path("out/b.json")).unwrap();

    let again = desk.run(&all);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(lines(&again, "skipped  in/a.wav").len(), 1, "{again:?}");
    assert_eq!(lines(&again, "done     in/b.wav").len(), 1, "{again:?}");
    assert_eq!(fs::read_to_string(desk.path("out/a.srt")).unwrap(), "corrected by hand");
    assert!(desk.path("out/b.json").is_file());

    let forced = desk.run(&[&all[..], &["--force"]].concat());
    assert_eq!(lines(&forced, "done ").len(), 2, "{forced:?}");
    assert_eq!(fs::read_to_string(desk.path("out/a.srt")).unwrap(), first);
}

#[test]
fn when_one_format_cannot_be_written_no_other_is_left() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1)), ("b.wav", wav(1.0, 2))]);
    fs::create_dir_all(desk.path("out/a.json")).unwrap();
    let ran = desk.run(&["in", "-o", "out", "-f", "srt,json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("failed   in/a.wav: cannot write out/a.json"), "{ran:?}");
    assert_eq!(files_below(&desk.path("out")), ["b.json", "b.srt"]);
}

#[test]
fn results_without_a_place_of_their_own_are_refused_before_any_work() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1)), ("a.mp3", wav(1.0, 1))]);
    desk.refuses(
        &["in", "-o", "out"],
        &["in/a.mp3 and in/a.wav would have the same result file: rename one"],
    );
    desk.refuses(&["in"], &["several results need a folder: give one with --output-dir"]);
    desk.refuses(&["in/a.wav", "-f", "srt,vtt"], &["several results"]);
    desk.refuses(
        &["in/a.wav", "-o", "out", "-f", "json,verbose_json"],
        &["json and verbose_json would both be .json files"],
    );
    desk.refuses(
        &["in/a.wav", "-o", "in/a.wav/out"],
        &["cannot create the folder in/a.wav/out", "--output-dir"],
    );
}

#[test]
fn inputs_that_are_none_are_reported_before_a_model_is_looked_for() {
    let desk = Desk::new(&[("notes.txt", b"words".to_vec())]);
    desk.refuses(&["missing.wav"], &["failed   missing.wav: cannot be opened: No such file"]);
    desk.refuses(&["in", "-o", "out"], &["no file here has the extension of an audio file"]);
    desk.refuses(&["in/notes.txt", "--temperature", "2"], &["--temperature must be from 0 to 1"]);
    desk.refuses(&["in/notes.txt", "--language", "klingon"], &["unknown language \"klingon\""]);
    desk.refuses(&["in/notes.txt", "--format", "xml"], &["xml", "verbose_json, text, srt, vtt"]);
    for (option, value, needle) in [
        ("--max-line-length", "9", "--max-line-length: the most characters of a line must be from"),
        ("--max-lines", "11", "--max-lines: the most lines of a subtitle must be from 1 to 10"),
        ("--max-chars-per-second", "4", "--max-chars-per-second: the most characters for each"),
        ("--max-lines", "two", "--max-lines"),
    ] {
        desk.refuses(&["in/notes.txt", option, value], &[needle]);
    }
    desk.refuses(&["in/notes.txt", "--slots", "0"], &["--slots"]);
}

#[test]
fn subtitles_are_laid_out_as_asked() {
    // The fake engine hears "80000 samples" and a number of eight digits, all as one word.
    let desk = Desk::new(&[("a.wav", wav(5.0, 1))]);
    let texts = |options: &[&str]| {
        let ran = desk.run(&[&["in/a.wav", "--format", "srt"], options].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let is_text = |line: &&str| line.len() > 1 && !line.contains("-->");
        ran.stdout.lines().filter(is_text).map(str::len).collect::<Vec<_>>()
    };
    assert_eq!(texts(&[]), [22]);
    assert_eq!(texts(&["--max-line-length", "13"]), [13, 8]);
    assert_eq!(texts(&["--max-line-length", "10"]), [5, 7, 8]);
    assert_eq!(texts(&["--max-line-length", "10", "--max-lines", "3"]), [5, 7, 8]);
}

#[test]
fn every_format_has_a_file_of_its_own() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1))]);
    let formats = "verbose_json,text,srt,vtt,tsv,lrc,ndjson";
    let ran = desk.run(&["in", "-o", "out", "--format", formats]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = ["a.json", "a.lrc", "a.ndjson", "a.srt", "a.tsv", "a.txt", "a.vtt"];
    assert_eq!(files_below(&desk.path("out")), expected);
}

#[test]
fn a_model_that_is_named_is_the_only_one_loaded() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1))]);
    let mut command = desk.transcribe(&["in/a.wav", "--model", DEMO, "--models-dir", "none"]);
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.ends_with(" by demo\n"), "{ran:?}");
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let desk = Desk::new(&[("a.wav", wav(1.0, 1))]);
    let mut command = desk.transcribe(&["in/a.wav", "--models", DEMO]);
    let ran = run(command.stdout(File::options().write(true).open("/dev/full").unwrap()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot be written to standard output"), "{ran:?}");
}

#[test]
fn silence_is_left_out_unless_it_is_wanted() {
    let desk = Desk::new(&[("a.wav", wav_of(&silence(8.0)))]);
    for (option, said) in [(None, "\n"), (Some("--no-vad"), "128000 samples")] {
        let mut command = command(&["transcribe", "--cpu-program", &fake("none"), "--offline"]);
        let ran = run(command.args(["--models", DEMO]).args(option).arg(desk.path("in/a.wav")));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.starts_with(said), "{ran:?}");
    }
}
