//! What a form can say, and what is done with it.

use reqwest::multipart::{Form, Part};

use super::bad_input::refused;
use super::harness::{Answer, Server, clip, form, wav};

#[tokio::test]
async fn every_field_that_cannot_be_used_is_named() {
    let server = Server::fake("none", &[]).await;
    for (field, value, hint) in [
        ("language", "klingon", "ISO 639"),
        ("languages[]", "klingon", "ISO 639"),
        ("languages[0]", "klingon", "ISO 639"),
        ("response_format", "diarized_json", "does not distinguish speakers"),
        ("known_speaker_names[]", "Ravi", "does not distinguish speakers"),
        ("temperature", "2", "a number from 0 to 1"),
        ("include[]", "all", "`logprobs`"),
        ("timestamp_granularities", "page", "`segment` or `word`"),
        ("stream", "maybe", "true or false"),
        ("chunking_strategy", "none", "`auto` or `server_vad`"),
        ("chunking_strategy[type]", "none", "`auto` or `server_vad`"),
        ("chunking_strategy[threshold]", "0.5", "needs chunking_strategy[type]"),
        ("keywords[]", &"k".repeat(101), "100 characters"),
        ("hotwords", &"k".repeat(101), "100 characters"),
        ("max_line_length", "1", "from 10 to 200"),
        ("max_lines", "many", "from 1 to 10"),
        ("track", "two words", "its number from 1"),
        ("channel", "both", "mix, left, right, split"),
        ("max_chars_per_second", "1", "from 5 to 100"),
    ] {
        let answer = server.transcribe(wav(1.0, 1), &[(field, value)]).await;
        refused(&answer, 400, "invalid_value", Some(field), hint);
    }
    for field in ["model", "prompt", "temperature", "stream", "chunking_strategy", "max_lines"] {
        let fields = [(field, "1"), ("x", "y"), (field, "1")];
        let answer = server.transcribe(wav(1.0, 1), &fields).await;
        refused(&answer, 400, "invalid_value", Some(field), "twice");
    }
    for (fields, param) in [
        ([("language", "hi"), ("languages[]", "en")], "language"),
        ([("stream", "true"), ("response_format", "srt")], "stream"),
        ([("include[]", "logprobs"), ("response_format", "text")], "include[]"),
    ] {
        let answer = server.transcribe(wav(1.0, 1), &fields).await;
        refused(&answer, 400, "invalid_value", Some(param), "");
    }
}

#[tokio::test]
async fn fields_may_stand_before_and_behind_the_file() {
    let server = Server::fake("none", &[]).await;
    let file = || Part::bytes(wav(1.0, 1)).file_name("upload");
    for form in [
        Form::new().part("file", file()).text("response_format", "text"),
        Form::new().text("response_format", "text").part("file", file()),
        Form::new().text("model", "").part("audio_file", file()).text("response_format", "text"),
    ] {
        let answer = server.post(form).await;
        assert!(answer.body.starts_with("16000 samples"), "{answer:?}");
    }
    let both = Form::new().part("file", file()).part("audio_file", file());
    refused(&server.post(both).await, 400, "invalid_value", Some("audio_file"), "one file");
}

#[tokio::test]
async fn an_unknown_field_is_reported() {
    let server = Server::fake("none", &[]).await;
    let ignored = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("x-ignored-fields").map(str::to_owned)
    };
    let answer = server.transcribe(wav(1.0, 1), &[("temperature", "0"), ("language", "")]).await;
    assert_eq!(ignored(&answer), None);
    let fields = [("beam_size", "5"), ("best_of", "5"), ("beam_size", "5"), ("x[y]", "z")];
    let answer = server.transcribe(wav(1.0, 1), &fields).await;
    assert_eq!(ignored(&answer).as_deref(), Some("beam_size, best_of, x[y]"));
}

#[tokio::test]
async fn keywords_reach_the_engine() {
    let server = Server::fake("error,prompt=Tea. Darjeeling", &[]).await;
    assert_eq!(server.transcribe(wav(1.0, 1), &[("prompt", "Tea.")]).await.status, 200);
    let fields = [("keywords[]", "Darjeeling"), ("prompt", "Tea."), ("keywords[]", "Ravi")];
    server.transcribe(wav(1.0, 2), &fields).await.error(500, "engine_failed");
}

#[tokio::test]
async fn detection_chooses_among_the_languages_that_are_given() {
    let server = Server::demo(&[]).await;
    let detected = async |fields: &[(&str, &str)]| {
        let fields = [&[("response_format", "verbose_json")], fields].concat();
        server.transcribe(clip("22.flac"), &fields).await.json()["language"].clone()
    };
    assert_eq!(detected(&[]).await, "hindi");
    assert_eq!(detected(&[("languages[]", "en"), ("languages[]", "hi")]).await, "hindi");
    assert_eq!(detected(&[("languages[]", "en")]).await, "english");
    // The model does not know Cantonese.
    assert_eq!(detected(&[("languages", "yue,en"), ("model", "demo")]).await, "english");
    let none = [("languages[]", "yue"), ("model", "demo")];
    let answer = server.transcribe(clip("22.flac"), &none).await;
    refused(&answer, 400, "invalid_value", Some("language"), "does not know cantonese");
}

#[tokio::test]
async fn pauses_end_chunks_if_that_is_asked_for() {
    let server = Server::fake("none", &[]).await;
    let runs = async |fields: &[(&str, &str)]| {
        let fields = [&[("response_format", "verbose_json")], fields].concat();
        let answer = server.transcribe(clip("29.flac"), &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["runs"].as_array().unwrap().len()
    };
    let auto = runs(&[("chunking_strategy", "auto")]).await;
    assert_eq!(auto, runs(&[]).await);
    let pauses = runs(&[("chunking_strategy[type]", "server_vad")]).await;
    assert!(pauses > 2 * auto, "{pauses} chunks instead of {auto}");
    let json = r#"{"type": "server_vad", "silence_duration_ms": 10000}"#;
    assert_eq!(auto, runs(&[("chunking_strategy", json)]).await);
}

#[tokio::test]
async fn a_translation_takes_the_same_fields() {
    let server = Server::fake("none", &[]).await;
    let fields = [("languages", "hi"), ("response_format", "verbose_json"), ("task", "x")];
    let form = form(wav(1.0, 1), &fields);
    let answer = server.post_to("/v1/audio/translations", form).await;
    assert_eq!(answer.json()["task"], "translate");
    assert_eq!(answer.header("x-ignored-fields"), Some("task"));
}
