//! A call, with a speaker in each channel, in every format.

use super::*;
use auris_core::recording::{Channel, Track, TranscribedParts};

/// Two turns of which the second begins before the first has ended, and a third.
fn call() -> Transcript {
    let said = |channel, start, end, text: &str| {
        let word = Word { text: text.trim().to_owned(), start, end, probability: 0.9 };
        Segment { channel: Some(channel), words: vec![word], ..segment(start, end, text) }
    };
    let (left, right) = (Channel::Left, Channel::Right);
    let mut call = transcript(vec![
        said(left, 1.0, 4.0, " How are"),
        said(left, 4.0, 6.0, " you?"),
        said(right, 5.5, 7.0, "Fine."),
        said(left, 8.0, 9.0, " & now?"),
    ]);
    let run = call.runs[0].clone();
    call.runs = [left, right].map(|own| Run { channel: Some(own), ..run.clone() }).into();
    call.skipped = vec![Skipped { channel: Some(right), ..silence(0.0, 5.0) }];
    call.parts.split = Channel::all(2);
    call
}

fn body(call: &Transcript, format: Format) -> String {
    let granularities = Granularities { segments: true, words: true };
    render(call, &rendering(format, granularities))
}

#[test]
fn text_has_a_line_for_each_turn_and_json_the_text_alone() {
    assert_eq!(body(&call(), Format::Text), "left: How are you?\nright: Fine.\nleft: & now?\n");
    let json: serde_json::Value = serde_json::from_str(&body(&call(), Format::Json)).unwrap();
    assert_eq!(json["text"], "How are you?Fine. & now?");
}

#[test]
fn deltas_with_turns_join_to_the_text_with_turns() {
    let (mut lines, mut deltas) = (TurnLines::default(), Deltas::default());
    let pieces = call().segments.iter().map(|own| lines.piece(own)).collect::<Vec<_>>();
    let joined: String = pieces.iter().filter_map(|piece| deltas.push(piece)).collect();
    assert_eq!(joined, with_turns(&call()));
    assert_eq!(joined + "\n", body(&call(), Format::Text));
}

#[test]
fn subtitles_of_simultaneous_speakers_overlap() {
    insta::assert_snapshot!(body(&call(), Format::Srt), @r"
    1
    00:00:01,000 --> 00:00:04,000
    left: How are

    2
    00:00:04,000 --> 00:00:06,000
    left: you?

    3
    00:00:05,500 --> 00:00:07,000
    right: Fine.

    4
    00:00:08,000 --> 00:00:09,000
    left: & now?
    ");
    insta::assert_snapshot!(body(&call(), Format::Vtt), @r"
    WEBVTT

    00:00:01.000 --> 00:00:04.000
    <v left>How are

    00:00:04.000 --> 00:00:06.000
    <v left>you?

    00:00:05.500 --> 00:00:07.000
    <v right>Fine.

    00:00:08.000 --> 00:00:09.000
    <v left>&amp; now?
    ");
    insta::assert_snapshot!(body(&call(), Format::Lrc), @r"
    [00:01.00]left: How are
    [00:04.00]left: you?
    [00:05.50]right: Fine.
    [00:08.00]left: & now?
    ");
}

#[test]
fn a_line_with_a_label_is_no_longer_than_it_may_be() {
    let long =
        "One sentence of ninety characters shows what each of the rules does to it, one by one.";
    let mut call = call();
    call.segments.truncate(1);
    call.segments[0] =
        Segment { words: Vec::new(), text: long.to_owned(), ..call.segments[0].clone() };
    for channel in Channel::all(2) {
        call.segments[0].channel = Some(channel);
        let body = body(&call, Format::Srt);
        let said: Vec<&str> =
            body.lines().filter(|line| line.contains(char::is_alphabetic)).collect();
        assert!(said.len() > 2 && said.iter().all(|line| line.len() <= 42), "{body}");
    }
}

#[test]
fn a_table_has_a_column_for_the_channel() {
    let table = body(&call(), Format::Tsv);
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("start\tend\ttext\tchannel"));
    assert_eq!(lines.next(), Some("1000\t4000\tHow are\tleft"));
    assert!(table.ends_with("8000\t9000\t& now?\tleft\n"), "{table}");
}

#[test]
fn verbose_json_and_ndjson_name_every_channel() {
    let verbose: serde_json::Value =
        serde_json::from_str(&body(&call(), Format::VerboseJson)).unwrap();
    assert_eq!(verbose["channels"], serde_json::json!(["left", "right"]));
    let channels = |list: &str| {
        let list = verbose[list].as_array().unwrap().iter();
        list.map(|own| own["channel"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(channels("segments"), "left left right left");
    assert_eq!(channels("words"), "left left right left");
    assert_eq!(channels("runs"), "left right");
    assert_eq!(channels("skipped"), "right");
    let lines = body(&call(), Format::Ndjson);
    for (line, segment) in lines.lines().zip(verbose["segments"].as_array().unwrap()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["channel"], &line["text"]), (&segment["channel"], &segment["text"]));
        assert_eq!(line["words"][0]["channel"], segment["channel"]);
    }
}

#[test]
fn seek_is_the_start_of_the_chunk_of_the_same_channel() {
    let mut call = call();
    call.runs[1].start = 2.5;
    let verbose = TranscriptionVerbose::new(&call, Granularities::default());
    let seek: Vec<u64> = verbose.segments.unwrap().iter().map(|segment| segment.seek).collect();
    assert_eq!(seek, [0, 0, 250, 0]);
}

#[test]
fn tracks_are_reported_where_there_are_several() {
    let track = |number, language: Option<&str>| Track {
        number,
        codec: "aac".to_owned(),
        language: language.map(str::to_owned),
        channels: None,
    };
    let tracks = vec![track(1, Some("eng")), track(2, None)];
    let parts = TranscribedParts { track: Some(2), tracks, split: Vec::new() };
    let mut film = Transcript { parts, ..bilingual() };
    let reported = |film: &Transcript| {
        let verbose = TranscriptionVerbose::new(film, Granularities::default());
        serde_json::to_value(verbose).unwrap()["tracks"].clone()
    };
    assert_eq!(
        reported(&film),
        serde_json::json!([
            {"number": 1, "codec": "aac", "language": "eng", "channels": null, "transcribed": false},
            {"number": 2, "codec": "aac", "language": null, "channels": null, "transcribed": true},
        ])
    );
    film.parts.tracks.truncate(1);
    assert_eq!(reported(&film), serde_json::Value::Null);
}
