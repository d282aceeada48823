//! Fields one by one and together, without a server.

use std::time::Duration;

use axum::body::to_bytes;
use axum::response::IntoResponse;

use super::*;
use auris_audio::{ChunkPolicy, Vad};
use auris_core::language::Language;
use auris_format::{CueRules, Format, Granularities};

fn read_at(endpoint: Endpoint, fields: &[(&str, &str)]) -> Result<TranscriptionParams, ApiError> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    TranscriptionParams::read(endpoint, &fields.iter().map(owned).collect::<Vec<_>>())
}

fn read(fields: &[(&str, &str)]) -> TranscriptionParams {
    read_at(Endpoint::Transcriptions, fields).unwrap()
}

/// Checks that the fields are refused with 400, that `param` is at fault, and what is said.
#[track_caller]
fn refused(endpoint: Endpoint, fields: &[(&str, &str)], param: &str, hint: &str) {
    let response = read_at(endpoint, fields).unwrap_err().into_response();
    assert_eq!(response.status(), 400, "{fields:?}");
    let body = futures_util::FutureExt::now_or_never(to_bytes(response.into_body(), usize::MAX));
    let body: serde_json::Value = serde_json::from_slice(&body.unwrap().unwrap()).unwrap();
    assert_eq!(body["error"]["param"], param, "{body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(hint), "{hint:?} is not in {message:?}");
}

fn languages(codes: &[&str]) -> Vec<Language> {
    codes.iter().map(|code| Language::parse(code).unwrap()).collect()
}

#[test]
fn an_empty_form_asks_for_the_defaults() {
    let fields =
        ["model", "language", "languages[]", "prompt", "keywords[]", "include[]", "stream"];
    let params = read(&fields.map(|name| (name, " ")));
    assert_eq!(params, TranscriptionParams::default());
    assert_eq!(params, read(&[]));
}

#[test]
fn a_value_out_of_its_type_or_range_names_its_field() {
    for (field, value, hint) in [
        ("language", "klingon", "ISO 639"),
        ("languages[]", "klingon", "ISO 639"),
        ("languages[1]", "en,klingon", "ISO 639"),
        ("response_format", "xml", "give one of json"),
        ("response_format", "diarized_json", "does not distinguish speakers"),
        ("known_speaker_names[]", "Ravi", "does not distinguish speakers"),
        ("known_speaker_references[]", "data:audio/wav;base64,", "does not distinguish speakers"),
        ("temperature", "abc", "a number from 0 to 1"),
        ("temperature", "1.5", "a number from 0 to 1"),
        ("temperature", "-0.1", "a number from 0 to 1"),
        ("temperature", "NaN", "a number from 0 to 1"),
        ("include[]", "speakers", "give `logprobs`"),
        ("timestamp_granularities[]", "page", "`segment` or `word`"),
        ("timestamp_granularities", "word", "response_format=verbose_json"),
        ("stream", "yes", "true or false, or 1 or 0"),
        ("vad", "maybe", "true or false, or 1 or 0"),
        ("vad_filter", "2", "true or false, or 1 or 0"),
        ("max_line_length", "9", "from 10 to 200"),
        ("max_line_length", "42.5", "from 10 to 200"),
        ("max_lines", "0", "from 1 to 10"),
        ("max_lines", "11", "from 1 to 10"),
        ("max_chars_per_second", "4", "from 5 to 100"),
        ("max_chars_per_second", "inf", "from 5 to 100"),
        ("chunking_strategy", "smart", "`auto` or `server_vad`"),
        ("chunking_strategy", "{\"type\":", "not valid JSON"),
        ("chunking_strategy", "{\"type\":\"auto\",\"speed\":1}", "chunking_strategy[speed]"),
        ("chunking_strategy[type]", "smart", "`auto` or `server_vad`"),
        ("chunking_strategy[threshold]", "0.5", "chunking_strategy[type]=server_vad"),
    ] {
        refused(Endpoint::Transcriptions, &[(field, value)], field, hint);
    }
    for (field, value, hint) in [
        ("chunking_strategy[threshold]", "1.1", "from 0 to 1"),
        ("chunking_strategy[threshold]", "nan", "from 0 to 1"),
        ("chunking_strategy[silence_duration_ms]", "49", "from 50 to 10000"),
        ("chunking_strategy[silence_duration_ms]", "1e9", "from 50 to 10000"),
        ("chunking_strategy[prefix_padding_ms]", "-1", "from 0 to 10000"),
    ] {
        let fields = [(field, value), ("chunking_strategy[type]", "server_vad")];
        refused(Endpoint::Transcriptions, &fields, field, hint);
        let name = field.trim_start_matches("chunking_strategy[").trim_end_matches(']');
        let json = format!("{{\"type\":\"server_vad\",\"{name}\":\"{value}\"}}");
        refused(Endpoint::Transcriptions, &[("chunking_strategy", &json)], field, hint);
    }
    for field in ["vad", "vad_filter"] {
        let fields = [(field, "false"), ("chunking_strategy", "server_vad")];
        refused(Endpoint::Transcriptions, &fields, field, "chunking_strategy[type]=server_vad");
    }
    refused(Endpoint::Jobs, &[("task", "summarise")], "task", "`transcribe` or `translate`");
}

#[test]
fn a_field_with_one_value_is_not_given_twice() {
    for (field, value) in [
        ("model", "whisper-1"),
        ("language", "en"),
        ("prompt", "a"),
        ("hotwords", "a"),
        ("response_format", "json"),
        ("temperature", "0"),
        ("stream", "true"),
        ("chunking_strategy", "auto"),
        ("chunking_strategy[type]", "auto"),
        ("vad", "true"),
        ("max_line_length", "42"),
        ("max_lines", "2"),
        ("max_chars_per_second", "17"),
        ("task", "transcribe"),
        ("webhook_url", "https://example.org"),
    ] {
        let endpoint = match field {
            "task" => Endpoint::Jobs,
            _ => Endpoint::Transcriptions,
        };
        assert!(read_at(endpoint, &[(field, value)]).is_ok(), "{field}");
        refused(endpoint, &[(field, value), ("x", "y"), (field, value)], field, "twice");
    }
}

#[test]
fn languages_are_candidates_and_one_alone_is_the_language() {
    let of = |fields: &[(&str, &str)]| {
        let options = read(fields).options;
        (options.language.map(Language::code), options.languages)
    };
    for detect in ["auto", "und", "AUTO"] {
        assert_eq!(of(&[("language", detect)]), (None, vec![]));
        assert_eq!(of(&[("languages", detect)]), (None, vec![]));
        assert_eq!(of(&[("languages[]", "de"), ("languages[]", detect)]), (None, vec![]));
    }
    assert_eq!(of(&[("language", "ger")]), (Some("de"), vec![]));
    assert_eq!(of(&[("language[]", "Hindi")]), (Some("hi"), vec![]));
    assert_eq!(of(&[("languages[]", "hi"), ("languages[]", "hindi")]), (Some("hi"), vec![]));
    let both = languages(&["hi", "en"]);
    assert_eq!(of(&[("languages[]", "hi"), ("languages[]", "en")]), (None, both.clone()));
    assert_eq!(of(&[("languages", "hi, en")]), (None, both.clone()));
    assert_eq!(of(&[("language", "auto"), ("languages", "hi,en")]), (None, both));
    assert_eq!(of(&[("language", "en"), ("languages", "hi,en")]), (Some("en"), vec![]));
    let fields = [("languages[]", "hi"), ("language", "en")];
    refused(Endpoint::Transcriptions, &fields, "language", "not among languages[]");
}

#[test]
fn keywords_follow_the_prompt_and_are_never_more_than_the_model_uses() {
    let prompt = |fields: &[(&str, &str)]| read(fields).options.prompt;
    assert_eq!(prompt(&[("prompt", " Tea. ")]).as_deref(), Some("Tea."));
    let fields = [("keywords[]", "Ravi"), ("keywords[]", "New Delhi"), ("prompt", "Tea.")];
    assert_eq!(prompt(&fields).as_deref(), Some("Tea. Ravi, New Delhi"));
    assert_eq!(prompt(&[("keywords", "a,b")]).as_deref(), Some("a, b"));
    assert_eq!(prompt(&[("hotwords", "New Delhi, Ravi")]).as_deref(), Some("New Delhi, Ravi"));
    assert_eq!(prompt(&[("hotwords", "Delhi Ravi")]).as_deref(), Some("Delhi, Ravi"));

    let long = "k".repeat(101);
    let many = ["k"; 101].join(",");
    let heavy = ["k".repeat(99).as_str(); 11].join(",");
    for (text, hint) in [(&long, "100 characters"), (&many, "100 keywords"), (&heavy, "1000")] {
        for field in ["keywords[]", "hotwords"] {
            refused(Endpoint::Transcriptions, &[(field, text)], field, hint);
        }
    }
}

#[test]
fn words_alone_leave_the_segments_out() {
    for name in ["timestamp_granularities[]", "timestamp_granularities"] {
        let params = read(&[("response_format", "verbose_json"), (name, "word")]);
        let words = Granularities { segments: false, words: true };
        assert_eq!(params.rendering.granularities, words);
        assert!(params.options.words);
    }
}

#[test]
fn log_probabilities_come_with_json_only() {
    let params = read(&[("include[]", "logprobs")]);
    assert!(params.options.logprobs && params.rendering.logprobs);
    let fields = [("include", "logprobs"), ("response_format", "verbose_json")];
    refused(Endpoint::Transcriptions, &fields, "include", "response_format=json");
}

#[test]
fn subtitles_cannot_be_streamed() {
    for format in Format::ALL.iter().copied() {
        let fields = [("stream", "True"), ("response_format", format.name())];
        if format.can_stream() {
            assert!(read(&fields).stream, "{format}");
        } else {
            refused(Endpoint::Transcriptions, &fields, "stream", "json, text");
        }
        assert!(!read(&[("stream", "0"), ("response_format", format.name())]).stream);
    }
}

#[test]
fn settings_of_server_vad_are_refused_with_another_strategy() {
    let field = "chunking_strategy[threshold]";
    let fields = [("chunking_strategy", "auto"), (field, "0.5")];
    refused(Endpoint::Transcriptions, &fields, field, "needs chunking_strategy[type]=server_vad");
}

#[test]
fn a_chunking_strategy_may_be_written_in_three_ways() {
    let silence = |fields: &[(&str, &str)]| read(fields).silence;
    for fields in [
        [("chunking_strategy", "auto")],
        [("chunking_strategy[type]", "auto")],
        [("chunking_strategy", "{\"type\": \"auto\"}")],
        [("chunking_strategy", "{}")],
    ] {
        assert_eq!(silence(&fields), SilencePolicy::ServerDefault, "{fields:?}");
    }
    let vad = |silence_ms, padding_ms, threshold| Vad {
        silence: Duration::from_millis(silence_ms),
        padding: Duration::from_millis(padding_ms),
        threshold,
    };
    let default = SilencePolicy::Skip(vad(200, 300, 0.5));
    assert_eq!(silence(&[("chunking_strategy", "server_vad")]), default);
    let expected = SilencePolicy::Skip(vad(500, 100, 0.25));
    let bracketed = [
        ("chunking_strategy[prefix_padding_ms]", "100"),
        ("chunking_strategy[silence_duration_ms]", "500"),
        ("chunking_strategy[type]", "server_vad"),
        ("chunking_strategy[threshold]", "0.25"),
    ];
    assert_eq!(silence(&bracketed), expected);
    let json = r#"{"type":"server_vad","prefix_padding_ms":100,"silence_duration_ms":500.0,
        "threshold":0.25}"#;
    assert_eq!(silence(&[("chunking_strategy", json)]), expected);
    assert!(read(&bracketed).ignored.is_empty());
}

#[test]
fn silence_is_skipped_as_the_request_or_else_the_server_says() {
    let on = ChunkPolicy::default();
    let off = ChunkPolicy { vad: None, ..on };
    for (fields, usual, expected) in [
        (&[][..], on, on),
        (&[], off, off),
        (&[("vad", "true")], off, on),
        (&[("vad", "false")], on, off),
        (&[("vad_filter", "1")], off, on),
        (&[("vad_filter", "0")], on, off),
        (&[("vad", "1"), ("vad_filter", "0")], off, on),
        (&[("vad", "false"), ("chunking_strategy", "auto")], on, off),
    ] {
        assert_eq!(read(fields).silence.policy(usual), expected, "{fields:?}");
    }
    let both = [("vad", "true"), ("chunking_strategy", "server_vad")];
    assert_eq!(read(&both).silence, read(&both[1..]).silence);
}

#[test]
fn subtitles_are_laid_out_as_asked_for() {
    let fields = [("max_line_length", "30"), ("max_lines", "1"), ("max_chars_per_second", "17.5")];
    let expected = CueRules { line_chars: 30, lines: 1, chars_per_second: Some(17.5) };
    assert_eq!(read(&fields).rendering.cues, expected);
}

#[test]
fn an_endpoint_reports_fields_it_does_not_read() {
    let fields = [("task", "translate"), ("stream", "true"), ("webhook_url", "u"), ("x", "y")];
    let read = |endpoint| {
        let params = read_at(endpoint, &fields).unwrap();
        (params.options.task, params.stream, params.webhook_url, params.ignored.join(" "))
    };
    let webhook = || Some("u".to_owned());
    let transcription = (Task::Transcribe, true, webhook(), "task x".to_owned());
    assert_eq!(read(Endpoint::Transcriptions), transcription);
    let translation = (Task::Translate, true, webhook(), "task x".to_owned());
    assert_eq!(read(Endpoint::Translations), translation);
    let job = (Task::Translate, false, webhook(), "stream x".to_owned());
    assert_eq!(read(Endpoint::Jobs), job);
}
