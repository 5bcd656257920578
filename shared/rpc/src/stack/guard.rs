//! A handler that panics answers INTERNAL with an error id; the process lives on.

use std::{any::Any, convert::Infallible, future::Future, panic::AssertUnwindSafe};

use futures::FutureExt;
use http::Response;
use runspine_errors::{Fault, mesh};

use crate::{Body, refusal};

pub(crate) async fn caught(
    handled: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Response<Body> {
    match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => refusal(panicked(panic.as_ref())),
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Fault::new(&mesh::INTERNAL, format!("a handler panicked: {}", text.as_deref().unwrap_or("no message")))
}
