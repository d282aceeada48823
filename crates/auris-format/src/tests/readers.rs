//! What other programs' readers make of the bodies, whatever the transcript.

use lrc::Lyrics;
use srtlib::Subtitles;
use subtp::vtt::{VttBlock, VttTimestamp, WebVtt};
use unicode_width::UnicodeWidthStr;

use super::random::Random;
use crate::cue::cues;
use crate::{CueRules, Format, Granularities, Rendering, render};
use auris_core::transcript::Transcript;

/// How many transcripts each test makes.
const SEEDS: u64 = 400;

/// A cue as its reader sees it.
#[derive(Debug)]
struct Shown {
    start_ms: u64,
    end_ms: u64,
    text: String,
}

fn ms((hours, minutes, seconds, ms): (u8, u8, u8, u16)) -> u64 {
    ((u64::from(hours) * 60 + u64::from(minutes)) * 60 + u64::from(seconds)) * 1000 + u64::from(ms)
}

fn read_srt(body: String) -> Vec<Shown> {
    let read = Subtitles::parse_from_str(body).unwrap().to_vec();
    assert!(read.iter().map(|cue| cue.num).eq(1..=read.len()), "cues are not numbered");
    let shown = read.into_iter().map(|cue| Shown {
        start_ms: ms(cue.start_time.get()),
        end_ms: ms(cue.end_time.get()),
        text: cue.text.trim_end().to_owned(), // the newline of the last one
    });
    shown.collect()
}

fn read_vtt(body: String) -> Vec<Shown> {
    let time = |at: VttTimestamp| ms((at.hours, at.minutes, at.seconds, at.milliseconds));
    let shown = WebVtt::parse(&body).unwrap().blocks.into_iter().map(|block| {
        let VttBlock::Que(cue) = block else { panic!("not a cue: {block:?}") };
        let text = cue.payload.join("\n");
        assert!(!text.contains('<') && !text.contains('>'), "mark-up: {text:?}");
        Shown {
            start_ms: time(cue.timings.start),
            end_ms: time(cue.timings.end),
            text: text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"),
        }
    });
    shown.collect()
}

/// `text` without what formats may change: spaces, and arrows, which SubRip cannot have.
fn comparable(text: &str) -> String {
    text.split_whitespace().collect::<String>().replace("-->", "→")
}

fn assert_readable(shown: &[Shown], rules: CueRules) {
    for cue in shown {
        let lines: Vec<&str> = cue.text.split('\n').collect();
        assert!(cue.start_ms < cue.end_ms && cue.end_ms - cue.start_ms <= 7000, "{cue:?}");
        assert!(lines.len() <= rules.lines, "{cue:?}");
        for line in lines {
            assert!((1..=rules.line_chars).contains(&line.width()), "{cue:?}");
            assert_eq!(line.trim(), line, "{cue:?}");
        }
    }
    for pair in shown.windows(2) {
        assert!(pair[0].end_ms <= pair[1].start_ms, "overlap: {pair:?}");
        if let Some(rate) = rules.chars_per_second {
            let needed_ms = (pair[0].text.replace('\n', "").width() as f32 / rate * 1000.0) as u64;
            let shown_ms = pair[0].end_ms - pair[0].start_ms;
            let no_room = pair[0].end_ms == pair[1].start_ms;
            assert!(shown_ms >= needed_ms.min(7000) || no_room, "unreadable: {pair:?}");
        }
    }
}

/// Renders many transcripts in `format`. `hours` are where they may begin.
fn for_each_transcript(
    format: Format,
    hours: &[f64],
    check: impl Fn(String, CueRules, &Transcript, &str) + std::panic::RefUnwindSafe,
) {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let cues = random.rules();
        let hour = random.pick(hours);
        let (transcript, visible) = random.transcript(hour);
        let granularities = Granularities { segments: true, words: true };
        let rendering = Rendering { format, granularities, cues, logprobs: false };
        let checked = std::panic::catch_unwind(|| {
            check(render(&transcript, &rendering), cues, &transcript, &visible);
        });
        assert!(checked.is_ok(), "seed {seed}: {cues:?}, {:#?}", transcript.segments);
    }
}

fn check_subtitles(format: Format, hours: &[f64], read: fn(String) -> Vec<Shown>) {
    for_each_transcript(format, hours, |body, rules, transcript, visible| {
        let shown = read(body);
        let times = |cue: &Shown| (cue.start_ms, cue.end_ms);
        let expected = cues(transcript, rules);
        assert!(shown.iter().map(times).eq(expected.iter().map(|cue| (cue.start_ms, cue.end_ms))));
        assert_readable(&shown, rules);
        let text: String = shown.iter().map(|cue| cue.text.as_str()).collect();
        assert_eq!(comparable(&text), comparable(visible));
    });
}

#[test]
fn subrip_is_readable_and_complete() {
    check_subtitles(Format::Srt, &[0.0, 1.0, 9.99, 99.99, 100.0, 250.0], read_srt);
}

#[test]
fn webvtt_is_readable_and_complete() {
    // This reader knows two digits of hours only.
    check_subtitles(Format::Vtt, &[0.0, 1.0, 9.99, 90.0], read_vtt);
}

#[test]
fn lyrics_are_in_order_and_complete() {
    for_each_transcript(Format::Lrc, &[0.0, 1.0, 1.66, 100.0], |body, _, _, visible| {
        let lyrics = Lyrics::from_str(&body).unwrap();
        assert!(lyrics.metadata.is_empty() && lyrics.get_lines().iter().all(String::is_empty));
        assert_eq!(lyrics.get_timed_lines().len(), body.trim().lines().count());
        assert!(lyrics.get_timed_lines().is_sorted_by_key(|(time, _)| *time));
        let text: String = lyrics.get_timed_lines().iter().map(|(_, text)| &**text).collect();
        let brackets = [("[", "("), ("]", ")"), ("<", "‹"), (">", "›")];
        let visible =
            brackets.iter().fold(visible.to_owned(), |text, (from, to)| text.replace(from, to));
        assert_eq!(comparable(&text), comparable(&visible));
    });
}

#[test]
fn tables_have_a_row_for_each_segment() {
    for_each_transcript(Format::Tsv, &[0.0, 100.0], |body, _, transcript, _| {
        let rows: Vec<Vec<&str>> = body.lines().map(|row| row.split('\t').collect()).collect();
        assert_eq!(rows.len(), transcript.segments.len() + 1);
        assert!(rows.iter().all(|row| row.len() == 3), "{rows:?}");
    });
}

#[test]
fn every_line_of_ndjson_is_an_object() {
    for_each_transcript(Format::Ndjson, &[0.0, 100.0], |body, _, transcript, _| {
        let mut texts = Vec::new();
        for line in body.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            texts.push(object["text"].as_str().unwrap().to_owned());
        }
        assert_eq!(texts.pop().unwrap(), transcript.text());
        assert!(texts.iter().eq(transcript.segments.iter().map(|segment| &segment.text)));
    });
}
