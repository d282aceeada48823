//! The interfaces of other servers: what their clients send and expect.

use reqwest::multipart::{Form, Part};
use serde_json::json;

use super::bad_input::{refused, still_works};
use super::harness::{Answer, Server, clip, form, wav};

/// A form as clients of whisper-asr-webservice send it.
fn audio_file(audio: Vec<u8>) -> Form {
    Form::new().part("audio_file", Part::bytes(audio).file_name("talk.mkv"))
}

async fn infer(server: &Server, audio: Vec<u8>, fields: &[(&str, &str)]) -> Answer {
    server.post_to("/inference", form(audio, fields)).await
}

async fn asr(server: &Server, audio: Vec<u8>, query: &str) -> Answer {
    server.post_to(&format!("/asr?{query}"), audio_file(audio)).await
}

#[track_caller]
fn check(answer: &Answer, content_type: &str, needle: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some(content_type), "{answer:?}");
    assert!(answer.body.contains(needle), "{needle:?} is not in {answer:?}");
    assert_eq!(answer.header("x-device"), Some("cpu"));
}

/// Mono samples of 16 bits at 16 kHz without a header.
fn bare_samples(seconds: f64) -> Vec<u8> {
    wav(seconds, 1)[44..].to_vec()
}

#[tokio::test]
async fn whisper_cpps_clients_get_every_format() {
    let server = Server::fake("none", &[]).await;
    for (format, content_type, needle) in [
        ("", "application/json", "{\"text\":\"16000 samples"),
        ("json", "application/json", "{\"text\":\"16000 samples"),
        ("text", "text/plain; charset=utf-8", "16000 samples"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,000\n16000 samples"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000"),
        ("verbose_json", "application/json", "\"words\":[{\"word\":\"16000 samples"),
    ] {
        let fields = [("response_format", format), ("temperature", "0.0"), ("language", "auto")];
        check(&infer(&server, wav(1.0, 1), &fields).await, content_type, needle);
    }
}

#[tokio::test]
async fn whisper_cpps_parameters_are_used_or_reported() {
    let server = Server::fake("error,prompt=Zanzibar", &[]).await;
    let fields = [
        ("translate", "true"),
        ("language", "hi"),
        ("response_format", "verbose_json"),
        ("temperature", "0.4"),
        ("temperature_inc", "0.2"),
        ("no_speech_thold", "0.6"),
        ("vad", "false"),
    ];
    let answer = infer(&server, wav(1.0, 1), &fields).await;
    assert_eq!(answer.header("x-ignored-fields"), Some("no_speech_thold, temperature_inc"));
    let body = answer.json();
    assert_eq!((&body["task"], &body["language"]), (&json!("translate"), &json!("english")));
    assert_eq!(body["segments"][0]["temperature"].as_f64().map(|t| (t * 10.0).round()), Some(4.0));
    let prompted = infer(&server, wav(1.0, 1), &[("prompt", "Zanzibar")]).await;
    prompted.error(500, "engine_failed");
    for (field, value) in [
        ("translate", "maybe"),
        ("language", "klingon"),
        ("response_format", "xml"),
        ("temperature", "hot"),
        ("model", "gpt-5"),
    ] {
        let code = if field == "model" { "model_not_found" } else { "invalid_value" };
        let answer = infer(&server, wav(1.0, 1), &[(field, value)]).await;
        refused(&answer, 400, code, Some(field), "");
    }
    let answer = server.post_to("/inference", Form::new().text("temperature", "0")).await;
    refused(&answer, 400, "invalid_value", Some("file"), "no field `file`");
    still_works(&server).await;
}

#[tokio::test]
async fn whisper_asr_webservices_clients_get_every_output() {
    let server = Server::fake("none", &[]).await;
    for (query, content_type, needle) in [
        ("", "text/plain; charset=utf-8", "16000 samples"),
        ("output=txt&encode=true", "text/plain; charset=utf-8", "16000 samples"),
        ("output=srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,000\n"),
        ("output=vtt&task=translate", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000"),
        ("output=tsv", "text/tab-separated-values; charset=utf-8", "start\tend\ttext\n"),
        ("output=json&language=hi", "application/json", "\"language\":\"hi\""),
    ] {
        check(&asr(&server, wav(1.0, 1), query).await, content_type, needle);
    }
    let answer = asr(&server, wav(1.0, 1), "vad_filter=true&video_file=a.mkv").await;
    assert_eq!(answer.header("x-ignored-fields"), Some("video_file"));
    assert_eq!(answer.body, "\n");
    for (query, param) in [
        ("output=xml", "output"),
        ("output=text", "output"),
        ("task=summarise", "task"),
        ("language=klingon", "language"),
        ("word_timestamps=maybe", "word_timestamps"),
        ("encode=2", "encode"),
        ("vad_filter=maybe", "vad_filter"),
        ("task=translate&task=translate", "task"),
    ] {
        let answer = asr(&server, wav(1.0, 1), query).await;
        refused(&answer, 400, "invalid_value", Some(param), "");
    }
    refused(&asr(&server, b"text".to_vec(), "").await, 415, "unsupported_audio", Some("file"), "");
    still_works(&server).await;
}

#[tokio::test]
async fn bare_samples_are_taken_for_what_they_are() {
    let server = Server::fake("none", &[]).await;
    let said = asr(&server, wav(1.0, 1), "").await.body;
    for audio in [bare_samples(1.0), wav(1.0, 1)] {
        assert_eq!(asr(&server, audio, "encode=false").await.body, said);
    }
    let answer = asr(&server, Vec::new(), "encode=false").await;
    refused(&answer, 400, "empty_file", Some("file"), "");
    let answer = server.post_to("/detect-language?encode=False", audio_file(bare_samples(2.0)));
    assert_eq!(answer.await.json()["language_code"], "en");
    still_works(&server).await;
}

#[tokio::test]
async fn a_language_is_detected_by_the_first_chunk_alone() {
    let server = Server::fake("none", &[]).await;
    // At the fake engine's word, and without an hour's work.
    let answer = server.post_to("/detect-language?x=1", audio_file(wav(100.0, 1))).await;
    assert_eq!(answer.header("x-ignored-fields"), Some("x"));
    assert_eq!(answer.header("x-model"), Some("demo"));
    let expected =
        json!({"detected_language": "english", "language_code": "en", "confidence": 1.0});
    assert_eq!(answer.json(), expected);
    let answer = server.post_to("/detect-language", audio_file(wav(0.0, 1))).await;
    refused(&answer, 422, "no_audio", Some("file"), "");
    still_works(&server).await;
}

#[tokio::test]
async fn the_demo_model_answers_on_the_paths_of_others() {
    let server = Server::demo(&[]).await;
    let expected = "How is the weather in Boston tomorrow?";
    assert_eq!(infer(&server, clip("00.flac"), &[]).await.text(), expected);

    let answer = asr(&server, clip("00.flac"), "output=json&word_timestamps=true").await.json();
    assert_eq!((&answer["text"], &answer["language"]), (&json!(expected), &json!("en")));
    let segment = &answer["segments"][0];
    assert!(segment["avg_logprob"].is_number() && segment["seek"].is_number(), "{segment}");
    let words: Vec<_> = segment["words"].as_array().unwrap().iter().collect();
    assert_eq!(words[0]["word"], "How");
    assert!(words.iter().all(|w| w["probability"].is_number() && w["start"].is_number()));
    let answer = asr(&server, clip("00.flac"), "output=json").await.json();
    assert_eq!(answer["segments"][0].get("words"), None);

    for (name, code) in [("00.flac", "en"), ("22.flac", "hi")] {
        let answer = server.post_to("/detect-language", audio_file(clip(name))).await.json();
        assert_eq!(answer["language_code"], code, "{answer}");
        assert!(answer["confidence"].as_f64().unwrap() > 0.5, "{answer}");
    }
}
