//! A server for one file that is scripted by a test, with one connection for each request.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    head: String,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The start of the requested range.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The body may be shorter than the length that the headers promise.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: &'static str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// Leave the connection open after the body, silently.
    pub stall: bool,
    /// Send nothing before this is notified.
    pub gate: Option<Arc<Notify>>,
}

impl Reply {
    pub fn status(status: &'static str) -> Self {
        Self { status, headers: vec!["content-length: 0".to_owned()], ..Self::default() }
    }

    /// The whole of `file`.
    pub fn whole(file: &[u8], etag: &str) -> Self {
        Self {
            status: "200 OK",
            headers: vec![format!("content-length: {}", file.len()), format!("etag: {etag}")],
            body: file.to_vec(),
            ..Self::default()
        }
    }

    /// `file` from `start` on.
    pub fn rest(file: &[u8], etag: &str, start: usize) -> Self {
        let end = file.len() - 1;
        Self {
            status: "206 Partial Content",
            headers: vec![
                format!("content-length: {}", file.len() - start),
                format!("content-range: bytes {start}-{end}/{}", file.len()),
                format!("etag: {etag}"),
            ],
            body: file[start..].to_vec(),
            ..Self::default()
        }
    }

    /// The same, but the connection ends after `length` bytes of the body.
    pub fn cut(mut self, length: usize) -> Self {
        self.body.truncate(length);
        self
    }

    pub fn stall(self) -> Self {
        Self { stall: true, ..self }
    }
}

pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    body_bytes: Arc<Mutex<usize>>,
}

impl Server {
    /// Answers the n-th request, from 0, with `answer(n, request)`.
    pub async fn start(
        answer: impl Fn(usize, &ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            body_bytes: Arc::default(),
        };
        let (requests, body_bytes) = (server.requests.clone(), server.body_bytes.clone());
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (requests, body_bytes) = (requests.clone(), body_bytes.clone());
                let answer = answer.clone();
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    let number = {
                        let mut requests = requests.lock().unwrap();
                        requests.push(request.clone());
                        requests.len() - 1
                    };
                    let reply = answer(number, &request);
                    *body_bytes.lock().unwrap() += reply.body.len();
                    send(&mut stream, reply).await;
                });
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub fn body_bytes(&self) -> usize {
        *self.body_bytes.lock().unwrap()
    }
}

async fn read_request(stream: &mut TcpStream) -> ReceivedRequest {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).await.unwrap() > 2 {}
    ReceivedRequest { head }
}

async fn send(stream: &mut TcpStream, reply: Reply) {
    if let Some(gate) = &reply.gate {
        gate.notified().await;
    }
    let head = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\n{}\r\n\r\n",
        reply.status,
        reply.headers.join("\r\n")
    );
    // Some tests disconnect.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&reply.body).await;
    if reply.stall {
        let _ = stream.read(&mut [0]).await;
    }
    let _ = stream.shutdown().await;
}
