//! A client's socket: limits how long the client may take nothing, and completes hyper's own errors.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;
use crate::http::error::unreadable;

/// The most bytes of a response without a body that hyper sends on its own.
const LONGEST_EMPTY_HEAD: usize = 512;

pub(super) struct ClientStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    limit: Duration,
    is_blocked: bool,
    /// When a client that takes nothing is given up.
    deadline: Pin<Box<Sleep>>,
    /// What is sent in place of an error of hyper's.
    replacement: Bytes,
}

impl ClientStream {
    /// Fails writes if the client takes nothing for `limit`.
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, limit: Duration) -> Self {
        let deadline = Box::pin(sleep(limit));
        Self { stream, activity, limit, is_blocked: false, deadline, replacement: Bytes::new() }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let is_blocked = written.is_pending();
        if self.is_blocked != is_blocked {
            self.is_blocked = is_blocked;
            self.activity.set_blocked(is_blocked);
            self.deadline.as_mut().reset(Instant::now() + self.limit);
        }
        if is_blocked {
            ready!(self.deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let Self { stream, replacement, .. } = self;
            let written = Pin::new(stream).poll_write(context, replacement);
            let count = ready!(self.watch(context, written))?;
            let _ = self.replacement.split_to(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(context))?;
        if let [only] = buffers
            && let Some(replacement) = completed(only)
        {
            self.replacement = replacement;
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // hyper flushes when it has written all that it had.
        if flushed.is_ready() {
            self.activity.end_flushing();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The response to send in place of a head alone that hyper answers unreadable requests with. No
/// other response with such a status is without a body.
fn completed(head: &[u8]) -> Option<Bytes> {
    // Most of what is sent is no such head, and may be long.
    if head.len() > LONGEST_EMPTY_HEAD || !head.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let text = std::str::from_utf8(head).ok()?;
    let is_empty = text.contains("\r\ncontent-length: 0\r\n") && text.ends_with("\r\n\r\n");
    let code = head.get(9..12).filter(|_| is_empty)?;
    Some(unreadable(StatusCode::from_bytes(code).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_without_a_body_is_completed() {
        let head = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let response = String::from_utf8(completed(head.as_bytes()).unwrap().to_vec()).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "invalid_request");

        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert!(completed(other.as_bytes()).is_none(), "{other:?}");
        }
    }
}
