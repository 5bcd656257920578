//! Who calls, and whether the contract lets it: the spine's identity only.

use http::Request;
use runspine_errors::{Fault, mesh};
use tokio::time::Instant;

use super::{StackConfig, grpc_timeout};
use crate::{Body, Context, Operation};

/// The context under which the call is served, put into the request's extensions when it came over the network.
pub(super) fn admit(
    config: &StackConfig,
    operation: &Operation,
    request: &mut Request<Body>,
    draining: bool,
) -> Result<Context, Fault> {
    // An extension can only have been set in this process, by the door or a transport that checked the call; headers
    // are not even looked at then.
    if let Some(context) = request.extensions().get::<Context>() {
        return Ok(context.clone());
    }
    if draining {
        return Err(Fault::new(&mesh::DRAINING, "the service is shutting down"));
    }
    let call = config.key.verify(&operation.path, request.headers(), config.clock.now())?;
    let deadline = grpc_timeout(request.headers()).map(|left| Instant::now() + left);
    let context = Context::received(call, deadline);
    request.extensions_mut().insert(context.clone());
    Ok(context)
}

/// A call that the operation being served did not declare.
pub(crate) fn undeclared(context: &Context, callee: &str) -> Fault {
    Fault::new(
        &mesh::CALL_NOT_DECLARED,
        format!("{} called {callee} without declaring it", context.operation),
    )
}
