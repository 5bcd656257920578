//! Streams outlive the check at their opening: each frame asks again whether the key is still good.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use runspine_rpc::{Body, status};
use runspine_types::Clock;
use tonic::Status;

use super::directory::Identity;

/// The client's frames: a revoked key ends them with an error, which the handler sees.
pub(super) fn requests(body: Body, caller: &Arc<Identity>, clock: &Arc<dyn Clock>) -> Body {
    Body::new(Watched {
        body,
        caller: Arc::clone(caller),
        clock: Arc::clone(clock),
        side: Side::Client,
        ended: false,
    })
}

/// The server's frames: a revoked key ends them with UNAUTHENTICATED in the trailers, which the client sees.
pub(super) fn answers(body: Body, caller: &Arc<Identity>, clock: &Arc<dyn Clock>) -> Body {
    Body::new(Watched {
        body,
        caller: Arc::clone(caller),
        clock: Arc::clone(clock),
        side: Side::Server,
        ended: false,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

struct Watched {
    body: Body,
    caller: Arc<Identity>,
    clock: Arc<dyn Clock>,
    side: Side,
    ended: bool,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Err(fault) = self.caller.still_good(self.clock.now()) else { return Poll::Ready(frame) };
        self.ended = true;
        let status = status(fault);
        let mut trailers = http::HeaderMap::new();
        if self.side == Side::Client || status.add_header(&mut trailers).is_err() {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
