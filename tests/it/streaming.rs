//! Transcripts that come while they are made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;

use super::harness::{Server, clip, form, repository, wav};

/// What an event carries.
#[derive(Debug)]
pub enum Event {
    Data(Value),
    Done,
    Heartbeat,
}

/// The events of an answer, as they come.
pub fn events(response: reqwest::Response) -> impl Stream<Item = Event> + Unpin {
    let bytes = Box::pin(response.bytes_stream());
    let state = (bytes, Vec::new());
    let events = futures_util::stream::unfold(state, |(mut bytes, mut waiting)| async move {
        loop {
            if let Some(end) = waiting.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = waiting.drain(..end + 2).collect();
                let event = read(std::str::from_utf8(&event[..end]).unwrap());
                return Some((event, (bytes, waiting)));
            }
            waiting.extend_from_slice(&bytes.next().await?.ok()?);
        }
    });
    Box::pin(events)
}

fn read(event: &str) -> Event {
    if event.starts_with(':') {
        return Event::Heartbeat;
    }
    match event.lines().find_map(|line| line.strip_prefix("data: ")) {
        Some("[DONE]") => Event::Done,
        Some(data) => Event::Data(serde_json::from_str(data).unwrap()),
        None => panic!("no event: {event:?}"),
    }
}

/// The joined deltas and the last event of a stream that ends as it should.
pub async fn read_stream(response: reqwest::Response) -> (String, Value) {
    let mut events = events(response);
    let (mut joined, mut last) = (String::new(), Value::Null);
    loop {
        match events.next().await.expect("a stream ends with [DONE]") {
            Event::Data(data) => {
                joined.push_str(data["delta"].as_str().unwrap_or_default());
                last = data;
            }
            Event::Done => break,
            Event::Heartbeat => {}
        }
    }
    assert!(events.next().await.is_none(), "something comes after [DONE]");
    (joined, last)
}

async fn stream(server: &Server, audio: Vec<u8>, fields: &[(&str, &str)]) -> reqwest::Response {
    let form = form(audio, fields).text("stream", "true");
    let url = server.url("/v1/audio/transcriptions");
    server.client.post(url).multipart(form).send().await.unwrap()
}

#[tokio::test]
async fn deltas_join_to_the_text_in_every_format_that_can_be_streamed() {
    let server = Server::demo(&[]).await;
    let whole = server.transcribe(clip("28.flac"), &[]).await.text();
    for fields in [
        &[][..],
        &[("response_format", "text")],
        &[("response_format", "verbose_json")],
        &[("include[]", "logprobs")],
        &[("chunking_strategy", "{\"type\":\"server_vad\"}"), ("language", "en")],
    ] {
        let response = stream(&server, clip("28.flac"), fields).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (joined, last) = read_stream(response).await;
        assert_eq!(last["type"], "transcript.text.done");
        assert_eq!(last["text"], joined, "{fields:?}");
        assert_eq!(last["usage"]["seconds"], 39);
        assert_eq!(last["runs"][0]["device"], "cpu");
        if !fields.iter().any(|(name, _)| *name == "chunking_strategy") {
            assert_eq!(joined, whole, "{fields:?}");
        }
    }
}

#[tokio::test]
async fn segments_and_log_probabilities_come_if_they_are_asked_for() {
    let server = Server::demo(&[]).await;
    let seen = async |fields: &[(&str, &str)]| {
        let events = events(stream(&server, clip("28.flac"), fields).await);
        events.collect::<Vec<_>>().await
    };
    let of = |events: &[Event], kind: &str| {
        let data = events.iter().filter_map(|event| match event {
            Event::Data(data) if data["type"] == kind => Some(data.clone()),
            _ => None,
        });
        data.collect::<Vec<_>>()
    };
    let timed = seen(&[("response_format", "verbose_json")]).await;
    let segments = of(&timed, "transcript.text.segment");
    assert_eq!(segments.len(), 12);
    for (segment, id) in segments.iter().zip(0..) {
        assert_eq!(segment["id"], id);
        assert!(segment["end"].as_f64() > segment["start"].as_f64(), "{segment}");
    }
    assert!(segments[11]["start"].as_f64().unwrap() > 30.0, "times are the file's");
    let sure = seen(&[("include[]", "logprobs")]).await;
    for delta in of(&sure, "transcript.text.delta") {
        let tokens = delta["logprobs"].as_array().unwrap();
        let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
        assert_eq!(text.trim(), delta["delta"].as_str().unwrap().trim());
    }
    assert!(of(&sure, "transcript.text.segment").is_empty());
}

#[tokio::test]
async fn the_first_words_come_long_before_the_last() {
    let server = Server::fake("none,speed=300", &["--slots", "1"]).await;
    let mut events = events(stream(&server, wav(600.0, 1), &[("language", "en")]).await);
    let started = Instant::now();
    let mut first = None;
    while let Some(event) = events.next().await {
        if matches!(&event, Event::Data(data) if data["type"] == "transcript.text.delta") {
            first.get_or_insert_with(|| started.elapsed());
        }
    }
    let (first, last) = (first.unwrap(), started.elapsed());
    assert!(first * 4 < last, "first {first:?}, last {last:?}");
}

#[tokio::test]
async fn finished_text_is_sent_while_the_rest_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    // Beside its program, ffmpeg reaches this folder only.
    for name in ["bin", "lib"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let path = |name: &str| folder.path().join("lib").join(name);
    let audio = wav(90.0, 1);
    let (minute, rest) = audio.split_at(2 * audio.len() / 3);
    fs::write(path("minute"), minute).unwrap();
    mkfifoat(CWD, path("rest"), Mode::RUSR | Mode::WUSR).unwrap();
    // Stands in for ffmpeg. It writes a minute, and the rest only when this test does.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *pipe:1) exec cat '{}' '{}';; esac\n",
        path("minute").display(),
        path("rest").display()
    );
    let program = folder.path().join("bin/ffmpeg");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::fake("none", &["--ffmpeg", program.to_str().unwrap()]).await;
    let file = fs::read(repository("tests/fixtures/codecs/avi.avi")).unwrap();

    let response = stream(&server, file, &[("language", "en")]).await;
    let mut events =
        events(response).filter(|event| std::future::ready(!matches!(event, Event::Heartbeat)));
    let first = events.next().await;
    let Some(Event::Data(first)) = first else { panic!("{first:?}") };
    assert_eq!(first["type"], "transcript.text.delta", "{first}");
    fs::write(path("rest"), rest).unwrap();
    let events: Vec<Event> = events.collect().await;
    let [.., Event::Data(last), Event::Done] = &events[..] else { panic!("{events:?}") };
    assert_eq!(last["usage"]["seconds"], 90);
}

#[tokio::test]
async fn what_is_wrong_before_the_first_word_is_an_ordinary_error() {
    let server = Server::fake("none", &[]).await;
    let refused = stream(&server, b"no audio".to_vec(), &[]).await;
    assert_eq!(refused.status(), 415);
    let refused = stream(&server, wav(1.0, 1), &[("response_format", "srt")]).await;
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["param"], "stream");
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_reported_as_an_event() {
    let server = Server::fake("error,chunk=0,prompt=bad", &["--slots", "1"]).await;
    let (joined, last) =
        read_stream(stream(&server, wav(5.0, 1), &[("prompt", "bad")]).await).await;
    assert_eq!(joined, "");
    assert_eq!(last["error"]["code"], "engine_failed");
    let keys: Vec<&String> = last["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "param", "type"]);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let server = Server::fake("none,speed=2", &["--slots", "1"]).await;
    let busy = async || server.devices().await["devices"][0]["busy_slots"] == 1;
    for fields in [&[("stream", "true")][..], &[]] {
        let form = form(wav(60.0, 1), fields);
        let url = server.url("/v1/audio/transcriptions");
        let client = tokio::spawn(server.client.post(url).multipart(form).send());
        server.until("nothing runs", busy).await;
        let response = match fields {
            [] => {
                client.abort();
                None
            }
            _ => Some(client.await.unwrap().unwrap()),
        };
        drop(response);
        let left = Instant::now();
        server.until("the slot stays in use", async || !busy().await).await;
        assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    }
}

#[tokio::test]
async fn lines_of_json_come_while_they_are_made() {
    let server = Server::fake("none", &[]).await;
    let fields = [("response_format", "ndjson"), ("timestamp_granularities[]", "word")];
    let response = stream(&server, wav(70.0, 1), &fields).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let streamed = response.text().await.unwrap();
    let whole = server.transcribe(wav(70.0, 1), &fields).await.body;
    assert_eq!(whole.lines().count(), 4, "{whole}");
    assert_eq!(streamed, whole);
}

#[tokio::test]
async fn a_cut_stream_of_a_job_goes_on_behind_the_last_event() {
    let server = Server::demo(&[]).await;
    let fields = [("response_format", "verbose_json")];
    let job = server.submit(clip("28.flac"), &fields).await;
    let id = job["id"].as_str().unwrap();
    server.ended(id).await;
    let url = server.url(&format!("/v1/jobs/{id}/events"));
    let follow = async |last: Option<&str>| {
        let request = server.client.get(&url);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        request.send().await.unwrap().text().await.unwrap()
    };
    let all = follow(None).await;
    let events: Vec<&str> = all.split_inclusive("\n\n").collect();
    let (end, told) = events.split_last().unwrap();
    assert_eq!(*end, "data: [DONE]\n\n");
    let ids: Vec<&str> = told
        .iter()
        .map(|event| event.lines().find_map(|line| line.strip_prefix("id: ")).expect(event))
        .collect();
    assert!(ids.contains(&"1.3") && ids.contains(&"2.1"), "{ids:?}");
    for (cut, id) in (1..).zip(&ids) {
        let (before, behind) = (events[..cut].concat(), follow(Some(id)).await);
        assert_eq!(behind, events[cut..].concat(), "behind {id}");
        let (joined, text) = deltas_and_text(&(before + &behind));
        assert_eq!(joined, text, "cut behind {id}");
    }

    let second = ids.iter().position(|id| *id == "2.1").unwrap();
    assert_eq!(follow(Some("1")).await, events[second..].concat());
    for garbage in ["x", "1.x", "", "0"] {
        assert_eq!(follow(Some(garbage)).await, all, "{garbage:?}");
    }
    let last = events[events.len() - 2..].concat();
    assert_eq!(follow(Some("99.9")).await, last);
    assert_eq!(follow(Some("99")).await, last);
}

/// The joined deltas of a stream, and the text that it ends with.
fn deltas_and_text(stream: &str) -> (String, String) {
    let (mut joined, mut text) = (String::new(), String::new());
    for event in stream.split_terminator("\n\n") {
        if let Event::Data(data) = read(event) {
            joined.push_str(data["delta"].as_str().unwrap_or_default());
            text.push_str(
                data["text"].as_str().filter(|_| data["usage"].is_object()).unwrap_or(""),
            );
        }
    }
    (joined, text)
}
