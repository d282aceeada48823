//! Files, fields and forms that cannot be used: each gets an answer to act on, and none of them
//! keeps the next good request from working.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use reqwest::multipart::{Form, Part};

use super::harness::{Answer, PATIENCE, Server, form, repository, wav};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// Checks that `answer` is an error with all that a client needs to act on it.
#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, code: &str, param: Option<&str>, hint: &str) {
    let message = answer.error(status, code);
    assert!(message.contains(hint), "{hint:?} is not in {message:?}");
    assert_eq!(answer.json()["error"]["param"], serde_json::json!(param), "{answer:?}");
    let (later, never) = (answer.header("retry-after"), answer.header("x-should-retry"));
    assert!(matches!((later, never), (Some(_), None) | (None, Some("false"))), "{answer:?}");
}

/// Checks that a good request works and that nothing is left of those before it.
pub(super) async fn still_works(server: &Server) {
    assert!(server.transcribe(wav(1.0, 1), &[]).await.text().contains("16000 samples"));
    server.until("spool files are left", async || server.spool_files() == 0).await;
}

async fn send(server: &Server, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = server.client.post(server.url(TRANSCRIPTIONS)).timeout(PATIENCE);
    let response = request.header("content-type", content_type).body(body).send().await;
    Answer::read(response.unwrap()).await
}

/// Sends parts, each with its headers, as a form with the boundary `edge`.
async fn send_parts(server: &Server, parts: &[(&str, &[u8])]) -> Answer {
    let mut body = Vec::new();
    for (headers, content) in parts {
        body.extend_from_slice(format!("--edge\r\n{headers}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    send(server, "multipart/form-data; boundary=edge", body).await
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(repository("tests/fixtures/codecs").join(name)).unwrap()
}

/// A second of silence in a WAV file of any shape.
fn silence(channels: u16, sample_rate: u32) -> Vec<u8> {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for _ in 0..sample_rate * u32::from(channels) {
        writer.write_sample(0_i16).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_file_that_is_no_audio_is_refused_by_name() {
    let server = Server::fake("none", &[]).await;
    for (bytes, status, code, hint) in [
        (&b""[..], 400, "empty_file", "check that the upload was complete"),
        (b"How is the weather?", 415, "unsupported_audio", "a text file"),
        (b"<!doctype html><html>", 415, "unsupported_audio", "an HTML page"),
        (b"PK\x03\x04\x14\0\0\0", 415, "unsupported_audio", "a ZIP archive"),
        (b"%PDF-1.7\n%\xe2\xe3", 415, "unsupported_audio", "supported are WAV"),
        (&[0; 100_000], 415, "unsupported_audio", "of no known format"),
        (&wav(0.0, 1), 422, "no_audio", "check that the recording is not empty"),
        (&silence(9, 16_000), 422, "unsupported_layout", "mix it down"),
        (&silence(1, 4_000), 422, "unsupported_layout", "resample it"),
        (&silence(1, 384_000), 422, "unsupported_layout", "resample it"),
    ] {
        // The name and the type claim what the content is not.
        let part = Part::bytes(bytes.to_vec()).file_name("speech.mp3");
        let form = Form::new().part("file", part.mime_str("audio/mpeg").unwrap());
        refused(&server.post(form).await, status, code, Some("file"), hint);
        still_works(&server).await;
    }
    let answer = server.transcribe(fixture("video-only.mp4"), &[]).await;
    refused(&answer, 422, "no_audio", Some("file"), "send a file with sound");
    still_works(&server).await;
}

#[tokio::test]
async fn a_file_that_takes_ffmpeg_is_decoded_where_it_is_and_refused_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["bin", "lib"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let program = folder.path().join("bin/decode");
    let speech = repository("tests/fixtures/codecs/speech.wav");
    fs::copy(speech, folder.path().join("lib/speech.wav")).unwrap();
    fs::write(&program, "#!/bin/sh\ncat \"${0%/*}/../lib/speech.wav\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::fake("none", &["--ffmpeg", program.to_str().unwrap()]).await;
    assert!(server.transcribe(fixture("avi.avi"), &[]).await.text().contains("16000 samples"));
    still_works(&server).await;

    let server = Server::fake("none", &["--ffmpeg", "off"]).await;
    let answer = server.transcribe(fixture("avi.avi"), &[]).await;
    let advice = "the AVI file takes ffmpeg to decode: install ffmpeg on the server";
    refused(&answer, 415, "unsupported_audio", Some("file"), advice);
    still_works(&server).await;
}

#[tokio::test]
async fn a_file_that_breaks_off_is_transcribed_as_far_as_it_goes() {
    let server = Server::fake("none", &[]).await;
    let seconds = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("x-audio-duration").unwrap().parse::<f64>().unwrap()
    };
    for name in [
        "speech.wav",
        "mp3-cbr.mp3",
        "flac.flac",
        "m4a-faststart.m4a",
        "ogg-opus.opus",
        "ogg-vorbis.ogg",
        "webm-opus.webm",
    ] {
        let whole = fixture(name);
        let half = server.transcribe(whole[..whole.len() / 2].to_vec(), &[]).await;
        let part = seconds(&half) / seconds(&server.transcribe(whole, &[]).await);
        assert!((0.2..0.8).contains(&part), "{name}: {part} of it was decoded");
    }
    // Its index is at the end.
    let whole = fixture("m4a-aac.m4a");
    let half = server.transcribe(whole[..whole.len() / 2].to_vec(), &[]).await;
    refused(&half, 422, "undecodable_audio", Some("file"), "export or record it again");
    still_works(&server).await;
}

#[tokio::test]
async fn a_field_that_cannot_be_used_is_named() {
    let server = Server::fake("none", &[]).await;
    let huge = "x".repeat(100_001);
    for (field, value, code, hint) in [
        ("temperature", "abc", "invalid_value", "a number from 0 to 1"),
        ("temperature", "1.5", "invalid_value", "a number from 0 to 1"),
        ("temperature", "NaN", "invalid_value", "a number from 0 to 1"),
        ("timestamp_granularities[]", "page", "invalid_value", "`segment` or `word`"),
        ("timestamp_granularities[]", "word", "invalid_value", "response_format=verbose_json"),
        ("language", "klingon", "invalid_value", "ISO 639"),
        ("model", "gpt-5", "model_not_found", "this server runs demo"),
        ("model", "x\r\nx-evil: 1", "model_not_found", "this server runs demo"),
        ("response_format", "xml", "invalid_value", "json, verbose_json, text, srt, vtt"),
        ("prompt", &huge, "invalid_value", "100000 bytes"),
    ] {
        let answer = server.transcribe(wav(1.0, 1), &[(field, value)]).await;
        refused(&answer, 400, code, Some(field), hint);
        assert_eq!(answer.header("x-evil"), None);
    }
    let twice = server.transcribe(wav(1.0, 1), &[("language", "en"), ("language", "hi")]).await;
    refused(&twice, 400, "invalid_value", Some("language"), "twice");
    let bytes = form(wav(1.0, 1), &[]).part("prompt", Part::bytes(vec![0xff, 0xfe]));
    refused(&server.post(bytes).await, 400, "invalid_value", Some("prompt"), "UTF-8");
    still_works(&server).await;
}

#[tokio::test]
async fn a_form_without_one_file_is_refused() {
    let server = Server::fake("none", &[]).await;
    let none = server.post(Form::new().text("model", "demo")).await;
    refused(&none, 400, "invalid_value", Some("file"), "no field `file`");
    let two = form(wav(1.0, 1), &[]).part("file", Part::bytes(wav(1.0, 2)).file_name("b"));
    refused(&server.post(two).await, 400, "invalid_value", Some("file"), "one file");
    // A field without a file name is a file's content all the same.
    let text = server.post(Form::new().text("file", "abc")).await;
    refused(&text, 415, "unsupported_audio", Some("file"), "a text file");
    for audio in [wav(0.1, 1), wav(10.0, 1), b"only text".to_vec()] {
        let part = Part::bytes(audio).file_name("a.wav");
        let misplaced = server.post(Form::new().part("audio", part)).await;
        refused(
            &misplaced,
            400,
            "invalid_value",
            Some("audio"),
            "in the field `audio`: send it in",
        );
    }
    let many = vec![("x", "1"); 101];
    let many = server.transcribe(wav(1.0, 1), &many).await;
    refused(&many, 400, "invalid_request", None, "more than 100 fields");
    still_works(&server).await;
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused() {
    let server = Server::fake("none", &[]).await;
    for content_type in ["application/json", "multipart/form-data", "audio/wav", "nonsense"] {
        let answer = send(&server, content_type, "{\"file\": \"abc\"}").await;
        refused(&answer, 400, "invalid_request", None, "the form's field `file`");
    }
    let part = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"";
    for body in [
        String::new(),
        "garbage".repeat(1_000),
        "--edge".to_owned(),
        format!("--edge\r\n{part}"),
        format!("--edge\r\n{part}\r\n\r\nRIFF, but it ends in mid-"),
        format!("--edge\r\n{part}\r\n\r\nabc\r\n--edge"),
        "--edge\r\nno header at all\r\n\r\nabc\r\n--edge--\r\n".to_owned(),
    ] {
        let answer = send(&server, "multipart/form-data; boundary=edge", body).await;
        refused(&answer, 400, "invalid_request", None, "was it sent to its end?");
    }
    let nameless = vec![("Content-Disposition: form-data", &b"abc"[..]); 50];
    let answer = send_parts(&server, &nameless).await;
    refused(&answer, 400, "invalid_request", None, "name the audio's `file`");
    let gzip = server.client.post(server.url(TRANSCRIPTIONS)).header("content-encoding", "gzip");
    let answer = gzip.multipart(form(wav(1.0, 1), &[])).send().await.unwrap();
    let answer = Answer::read(answer).await;
    refused(&answer, 415, "content_encoding", None, "send the form as it is");
    still_works(&server).await;
}

#[tokio::test]
async fn a_file_name_is_only_a_name() {
    let server = Server::fake("none", &[]).await;
    for name in ["a.wav\r\nx-evil: 1", "../../etc/passwd", "%00\0", "\u{202e}vaw.a", "a\\\"b"] {
        let headers = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"");
        let answer = send_parts(&server, &[(&headers, &wav(1.0, 1))]).await;
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        assert_eq!(answer.header("x-evil"), None);
        assert!(!server.log().contains(name), "the log tells a file's name");
    }
    still_works(&server).await;
}

#[tokio::test]
async fn headers_without_end_do_not_fill_the_memory() {
    let server = Server::fake("none", &[]).await;
    still_works(&server).await;
    let before = server.peak_memory();
    for start in ["--edge\r\nContent-Disposition: form-data; name=\"", "no boundary "] {
        let mut body = start.as_bytes().to_vec();
        body.resize(64 << 20, b'x');
        let answer = send(&server, "multipart/form-data; boundary=edge", body).await;
        refused(&answer, 400, "invalid_request", None, "4194304 bytes");
    }
    let growth = server.peak_memory() - before;
    assert!(growth < 32 << 20, "the server grew by {growth} bytes");
    still_works(&server).await;
}

#[tokio::test]
async fn an_address_or_method_that_is_not_there_is_reported() {
    let server = Server::fake("none", &[]).await;
    for (method, path, status, code, allow) in [
        ("GET", "/", 404, "not_found", None),
        ("POST", "/v1/audio/transcription", 404, "not_found", None),
        ("GET", "/docs/nowhere", 404, "not_found", None),
        ("GET", "/v1/models/gpt-5", 404, "model_not_found", None),
        ("GET", "/v1/models/%00", 404, "model_not_found", None),
        ("GET", "/v1/models/%ff%fe", 400, "invalid_request", None),
        ("GET", "/%ff%fe", 404, "not_found", None),
        ("GET", TRANSCRIPTIONS, 405, "method_not_allowed", Some("POST")),
        ("OPTIONS", TRANSCRIPTIONS, 405, "method_not_allowed", Some("POST")),
        ("DELETE", "/v1/models/demo", 405, "method_not_allowed", Some("GET,HEAD")),
        ("NONSENSE", "/healthz", 405, "method_not_allowed", Some("GET,HEAD")),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let response = server.client.request(method, server.url(path)).send().await.unwrap();
        let answer = Answer::read(response).await;
        refused(&answer, status, code, None, "GET /");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for (path, status) in [("/healthz", 200), ("/nowhere", 404)] {
        let response = server.client.head(server.url(path)).send().await.unwrap();
        let answer = Answer::read(response).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{path}");
    }
    still_works(&server).await;
}

#[tokio::test]
async fn a_file_that_takes_too_long_to_decode_is_refused() {
    let server = Server::fake("none", &["--max-decode-seconds", "0.000001"]).await;
    let answer = server.transcribe(wav(5.0, 1), &[]).await;
    refused(&answer, 422, "decoding_timeout", Some("file"), "convert it to WAV or FLAC");
    // Nothing good can be sent to it.
    server.until("spool files are left", async || server.spool_files() == 0).await;
}

#[tokio::test]
async fn audio_longer_than_the_limit_is_refused() {
    let server = Server::fake("none", &["--max-audio-hours", "0.001"]).await;
    let answer = server.transcribe(wav(5.0, 1), &[]).await;
    refused(&answer, 413, "audio_too_long", Some("file"), "3.6 seconds");
    refused(&answer, 413, "audio_too_long", Some("file"), "--max-audio-hours");
    still_works(&server).await;
}
