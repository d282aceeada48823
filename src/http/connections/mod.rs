//! Accepts connections and serves each of them until shutdown.
//!
//! axum's own loop has no limits: connections that send nothing, or take nothing, would stay open
//! for ever and use up the descriptors.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::error::ApiError;
use super::health;

mod activity;
mod registry;
mod client_stream;
mod tracked_body;

pub use registry::ConnectionLimits;
pub(super) use registry::network;

use client_stream::ClientStream;
use registry::{Admission, Place, Registry};
use tracked_body::{track_request, track_response};

/// The most bytes of a request's head, and of what is read ahead.
const BUFFER_BYTES: usize = 128 << 10;

/// How long a new connection waits for others to close.
const EVICTION_LIMIT: Duration = Duration::from_secs(1);

/// How connections are served.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    pub limits: ConnectionLimits,
    /// How long a client may send no request, and take nothing of a response.
    pub idle: Duration,
}

/// Serves `app` on `listener`. After `stop`, open connections finish their current request; the
/// future ends with the last of them.
pub async fn serve(
    mut listener: TcpListener,
    app: Router,
    settings: ConnectionSettings,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let registry = Registry::new(settings.limits);
    loop {
        let (stream, peer) = tokio::select! {
            // On errors such as a lack of descriptors it logs and waits.
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        match place(&registry, peer).await {
            Some(place) => {
                connections.spawn(attend(stream, peer, place, app.clone(), settings, stop.clone()));
            }
            None => tracing::debug!(%peer, "a connection is closed: all others are at work"),
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A place for a new connection, for which another one may be closed.
async fn place(registry: &Registry, peer: SocketAddr) -> Option<Place> {
    let admitted = async {
        loop {
            match registry.admit(peer.ip()) {
                Admission::Admitted(place) => return Some(place),
                Admission::Closing => registry.ended().await,
                Admission::Full => return None,
            }
        }
    };
    timeout(EVICTION_LIMIT, admitted).await.ok().flatten()
}

async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    app: Router,
    settings: ConnectionSettings,
    stop: CancellationToken,
) {
    let (activity, is_spare) = (&place.activity, place.is_spare);
    let service = service_fn(|request: Request<Incoming>| {
        let mut request = track_request(request, activity);
        request.extensions_mut().insert(ConnectInfo(peer));
        if is_spare {
            request.extensions_mut().insert(Spare);
        }
        let responded = app.clone().oneshot(request);
        async move { responded.await.map(|response| track_response(response, activity)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(settings.idle).max_buf_size(BUFFER_BYTES);
    let stream = ClientStream::new(stream, activity.clone(), settings.idle);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = place.evicted.cancelled() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, "a connection ended: {error}");
    }
}

/// The request came on a connection beyond the limits.
#[derive(Debug, Clone, Copy)]
struct Spare;

/// Lets only health checks through on a connection beyond the limits, and one of them.
pub(super) async fn refuse_beyond_limits(request: Request<Body>, next: Next) -> Response<Body> {
    if request.extensions().get::<Spare>().is_none() {
        return next.run(request).await;
    }
    let mut response = match health::is_check(request.uri().path()) {
        true => next.run(request).await,
        false => ApiError::too_many_connections().into_response(),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
