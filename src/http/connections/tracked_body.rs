//! Bodies that keep a connection's activity up to date.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};

use super::activity::{Activity, Stage};

/// Follows the body of a request from its first byte to its last.
pub(super) fn track_request(request: Request<Incoming>, activity: &Arc<Activity>) -> Request<Body> {
    activity.enter(if request.body().is_end_stream() { Stage::Working } else { Stage::Receiving });
    let activity = Arc::clone(activity);
    request.map(|body| Body::new(TrackedBody { body, activity, on_end: Activity::end_receiving }))
}

/// The connection is idle once the body of the response has been taken.
pub(super) fn track_response(response: Response<Body>, activity: &Arc<Activity>) -> Response<Body> {
    let activity = Arc::clone(activity);
    let on_end = |activity: &Activity| activity.enter(Stage::Idle);
    response.map(|body| Body::new(TrackedBody { body, activity, on_end }))
}

struct TrackedBody<B> {
    body: B,
    activity: Arc<Activity>,
    on_end: fn(&Activity),
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.activity.receive(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            Poll::Ready(None) => (self.on_end)(&self.activity),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        (self.on_end)(&self.activity);
    }
}
