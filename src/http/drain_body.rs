//! Keeps reading for a while what a client still sends after its response.
//!
//! Most clients write their whole request before they read a response. Closing the connection in
//! mid-upload makes the system drop the response in flight: for ten uploads of 20 MB that were
//! refused at once, Python's `http.client` saw ten broken pipes and not one 413; with this, it saw
//! ten 413.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// How long to keep reading in total: a client could send for ever.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause in which a client may send nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Lets the handler respond before the request's body has been read completely.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // A client that waits for `100 Continue` sends nothing once it is refused.
    let wanted = !request.headers().contains_key(header::EXPECT);
    let lingering = |body: Body| DrainedBody { body: body.into_data_stream(), wanted };
    next.run(request.map(|body| Body::from_stream(lingering(body)))).await
}

/// A body that is read further when the handler drops it.
struct DrainedBody {
    body: BodyDataStream,
    /// Whether the client sends without waiting for `100 Continue`.
    wanted: bool,
}

impl Stream for DrainedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.wanted = true;
        self.body.poll_next_unpin(context)
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let body = mem::replace(&mut self.body, Body::empty().into_data_stream());
        if self.wanted
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(read_on(body));
        }
    }
}

async fn read_on(mut body: BodyDataStream) {
    let end = Instant::now() + LONGEST;
    while let Ok(Some(Ok(_))) =
        timeout_at(end.min(Instant::now() + LONGEST_PAUSE), body.next()).await
    {}
}
