//! Asks for the server's health whenever nothing keeps it from answering.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::run::Run;

const PAUSE: Duration = Duration::from_millis(100);

/// How long `/healthz` may take.
const LIMIT: Duration = Duration::from_secs(1);

/// How long is waited for an answer that is too late already.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn watch(run: Arc<Run>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(epoch) = run.unhindered() else { continue };
        let address = run.address().await;
        let asked = Instant::now();
        let answer = timeout(PATIENCE, ask(address)).await;
        let latency = asked.elapsed();
        // The server has been stopped meanwhile.
        if run.unhindered() != Some(epoch) {
            continue;
        }
        run.record.health(latency);
        match answer {
            Ok(Ok(true)) if latency <= LIMIT => {}
            Ok(Ok(true)) => run.record.violation(format!("/healthz took more than {LIMIT:?}")),
            Ok(Ok(false)) => run.record.violation("/healthz was not answered with 200"),
            Ok(Err(error)) => run.record.violation(format!("/healthz cannot be asked: {error}")),
            Err(_) => run.record.violation(format!("/healthz was silent for {PATIENCE:?}")),
        }
    }
}

/// Asks on a new connection; returns whether the server is healthy.
async fn ask(address: std::net::SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}
