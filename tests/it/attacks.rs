//! Strangers who try to stop a server that may open 256 files: `/healthz` answers all the while, an
//! honest client of the same address is served, and accepted jobs end.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::harness::{Answer, DEMO, PATIENCE, Server, auris, form, wav};
use super::jobs::id;

/// How long `/healthz` may take; a loaded machine needs some of it for itself.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// How long an honest client tries.
const HONEST_LIMIT: Duration = Duration::from_secs(20);

const FORM: &str = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\
                    Content-Type: multipart/form-data; boundary=edge\r\n\r\n\
                    --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";

/// A server that may open 256 files.
async fn scarce(script: &str, extra: &[&str]) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(auris().get_program());
    shell.env_clear().env("PATH", "/usr/bin:/bin").env("AURIS_LOG", "auris=debug");
    let engine = format!("fake:{script}");
    let server = Server::start_by(shell, &["--models", DEMO, "--offline"], &engine, extra, &[]);
    server.ready().await;
    server
}

/// Asks for `/healthz` on a new connection again and again, until it is aborted.
fn watch_health(server: &Server) -> JoinHandle<()> {
    let url = server.url("/healthz");
    tokio::spawn(async move {
        loop {
            let client = auris_models::http_client(PATIENCE).unwrap();
            let started = Instant::now();
            let response = client.get(&url).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(started.elapsed() < HEALTH_LIMIT, "/healthz took {:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Checks that health checks were answered so far.
async fn end_watch(health: JoinHandle<()>) {
    health.abort();
    let ended = health.await;
    assert!(ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled), "{ended:?}");
}

/// Transcribes on new connections until it is served.
async fn served(server: &Server) {
    let started = Instant::now();
    loop {
        let client = auris_models::http_client(PATIENCE).unwrap();
        let request = client.post(server.url("/v1/audio/transcriptions"));
        // A connection beyond the limits may be closed before its 503 is read.
        if let Ok(response) = request.multipart(form(wav(1.0, 1), &[])).send().await {
            let answer = Answer::read(response).await;
            if answer.status == 200 {
                assert!(answer.text().contains("16000 samples"), "{answer:?}");
                return;
            }
            assert!(matches!(answer.status, 429 | 503), "{answer:?}");
        }
        assert!(started.elapsed() < HONEST_LIMIT, "an honest client is not served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Connections that send `start`, those that the server closes at once included.
async fn attackers(server: &Server, count: usize, start: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect(server).await;
        let _ = stream.write_all(start.as_bytes()).await;
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn silent_connections_stop_neither_jobs_nor_clients() {
    let server = scarce("none,speed=20", &["--slots", "2"]).await;
    let health = watch_health(&server);
    let mut jobs = Vec::new();
    for seed in 0..14 {
        jobs.push(id(&server.submit(wav(20.0, seed), &[]).await));
    }
    let _silent = attackers(&server, 300, "").await;
    let _half = attackers(&server, 100, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n").await;
    served(&server).await;
    for job in jobs {
        assert_eq!(server.ended(&job).await["state"], "finished", "{}", server.log());
    }
    end_watch(health).await;
}

#[tokio::test]
async fn clients_that_never_read_do_not_stop_the_server() {
    let server = scarce("none", &["--connection-idle-seconds", "3"]).await;
    let health = watch_health(&server);
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let mut greedy = attackers(&server, 300, &requests).await;
    served(&server).await;
    // Without need for room too, a client that takes nothing is given up.
    let mut last = greedy.pop().unwrap();
    drop(greedy);
    let closed = async {
        while last.write_all(requests.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the connection stays open");
    end_watch(health).await;
}

#[tokio::test]
async fn uploads_that_trickle_hold_no_room() {
    let server = scarce("none", &["--max-jobs", "10", "--max-queue-minutes", "1"]).await;
    served(&server).await;
    let health = watch_health(&server);
    let mut trickles = JoinSet::new();
    for path in ["/v1/audio/transcriptions", "/v1/jobs"] {
        for mut stream in attackers(&server, 60, &format!("POST {path} {FORM}")).await {
            trickles.spawn(async move {
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
    }
    served(&server).await;
    let job = loop {
        let client = auris_models::http_client(PATIENCE).unwrap();
        let request = client.post(server.url("/v1/jobs")).multipart(form(wav(1.0, 1), &[]));
        if let Ok(response) = request.send().await {
            let answer = Answer::read(response).await;
            if answer.status == 202 {
                break id(&answer.json());
            }
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(server.ended(&job).await["state"], "finished");
    end_watch(health).await;
    trickles.shutdown().await;
}

/// Connects from another address of this machine.
async fn connect_from(server: &Server, host: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, host], 0).into())?;
    socket.connect(server.address).await
}

#[tokio::test]
async fn guesses_from_many_addresses_take_no_places() {
    let server = scarce("none", &["--api-keys", "first-secret"]).await;
    let health = watch_health(&server);
    let guess = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer no\r\n\r\n";
    let mut guesses = JoinSet::new();
    for number in 0..100 {
        let (address, guess) = (2 + number % 6, guess.repeat(50));
        let mut stream = connect_from(&server, address).await.unwrap();
        guesses.spawn(async move {
            let _ = stream.write_all(guess.as_bytes()).await;
            let mut answers = Vec::new();
            let _ = stream.read_to_end(&mut answers).await;
        });
    }
    for _ in 0..10 {
        let client = auris_models::http_client(PATIENCE).unwrap();
        let request = client.get(server.url("/v1/models")).bearer_auth("first-secret");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    end_watch(health).await;
    guesses.shutdown().await;
}

#[tokio::test]
async fn a_trickle_is_given_up_after_its_grace() {
    let server = Server::fake("none", &["--max-upload-seconds", "0.5"]).await;
    let mut stream = connect(&server).await;
    let head = format!("POST /v1/audio/transcriptions {FORM}");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let read = async {
        while !answer.ends_with(b"}}") {
            assert!(reader.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
        }
    };
    tokio::select! {
        () = trickle => panic!("closed without an answer"),
        read = timeout(PATIENCE, read) => read.expect("an answer"),
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("upload_too_slow"), "{answer}");
}

#[tokio::test]
async fn forms_of_millions_of_commas_cost_nothing() {
    let server = scarce("none", &[]).await;
    served(&server).await;
    let before = server.peak_memory();
    let health = watch_health(&server);
    // 100 fields of 64 KB.
    let commas = ",k".repeat(32_000);
    let fields: Vec<(&str, &str)> = (0..100).map(|_| ("keywords[]", commas.as_str())).collect();
    let small = ",k".repeat(40_000);
    let short = [("keywords[]", small.as_str())];
    let together = async {
        let mut answers = Vec::new();
        // No more than one client may have open.
        for _ in 0..5 {
            answers.push(server.transcribe(wav(1.0, 1), &fields));
            answers.push(server.transcribe(wav(1.0, 1), &short));
        }
        futures_util::future::join_all(answers).await
    };
    for answer in timeout(PATIENCE, together).await.unwrap() {
        answer.error(400, "invalid_value");
    }
    served(&server).await;
    end_watch(health).await;
    let grown = server.peak_memory() - before;
    assert!(grown < 100 << 20, "{} MiB more", grown >> 20);
}

#[tokio::test]
async fn an_event_stream_that_nobody_reads_is_closed() {
    let server = Server::fake("none,speed=2000", &["--connection-idle-seconds", "2"]).await;
    let job = id(&server.submit(wav(300.0, 1), &[]).await);
    server.ended(&job).await;
    let request =
        format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(500);
    let mut stream = connect(&server).await;
    let _ = stream.write_all(request.as_bytes()).await;
    let closed = async {
        while stream.write_all(request.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the connection stays open");
    server.ready().await;
}
