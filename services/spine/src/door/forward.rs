//! Serving a call that was let in: by the spine's own stack, or by the domain that owns it, with the bytes untouched.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::contract::v1::Idempotency;
use http::{
    HeaderMap, HeaderName, Request, Response,
    header::{CONTENT_TYPE, TE},
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Body, MAX_MESSAGE_BYTES, Operation, Trailed, collect, full_body, refusal, wire};
use runspine_types::Hasher;
use tower::Service;

use super::{
    Caller, Inner,
    dispatch::Recording,
    inbound::{Arrival, Seen},
    record, watch, zipped,
};

/// Headers of a call that go on; everything else ends here, above all what looks like a context.
const PASSED_ON: [HeaderName; 4] = [
    CONTENT_TYPE,
    TE,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// The longest run id that the door takes note of.
const MOST_RUN_ID: usize = 128;

impl Inner {
    /// Serves the call and records it as its contract asks.
    pub(super) async fn serve(
        &self,
        operation: &Arc<Operation>,
        mut arrival: Arrival,
        request: Request<Body>,
        recording: Recording,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        arrival.request.correlation_id = arrival.correlation(&parts.headers);
        let zipped = !operation.client_streaming && zipped::is_gzip(&parts.headers);
        let body = if operation.client_streaming {
            watch::requests(body, &arrival.caller, self)
        } else {
            match self.read(operation, &mut arrival, body, (recording, zipped)).await {
                Ok(data) => full_body(data, None),
                Err(fault) => return self.refused(&arrival, fault).await,
            }
        };
        let context = arrival.context(self, &parts.headers);
        let mut onward = Request::new(body);
        *onward.method_mut() = parts.method;
        *onward.version_mut() = parts.version;
        *onward.uri_mut() = parts.uri;
        pass_on(&parts.headers, onward.headers_mut());
        if zipped {
            onward.headers_mut().remove(zipped::ENCODING);
        }
        onward.extensions_mut().insert(context);
        if self.own.serves(&operation.name) {
            onward.extensions_mut().insert(Caller(Arc::clone(&arrival.caller)));
        }
        let response = self.send(operation, onward).await;
        self.answered(operation, &arrival, response, recording).await
    }

    /// The one message of the request: not too large, and with the key that its contract asks for.
    async fn read(
        &self,
        operation: &Operation,
        arrival: &mut Arrival,
        body: Body,
        (recording, zipped): (Recording, bool),
    ) -> Result<Bytes, Fault> {
        let most = self.most_bytes(operation);
        let mut whole = collect(body, most).await?;
        if zipped {
            whole.data = zipped::unzipped(whole.data, most)?;
        }
        let Some(message) = whole.message() else { return Ok(whole.data) };
        let fields = operation.fields;
        let seen = &mut arrival.request;
        // An id that no run can have is the owner's to refuse; it doesn't become part of a context.
        let run_id = wire::text(&message, fields.run_id);
        if run_id.len() <= MOST_RUN_ID {
            run_id.clone_into(&mut seen.run_id);
        }
        if recording != Recording::Counted {
            seen.attempt =
                wire::number(&message, fields.attempt).and_then(|n| n.try_into().ok()).unwrap_or(0);
            seen.step_index = wire::number(&message, fields.step_index).and_then(|n| n.try_into().ok());
            seen.digest = digest(&message);
        }
        keyed(operation, &message, seen)?;
        Ok(whole.data)
    }

    /// What a request may have at most, as it is and decompressed. A contract leaves room above the usual size for
    /// settings to use.
    fn most_bytes(&self, operation: &Operation) -> usize {
        operation.max_request.min(self.most_bytes.max(MAX_MESSAGE_BYTES))
    }

    async fn send(&self, operation: &Operation, request: Request<Body>) -> Response<Body> {
        if self.own.serves(&operation.name) {
            return self.own.call(request).await;
        }
        let Some(way) = self.mesh.get(&operation.domain) else {
            let text = format!("no service of the domain {} is known to this spine", operation.domain);
            return refusal(Fault::new(&mesh::TARGET_UNAVAILABLE, text));
        };
        match way.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn answered(
        &self,
        operation: &Operation,
        arrival: &Arrival,
        response: Response<Body>,
        recording: Recording,
    ) -> Response<Body> {
        match recording {
            Recording::Counted => watched(self, operation, arrival, response),
            Recording::Soon => {
                self.dispatches.soon(record::served(self, arrival, &response, None)).await;
                watched(self, operation, arrival, response)
            }
            Recording::Before if operation.server_streaming => {
                let record = record::served(self, arrival, &response, None);
                self.recorded(record, watched(self, operation, arrival, response)).await
            }
            Recording::Before => self.answered_whole(arrival, response).await,
        }
    }

    /// Reads the whole answer, so that the record tells how it ended, records it, and then answers.
    async fn answered_whole(&self, arrival: &Arrival, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let whole = match collect(body, MAX_MESSAGE_BYTES).await {
            Ok(whole) => whole,
            Err(fault) => {
                let record = record::refused(arrival, &fault);
                return self.recorded(record, refusal(fault)).await;
            }
        };
        let head = Response::from_parts(parts, ());
        let record = record::served(self, arrival, &head, Some(&whole));
        self.recorded(record, head.map(|()| Trailed::into_body(whole))).await
    }
}

/// Streams end when the key does.
fn watched(
    door: &Inner,
    operation: &Operation,
    arrival: &Arrival,
    response: Response<Body>,
) -> Response<Body> {
    if operation.server_streaming {
        response.map(|body| watch::answers(body, &arrival.caller, door))
    } else {
        response
    }
}

fn keyed(operation: &Operation, message: &[u8], seen: &mut Seen) -> Result<(), Fault> {
    wire::text(message, operation.fields.request_id).clone_into(&mut seen.request_id);
    if operation.idempotency == Idempotency::Keyed
        && operation.needs_request_id()
        && seen.request_id.is_empty()
    {
        let fault =
            Fault::new(&mesh::REQUEST_ID_REQUIRED, "the call needs a request_id, so that it can be repeated");
        return Err(fault.field("request_id", "REQUEST_ID_REQUIRED", "must not be empty"));
    }
    Ok(())
}

pub(super) fn digest(message: &[u8]) -> Vec<u8> {
    Hasher::new("runspine.dispatch.v1").sized(message).finish().to_vec()
}

fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    for name in PASSED_ON {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
}
