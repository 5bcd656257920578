//! Names under which the world outside knows an operation.

use http::{Request, Uri};
use runspine_rpc::Body;

/// What an exporter of OpenTelemetry calls, and the operation that it is. Their messages have the same bytes.
const ALIASES: [(&str, &str); 1] = [(
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/runspine.spine.v1.SpanIngestService/IngestSpans",
)];

/// The same call under the mesh's own name.
pub(super) fn resolved(mut request: Request<Body>) -> Request<Body> {
    let known = ALIASES.iter().find(|(alias, _)| *alias == request.uri().path());
    if let Some((_, operation)) = known {
        *request.uri_mut() = Uri::from_static(operation);
    }
    request
}
