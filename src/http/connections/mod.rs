//! Accepts connections and serves each of them until shutdown.
//!
//! axum's own loop has no limits: connections that send nothing, or take nothing, would stay open
//! for ever and use up the descriptors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderValue, Request, Response, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::error::ApiError;
use super::health;
use auris_core::metrics as names;

mod activity;
mod registry;
mod client_stream;
mod tracked_body;

pub use registry::ConnectionLimits;
pub(super) use registry::network;

use activity::{Activity, Stage};
use client_stream::ClientStream;
use registry::{Admission, Place, Registry};
use tracked_body::{track_request, track_response};

/// The most bytes of a request's head, and of what is read ahead.
const BUFFER_BYTES: usize = 128 << 10;

/// What the system holds of a response that the client has not taken.
const SEND_BUFFER_BYTES: u32 = 128 << 10;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// How often it is tried to find a place.
const MOMENT: Duration = Duration::from_millis(10);

/// How long a new connection waits for others to close.
const EVICTION_LIMIT: Duration = Duration::from_secs(1);

/// How connections are served.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    pub limits: ConnectionLimits,
    /// How long a client may send no request, and take nothing of a response.
    pub idle: Duration,
}

/// Listens on `address`.
///
/// # Errors
/// The address is in use, or is not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    // Connections inherit it. With the system's megabytes, a client that reads slowly looks for half
    // a minute as if it read nothing.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The address that a request comes from.
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip())
}

/// Marks the connection as idle: whoever waits in this request may be closed for others.
pub(super) fn mark_idle(request: &Request<Body>) {
    if let Some(activity) = request.extensions().get::<Arc<Activity>>() {
        activity.enter(Stage::Idle);
    }
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
                connections.spawn(serve_connection(
                    stream,
                    peer,
                    place,
                    app.clone(),
                    settings,
                    stop.clone(),
                ));
            }
            None => {
                counter!(names::REFUSALS, "reason" => "connection").increment(1);
                tracing::debug!(%peer, "a connection is closed: all others are at work");
            }
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
                Admission::Soon => sleep(MOMENT).await,
                Admission::Full => return None,
            }
        }
    };
    timeout(EVICTION_LIMIT, admitted).await.ok().flatten()
}

async fn serve_connection(
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
        request.extensions_mut().insert(activity.clone());
        if is_spare {
            request.extensions_mut().insert(Spare);
        }
        let responded = app.clone().oneshot(request);
        async move { responded.await.map(|response| track_response(response, activity)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(settings.idle).max_buf_size(BUFFER_BYTES);
    let stream = ClientStream::new(stream, activity.clone(), settings.idle);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
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
