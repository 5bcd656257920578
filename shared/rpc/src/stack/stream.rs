//! The deadline and the panic guard for what comes after the head of a streamed answer.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep_until};
use tonic::Status;

use super::{
    deadline::{Until, exceeded},
    guard::panicked,
};
use crate::{Body, status};

pub(super) fn guarded(response: Response<Body>, until: Until) -> Response<Body> {
    let deadline = until.0.map(|at| Box::pin(sleep_until(at)));
    response.map(|body| Body::new(Guarded { body, deadline, ended: false }))
}

struct Guarded {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Guarded {
    /// Ends the stream with a status in its trailers, as a handler would.
    fn end(&mut self, with: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        if with.add_header(&mut trailers).is_err() {
            return Poll::Ready(Some(Err(Status::new(with.code(), with.message()))));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx)));
        match polled {
            Ok(Poll::Ready(frame)) => Poll::Ready(frame),
            Err(panic) => this.end(&status(panicked(panic.as_ref()))),
            Ok(Poll::Pending) => {
                let Some(deadline) = this.deadline.as_mut() else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                this.end(&status(exceeded()))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
