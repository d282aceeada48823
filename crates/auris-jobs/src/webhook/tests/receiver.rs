//! A receiver scripted by a test, with one connection for each request.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What came in.
#[derive(Debug)]
pub(super) struct Request {
    head: String,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).unwrap_or_default()
    }
}

/// What goes out.
#[derive(Clone)]
pub(super) enum Reply {
    /// A status line's end and further header lines.
    Head(&'static str, Vec<String>),
    /// Nothing; the connection stays open.
    Nothing,
    /// A status line's end, and then a body without end.
    Endless(&'static str),
}

impl Reply {
    pub(super) fn status(status: &'static str) -> Self {
        Self::Head(status, Vec::new())
    }
}

/// A receiver on a port of its own.
pub(super) struct Receiver {
    host: Ipv4Addr,
    pub(super) port: u16,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Receiver {
    /// Answers the n-th request, from 0, with the n-th of `replies`, and then with the last.
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, replies).await
    }

    /// The same on another host.
    pub(super) async fn start_at(host: Ipv4Addr, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::unbounded_channel();
        let replies = Arc::new(replies);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let reply = replies[number.min(replies.len() - 1)].clone();
                tokio::spawn(answer(stream, reply, sender.clone()));
            }
        });
        Self { host, port, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}:{}/hook?token=hush", self.host, self.port)
    }

    /// Waits for the next request.
    pub(super) async fn request(&mut self) -> Request {
        self.requests.recv().await.expect("the receiver runs")
    }

    /// Asserts that no further request has come.
    #[track_caller]
    pub(super) fn assert_quiet(&mut self) {
        assert!(self.requests.try_recv().is_err(), "another request has come");
    }
}

async fn answer(stream: TcpStream, reply: Reply, sender: mpsc::UnboundedSender<Request>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head).await.unwrap() > 2 {}
    let mut request = Request { head, body: String::new() };
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    request.body = String::from_utf8(body).unwrap();
    let _ = sender.send(request);
    // The sender may disconnect at any time.
    match reply {
        Reply::Head(status, headers) => {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Nothing => {
            let _ = stream.read(&mut [0]).await;
        }
        Reply::Endless(status) => {
            let head = format!("HTTP/1.1 {status}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
        }
    }
}
