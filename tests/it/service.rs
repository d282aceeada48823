//! What a client sees when everything works.

use super::bad_input::refused;
use super::harness::{Server, clip, wav};

#[tokio::test]
async fn a_clip_is_transcribed_and_the_answer_reports_where() {
    let server = Server::demo(&[]).await;
    let answer = server.transcribe(clip("00.flac"), &[]).await;
    assert_eq!(answer.text(), "How is the weather in Boston tomorrow?");
    assert_eq!(answer.header("x-device"), Some("cpu"));
    assert_eq!(answer.header("x-model"), Some("demo"));
    assert_eq!(answer.header("x-audio-duration"), Some("3.332"));
    assert_eq!(answer.header("x-fallback-reason"), None);
    for number in ["x-queue-time", "x-inference-time", "x-rtf"] {
        assert!(answer.header(number).unwrap().parse::<f64>().unwrap() >= 0.0, "{number}");
    }
    assert_eq!(server.spool_files(), 0);
}

#[tokio::test]
async fn every_format_comes_with_its_content_type() {
    let server = Server::demo(&[]).await;
    for (format, content_type, needle) in [
        ("json", "application/json", "\"usage\":{\"type\":\"duration\",\"seconds\":4}"),
        ("verbose_json", "application/json", "\"language\":\"english\""),
        ("text", "text/plain; charset=utf-8", "How is the weather in Boston tomorrow?\n"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n"),
    ] {
        let answer = server.transcribe(clip("00.flac"), &[("response_format", format)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert!(answer.body.contains(needle), "{format}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_repeated_request_has_the_same_answer_whatever_ran_between() {
    let server = Server::demo(&["--slots", "1", "--threads", "1", "--no-vad"]).await;
    for language in [&[][..], &[("language", "en")]] {
        let fields = [&[("response_format", "verbose_json")], language].concat();
        let first = server.transcribe(clip("00.flac"), &fields).await;
        assert!(first.text().contains("Boston"), "{first:?}");
        for between in [clip("22.flac"), wav(5.0, 1)] {
            server.transcribe(between, &fields).await;
            assert_eq!(server.transcribe(clip("00.flac"), &fields).await.body, first.body);
        }
    }
}

#[tokio::test]
async fn a_hindi_clip_is_translated() {
    let server = Server::demo(&[]).await;
    let form = super::harness::form(clip("22.flac"), &[("response_format", "verbose_json")]);
    let answer = server.post_to("/v1/audio/translations", form).await;
    assert_eq!(answer.json()["task"], "translate");
    assert!(answer.text().is_ascii(), "{}", answer.text());
}

#[tokio::test]
async fn a_long_file_uses_every_slot_and_comes_back_in_order() {
    let server = Server::fake("none,speed=200", &["--slots", "3", "--threads", "1"]).await;
    let answer = server.transcribe(wav(300.0, 1), &[("response_format", "verbose_json")]).await;
    let body = answer.json();
    let segments = body["segments"].as_array().unwrap();
    assert!(segments.len() >= 10, "{} segments", segments.len());
    let mut end = 0.0;
    for segment in segments {
        assert!((segment["start"].as_f64().unwrap() - end).abs() < 0.002, "{segment}");
        end = segment["end"].as_f64().unwrap();
        assert!(end - segment["start"].as_f64().unwrap() <= 30.0);
    }
    assert!((end - 300.0).abs() < 0.002);
}

#[tokio::test]
async fn a_short_clip_does_not_wait_behind_a_long_file() {
    let server = Server::fake("none,speed=60", &["--slots", "1"]).await;
    let long = server.transcribe(wav(240.0, 1), &[]);
    let short = async {
        server
            .until("the long file never started", async || {
                server.devices().await["devices"][0]["busy_slots"] == 1
            })
            .await;
        server.transcribe(wav(1.0, 2), &[]).await
    };
    tokio::pin!(long);
    tokio::select! {
        _ = &mut long => panic!("the long file was finished first"),
        answer = short => assert_eq!(answer.status, 200),
    }
    assert_eq!(long.await.status, 200);
}

#[tokio::test]
async fn models_have_the_names_that_clients_send() {
    let server = Server::fake("none", &["--model-aliases", "fast=demo"]).await;
    for name in ["fast", "FAST", "demo", "gpt-4o-mini-transcribe", "whisper-large-v3-turbo", ""] {
        let answer = server.transcribe(wav(1.0, 1), &[("model", name)]).await;
        assert_eq!((answer.status, answer.header("x-model")), (200, Some("demo")), "{name}");
    }
    let answer = server.transcribe(wav(1.0, 1), &[("model", "large")]).await;
    refused(&answer, 400, "model_not_found", Some("model"), "with `whisper-1`, or without a model");
    let models: serde_json::Value = server.get("/v1/models").await.json().await.unwrap();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["demo", "whisper-1", "fast"]);
}

#[tokio::test]
async fn models_devices_and_documents_are_served() {
    let server = Server::fake("none", &[]).await;
    let models: serde_json::Value = server.get("/v1/models").await.json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "demo");
    for name in ["whisper-1", "gpt-4o-transcribe", "whisper-large-v3-turbo"] {
        assert_eq!(server.get(&format!("/v1/models/{name}")).await.status(), 200);
    }
    let devices = server.devices().await;
    assert_eq!(devices["devices"][0]["state"], "ready");
    assert_eq!(devices["unused"][0]["backend"], "cuda");
    let page = server.get("/docs/").await.text().await.unwrap();
    assert!(page.contains("swagger"), "{page}");
    server.transcribe(wav(1.0, 1), &[]).await;
    let metrics = server.get("/metrics").await.text().await.unwrap();
    for name in
        ["auris_http_requests_total", "auris_chunks_total", "auris_inference_seconds_bucket"]
    {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
}
