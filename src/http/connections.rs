//! Accepts connections and serves each of them until shutdown.
//!
//! axum's own loop has no timeout: a connection that sends nothing would stay open for ever.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Serves `app` on `listener`. After `stop`, open connections finish their current request; the
/// future ends with the last of them.
///
/// A connection is closed if the head of its first or next request has not arrived within `idle`.
pub async fn serve(
    mut listener: TcpListener,
    app: Router,
    idle: Duration,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            // On errors such as a lack of descriptors it logs and waits.
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        connections.spawn(attend(stream, peer, app.clone(), idle, stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    idle: Duration,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(idle);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, "a connection ended: {error}");
    }
}
