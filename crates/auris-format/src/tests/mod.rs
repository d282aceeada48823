//! One transcript in every format, and transcripts for the tests of each.

mod channels;
mod random;
mod readers;

use super::*;
use auris_core::device::{Backend, DeviceId};
use auris_core::language::Language;
use auris_core::recording::{Losses, TranscribedParts};
use auris_core::transcript::{Run, Segment, SkipReason, Skipped, Task, Word};

pub(super) fn segment(start: f64, end: f64, text: &str) -> Segment {
    Segment {
        start,
        end,
        text: text.to_owned(),
        tokens: vec![314, 15],
        temperature: 0.2,
        avg_logprob: -0.25,
        compression_ratio: 1.5,
        no_speech_prob: 0.01,
        words: Vec::new(),
        logprobs: Vec::new(),
        channel: None,
    }
}

pub(super) fn transcript(segments: Vec<Segment>) -> Transcript {
    let run = |start, end, device, backend, reason: Option<&str>| Run {
        start,
        end,
        device,
        backend,
        model: "demo".to_owned(),
        fallback_reason: reason.map(str::to_owned),
        channel: None,
    };
    Transcript {
        task: Task::Transcribe,
        language: Language::ENGLISH,
        duration: 61.2004,
        start_offset: 0.0,
        losses: Losses::default(),
        segments,
        runs: vec![
            run(0.0, 29.5, DeviceId::indexed(Backend::Cuda, 0), Backend::Cuda, None),
            run(29.5, 61.2, DeviceId::cpu(), Backend::Cpu, Some("cuda:0 is out of memory")),
        ],
        skipped: vec![silence(1.95, 59.0)],
        detected: Vec::new(),
        parts: TranscribedParts::default(),
    }
}

fn silence(start: f64, end: f64) -> Skipped {
    Skipped { start, end, reason: SkipReason::NoSpeech, channel: None }
}

/// Two segments with words, English and Hindi, each made elsewhere.
pub(super) fn bilingual() -> Transcript {
    let word =
        |text: &str, start, end| Word { text: text.to_owned(), start, end, probability: 0.9 };
    let english = [
        word("Tea", 0.1 + 0.2, 0.5),
        word("&", 0.5, 0.6),
        word("milk,", 0.6, 1.1),
        word("please.", 1.1, 1.75),
    ];
    let hindi = [
        word("मेरा", 59.0, 59.4),
        word("नाम", 59.4, 59.7),
        word("रवि", 59.7, 59.9996),
        word("है।", 59.9996, 60.5),
    ];
    transcript(vec![
        Segment { words: english.to_vec(), ..segment(0.1 + 0.2, 1.75, " Tea & milk, please.") },
        Segment {
            words: hindi.to_vec(), ..segment(59.0, 60.5, " मेरा नाम रवि है।")
        },
    ])
}

fn rendering(format: Format, granularities: Granularities) -> Rendering {
    Rendering { format, granularities, ..Rendering::default() }
}

#[test]
fn every_format_of_one_transcript() {
    let both = Granularities { segments: true, words: true };
    let body = |format: &Format| {
        format!("== {format}\n{}", render(&bilingual(), &rendering(*format, both)))
    };
    let bodies: Vec<String> = Format::ALL.iter().map(body).collect();
    insta::assert_snapshot!(bodies.join("\n"), @r#"
    == json
    {"text":"Tea & milk, please. मेरा नाम रवि है।","languages":[{"code":"en"}],"usage":{"type":"duration","seconds":62}}
    == verbose_json
    {"task":"transcribe","language":"english","languages":[{"code":"en"}],"duration":61.2,"start_offset":0.0,"truncated":false,"text":"Tea & milk, please. मेरा नाम रवि है।","segments":[{"id":0,"seek":0,"start":0.3,"end":1.75,"text":" Tea & milk, please.","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01},{"id":1,"seek":2950,"start":59.0,"end":60.5,"text":" मेरा नाम रवि है।","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01}],"words":[{"word":"Tea","start":0.3,"end":0.5},{"word":"&","start":0.5,"end":0.6},{"word":"milk,","start":0.6,"end":1.1},{"word":"please.","start":1.1,"end":1.75},{"word":"मेरा","start":59.0,"end":59.4},{"word":"नाम","start":59.4,"end":59.7},{"word":"रवि","start":59.7,"end":60.0},{"word":"है।","start":60.0,"end":60.5}],"usage":{"type":"duration","seconds":62},"runs":[{"start":0.0,"end":29.5,"device":"cuda:0","backend":"cuda","model":"demo"},{"start":29.5,"end":61.2,"device":"cpu","backend":"cpu","model":"demo","fallback_reason":"cuda:0 is out of memory"}],"skipped":[{"start":1.95,"end":59.0,"reason":"no_speech"}]}
    == text
    Tea & milk, please. मेरा नाम रवि है।

    == srt
    1
    00:00:00,300 --> 00:00:01,750
    Tea & milk, please.

    2
    00:00:59,000 --> 00:01:00,500
    मेरा नाम रवि है।

    == vtt
    WEBVTT

    00:00:00.300 --> 00:00:01.750
    Tea &amp; milk, please.

    00:00:59.000 --> 00:01:00.500
    मेरा नाम रवि है।

    == tsv
    start	end	text
    300	1750	Tea & milk, please.
    59000	60500	मेरा नाम रवि है।

    == lrc
    [00:00.30]Tea & milk, please.
    [00:59.00]मेरा नाम रवि है।

    == ndjson
    {"type":"segment","id":0,"seek":0,"start":0.3,"end":1.75,"text":" Tea & milk, please.","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01,"words":[{"word":"Tea","start":0.3,"end":0.5},{"word":"&","start":0.5,"end":0.6},{"word":"milk,","start":0.6,"end":1.1},{"word":"please.","start":1.1,"end":1.75}]}
    {"type":"segment","id":1,"seek":2950,"start":59.0,"end":60.5,"text":" मेरा नाम रवि है।","tokens":[314,15],"temperature":0.2,"avg_logprob":-0.25,"compression_ratio":1.5,"no_speech_prob":0.01,"words":[{"word":"मेरा","start":59.0,"end":59.4},{"word":"नाम","start":59.4,"end":59.7},{"word":"रवि","start":59.7,"end":60.0},{"word":"है।","start":60.0,"end":60.5}]}
    {"type":"transcript","task":"transcribe","language":"english","languages":[{"code":"en"}],"duration":61.2,"start_offset":0.0,"truncated":false,"text":"Tea & milk, please. मेरा नाम रवि है।","usage":{"type":"duration","seconds":62},"runs":[{"start":0.0,"end":29.5,"device":"cuda:0","backend":"cuda","model":"demo"},{"start":29.5,"end":61.2,"device":"cpu","backend":"cpu","model":"demo","fallback_reason":"cuda:0 is out of memory"}],"skipped":[{"start":1.95,"end":59.0,"reason":"no_speech"}]}
    "#);
}

#[test]
fn silence_in_every_format() {
    let skipped = vec![silence(0.0, 2.0)];
    let silent = Transcript { duration: 2.0, runs: Vec::new(), skipped, ..transcript(Vec::new()) };
    let body = |format: &Format| render(&silent, &rendering(*format, Granularities::default()));
    let bodies: Vec<String> = Format::ALL.iter().map(body).collect();
    insta::assert_debug_snapshot!(bodies, @r#"
    [
        "{\"text\":\"\",\"languages\":[],\"usage\":{\"type\":\"duration\",\"seconds\":2}}",
        "{\"task\":\"transcribe\",\"language\":\"english\",\"languages\":[],\"duration\":2.0,\"start_offset\":0.0,\"truncated\":false,\"text\":\"\",\"segments\":[],\"usage\":{\"type\":\"duration\",\"seconds\":2},\"runs\":[],\"skipped\":[{\"start\":0.0,\"end\":2.0,\"reason\":\"no_speech\"}]}",
        "\n",
        "\n",
        "WEBVTT\n\n",
        "start\tend\ttext\n",
        "\n",
        "{\"type\":\"transcript\",\"task\":\"transcribe\",\"language\":\"english\",\"languages\":[],\"duration\":2.0,\"start_offset\":0.0,\"truncated\":false,\"text\":\"\",\"usage\":{\"type\":\"duration\",\"seconds\":2},\"runs\":[],\"skipped\":[{\"start\":0.0,\"end\":2.0,\"reason\":\"no_speech\"}]}\n",
    ]
    "#);
}

#[test]
fn text_bodies_end_in_one_newline() {
    for format in [Format::Text, Format::Srt, Format::Vtt, Format::Tsv, Format::Lrc, Format::Ndjson]
    {
        let body = render(&bilingual(), &rendering(format, Granularities::default()));
        assert!(body.ends_with('\n') && !body.ends_with("\n\n"), "{format}: {body:?}");
    }
}

#[test]
fn names_are_read_back_as_text_and_as_json() {
    for format in Format::ALL.iter().copied() {
        assert_eq!(format.name().parse(), Ok(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
}

#[test]
fn an_unknown_format_is_reported_with_the_known_ones() {
    insta::assert_snapshot!(
        "xml".parse::<Format>().unwrap_err(),
        @r#"unknown response format "xml": give one of json, verbose_json, text, srt, vtt, tsv, lrc, ndjson"#
    );
    assert_eq!("x".repeat(99).parse::<Format>().unwrap_err().0.len(), 40);
}

#[test]
fn a_rendering_survives_being_stored() {
    let cues = CueRules::new(Some(20), Some(3), Some(17.5)).unwrap();
    let granularities = Granularities { segments: false, words: true };
    let rendering = Rendering { format: Format::Srt, granularities, cues, logprobs: true };
    let stored = serde_json::to_string(&rendering).unwrap();
    assert_eq!(serde_json::from_str::<Rendering>(&stored).unwrap(), rendering);
}
