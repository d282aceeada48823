//! Bodies that keep a connection's activity up to date.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};

use super::activity::{Activity, RequestNumber, Stage};

/// Follows the body of a request from its first byte to its last.
pub(super) fn track_request(request: Request<Incoming>, activity: &Arc<Activity>) -> Request<Body> {
    let number = activity.begin(!request.body().is_end_stream());
    let activity = Arc::clone(activity);
    request.map(|body| Body::new(RequestBody { body, activity, number }))
}

/// Notes when the response is complete.
pub(super) fn track_response(response: Response<Body>, activity: &Arc<Activity>) -> Response<Body> {
    let activity = Arc::clone(activity);
    response.map(|body| Body::new(ResponseBody { body, activity }))
}

struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    number: RequestNumber,
}

/// Dropped when all of it has been handed to hyper, which still has to send its end.
struct ResponseBody {
    body: Body,
    activity: Arc<Activity>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.activity.receive(self.number, bytes);
            }
            Poll::Ready(None) => self.activity.end_receiving(self.number),
            Poll::Ready(Some(Err(_))) => {}
            Poll::Pending => self.activity.await_more(self.number),
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

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.activity.end_receiving(self.number);
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.activity.enter(Stage::Flushing);
    }
}
