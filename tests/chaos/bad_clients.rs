//! Clients that do no honest work, from an address of their own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Where they come from.
const ADDRESS: [u8; 4] = [127, 0, 0, 2];

/// More together than the server has descriptors.
const SILENT: usize = 220;
const SLOW: usize = 30;
const DEAF: usize = 30;

/// Bothers the server for so long.
pub async fn attack(server: SocketAddr, duration: Duration) {
    let mut clients = JoinSet::new();
    for _ in 0..SILENT {
        clients.spawn(async move {
            let Some(mut stream) = connect(server).await else { return };
            // Half of a request's head.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").await;
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..SLOW {
        clients.spawn(slow(server));
    }
    for _ in 0..DEAF {
        clients.spawn(deaf(server));
    }
    sleep(duration).await;
    clients.shutdown().await;
}

async fn connect(server: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((ADDRESS, 0))).ok()?;
    timeout(Duration::from_secs(5), socket.connect(server)).await.ok()?.ok()
}

/// Uploads a job, a byte at a time.
async fn slow(server: SocketAddr) {
    let Some(mut stream) = connect(server).await else { return };
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\
        Content-Type: multipart/form-data; boundary=edge\r\n\r\n\
        --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while stream.write_all(b"x").await.is_ok() {
        sleep(Duration::from_millis(300)).await;
    }
}

/// Sends requests without reading an answer.
async fn deaf(server: SocketAddr) {
    let Some(mut stream) = connect(server).await else { return };
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    while stream.write_all(requests.as_bytes()).await.is_ok() {}
}
