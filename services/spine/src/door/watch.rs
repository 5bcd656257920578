//! Streams outlive the check at their opening: each frame asks again whether the key is still good, and not frozen.

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

use super::{Inner, directory::Identity, frozen};
use crate::kernel::FreezeView;

/// The client's frames: a revoked key ends them with an error, which the handler sees.
pub(super) fn requests(body: Body, caller: &Arc<Identity>, door: &Inner) -> Body {
    watched(body, caller, door, Side::Client)
}

/// The server's frames: a revoked key ends them with UNAUTHENTICATED in the trailers, which the client sees.
pub(super) fn answers(body: Body, caller: &Arc<Identity>, door: &Inner) -> Body {
    watched(body, caller, door, Side::Server)
}

fn watched(body: Body, caller: &Arc<Identity>, door: &Inner, side: Side) -> Body {
    let (caller, clock) = (Arc::clone(caller), Arc::clone(&door.deps.clock));
    Body::new(Watched { body, caller, clock, freezes: Arc::clone(&door.freezes), side, ended: false })
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
    freezes: Arc<FreezeView>,
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
        let now = self.clock.now();
        let good = self.caller.still_good(now).and_then(|()| frozen::key(&self.freezes, &self.caller, now));
        let Err(fault) = good else { return Poll::Ready(frame) };
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
