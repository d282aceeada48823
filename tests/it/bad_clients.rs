//! Clients that send too much, too slowly, at a bad time or not to the end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bad_input::{refused, still_works};
use super::harness::{Answer, PATIENCE, Server, wav};

/// Connects and writes a request's start: `headers` and the `body` as far as it is sent.
async fn begin(server: &Server, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\n{headers}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// Sends `audio` and does not wait for the answer.
async fn submit(server: &Server, audio: &[u8]) -> TcpStream {
    // With a language, so that every chunk is a transcription.
    let language = "--edge\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n";
    let body = [language.as_bytes(), FILE_START.as_bytes(), audio, b"\r\n--edge--\r\n"].concat();
    begin(server, &format!("Content-Length: {}", body.len()), &body).await
}

const FILE_START: &str =
    "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";

/// Reads an answer as it stands on the wire.
pub(super) async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut answer = None;
    while answer.is_none() {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.unwrap().unwrap();
        assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&bytes));
        answer = parse(&String::from_utf8_lossy(&bytes));
    }
    answer.unwrap()
}

/// The answer, when it is there to its end.
fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    (body.len() >= length).then(|| Answer { status, headers, body: body.to_owned() })
}

async fn busy_slots(server: &Server) -> u64 {
    server.devices().await["devices"][0]["busy_slots"].as_u64().unwrap()
}

#[tokio::test]
async fn an_upload_beyond_the_limit_is_refused_and_its_client_sees_it() {
    let server = Server::fake("none", &["--max-upload-bytes", "100000"]).await;
    // More than the system's buffers take: the client writes on after it was refused.
    let audio = vec![0; 20 << 20];
    let mut declared = submit(&server, &audio).await;
    let answer = read(&mut declared).await;
    refused(&answer, 413, "file_too_large", Some("file"), "100000 bytes");
    refused(&answer, 413, "file_too_large", Some("file"), "--max-upload-bytes");
    still_works(&server).await;

    let chunk = [b"100000\r\n", &audio[..1 << 20], b"\r\n"].concat();
    let first = format!("{:x}\r\n{FILE_START}\r\n", FILE_START.len());
    let body = [first.as_bytes(), &chunk.repeat(20), b"0\r\n\r\n"].concat();
    let mut chunked = begin(&server, "Transfer-Encoding: chunked", &body).await;
    let answer = read(&mut chunked).await;
    refused(&answer, 413, "file_too_large", Some("file"), "--max-upload-bytes");
    still_works(&server).await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let server = Server::fake("none", &["--max-upload-bytes", "100000"]).await;
    let headers = "Content-Length: 20000000\r\nExpect: 100-continue";
    let answer = read(&mut begin(&server, headers, b"").await).await;
    refused(&answer, 413, "file_too_large", Some("file"), "100000 bytes");
    still_works(&server).await;
}

#[tokio::test]
async fn a_client_that_stops_sending_is_reported() {
    let server = Server::fake("none", &["--upload-idle-seconds", "0.3"]).await;
    for body in ["", "--edge\r\nContent-Dispo", FILE_START] {
        let mut stream = begin(&server, "Content-Length: 1000", body.as_bytes()).await;
        let answer = read(&mut stream).await;
        refused(&answer, 408, "upload_stalled", None, "nothing was received for 0.3 s");
    }
    still_works(&server).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = Server::fake("none", &["--connection-idle-seconds", "0.3"]).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // Nothing, half a head, and nothing behind a first request.
    for (sent, is_answered) in [("", false), (&health[..30], false), (health, true)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), is_answered, "{sent:?}");
    }
    // Whoever waits for an answer, or takes time to send a file, is not meant.
    let mut slow = begin(&server, "Content-Length: 1000", FILE_START.as_bytes()).await;
    let until_closed = timeout(Duration::from_secs(1), slow.read_u8()).await;
    assert!(until_closed.is_err(), "{until_closed:?}");
    drop(slow);
    still_works(&server).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_upload_leaves_nothing() {
    let server = Server::fake("none", &[]).await;
    let stream = begin(&server, "Content-Length: 1000", FILE_START.as_bytes()).await;
    server.until("the upload did not begin", async || server.spool_files() == 1).await;
    drop(stream);
    server.until("the spool file is kept", async || server.spool_files() == 0).await;
    still_works(&server).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_transcription_frees_its_slot() {
    let server = Server::fake("none,speed=5", &["--slots", "1"]).await;
    let stream = submit(&server, &wav(60.0, 1)).await;
    server.until("the chunk did not start", async || busy_slots(&server).await == 1).await;
    drop(stream);
    server.until("the slot stays busy", async || busy_slots(&server).await == 0).await;
    let devices = server.devices().await;
    assert_eq!(devices["devices"][0]["models"][0]["chunks"], 0, "the chunk was finished");
    assert_eq!(devices["queued_chunks"], 0);
    still_works(&server).await;
}

#[tokio::test]
async fn a_full_queue_returns_retry_after() {
    for (share, status, code) in [("1", 503, "overloaded"), ("0.5", 429, "rate_limit_exceeded")] {
        let capacity = ["--max-queue-minutes", "1", "--caller-share", share, "--slots", "1"];
        let server = Server::fake("none,speed=20", &capacity).await;
        // The promise is made from the speed that was measured.
        assert_eq!(server.transcribe(wav(5.0, 3), &[]).await.status, 200);
        let mut first = submit(&server, &wav(80.0, 1)).await;
        server.until("the first did not start", async || busy_slots(&server).await == 1).await;
        let mut answer = server.transcribe(wav(1.0, 2), &[]).await;
        refused(&answer, status, code, None, "try again in");
        while let Some(wait) = answer.header("retry-after") {
            let wait = Duration::from_secs(wait.parse().unwrap());
            assert!(wait <= PATIENCE, "{wait:?}");
            tokio::time::sleep(wait).await;
            answer = server.transcribe(wav(1.0, 2), &[]).await;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(read(&mut first).await.status, 200);
        still_works(&server).await;
    }
}

#[tokio::test]
async fn a_server_that_is_to_end_finishes_what_it_accepted() {
    let mut server = Server::fake("none,speed=5", &["--slots", "1"]).await;
    let mut accepted = submit(&server, &wav(15.0, 1)).await;
    server.until("it did not start", async || busy_slots(&server).await == 1).await;
    server.signal(rustix::process::Signal::TERM);
    let draining = async || server.devices().await["draining"] == true;
    server.until("it goes on", draining).await;
    let ready = Answer::read(server.get("/readyz").await).await;
    refused(&ready, 503, "not_ready", None, "shutting down");
    let late = server.transcribe(wav(1.0, 2), &[]).await;
    refused(&late, 503, "shutting_down", None, "another instance");
    assert_eq!(read(&mut accepted).await.status, 200);
    assert!(server.wait().success());
}
