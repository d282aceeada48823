//! Reads on what a client still sends after it was answered, for a while.
//!
//! Most clients write their whole request before they look for an answer. Closing the connection
//! on them in mid-upload makes the system drop the answer that is on its way: for ten uploads of
//! 20 MB that were refused at once, Python's `http.client` saw ten broken pipes and not one 413;
//! with this, it saw ten 413.

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

/// How long is read on in all: nobody is kept from sending for ever.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a client may send nothing meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Lets the handler answer before the request's body is at its end.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // A client that waits for `100 Continue` is to send nothing once it is refused.
    let wanted = !request.headers().contains_key(header::EXPECT);
    let lingering = |body: Body| Lingering { body: body.into_data_stream(), wanted };
    next.run(request.map(|body| Body::from_stream(lingering(body)))).await
}

/// A body that is read on when the handler drops it.
struct Lingering {
    body: BodyDataStream,
    /// Whether the client sends without more ado.
    wanted: bool,
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.wanted = true;
        self.body.poll_next_unpin(context)
    }
}

impl Drop for Lingering {
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
