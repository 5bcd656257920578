//! Exporters of OpenTelemetry meet the door under their own name, and compressed.

use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue};
use runspine_errors::mesh;
use runspine_rpc::{MAX_MESSAGE_BYTES, details, full_body};
use tonic::Code;

use super::world::{World, bearer, frame};

const EXPORT: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GET: &str = "runspine.spine.v1.RunService/GetRun";
const INGEST: &str = "runspine.spine.v1.SpanIngestService/IngestSpans";

fn zipped(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    flagged(&encoder.finish().unwrap())
}

/// A frame that says that it is compressed.
fn flagged(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(1);
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
    out.freeze()
}

fn gzip(key: &str) -> HeaderMap {
    let mut headers = bearer(key);
    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    headers
}

#[tokio::test]
async fn an_export_is_the_mesh_s_own_operation() {
    let world = World::start().await;
    world.call(&world.owner, EXPORT, b"spans").await.unwrap();
    let reached = &world.reached()[0];
    assert_eq!(
        (reached.path.as_str(), reached.context.operation.as_str()),
        (format!("/{INGEST}").as_str(), INGEST)
    );
    assert_eq!(reached.data, frame(b"spans"));
    assert_eq!(world.records()[0].operation, INGEST);
    let nobody = world.call("", EXPORT, b"spans").await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let viewer = world.add_key("HUMAN", &["VIEWER"], "").await;
    assert_eq!(world.call(&viewer, EXPORT, b"spans").await.unwrap_err().code(), Code::PermissionDenied);
    let agent = world.add_key("AGENT", &["AGENT"], "").await;
    world.call(&agent, EXPORT, b"spans").await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn what_comes_compressed_goes_on_as_it_was() {
    let world = World::start().await;
    let body = full_body(zipped(b"many spans"), None);
    world.call_with(gzip(&world.owner), EXPORT, body).await.unwrap();
    let reached = &world.reached()[0];
    assert_eq!(reached.data, frame(b"many spans"));
    assert!(!reached.headers.contains_key("grpc-encoding"));
    // A frame of such a call may still be plain.
    world.call_with(gzip(&world.owner), EXPORT, full_body(frame(b"plain"), None)).await.unwrap();
    assert_eq!(world.reached()[1].data, frame(b"plain"));

    let refused = world.call_with(gzip(&world.owner), EXPORT, full_body(flagged(b"no gzip"), None)).await;
    assert!(details(&refused.unwrap_err()).is(&mesh::FIELD_INVALID));
    assert_eq!(world.reached().len(), 2);
    world.stop().await;
}

/// Spans may have more bytes than other requests, and what counts is what they are decompressed to.
#[tokio::test]
async fn a_batch_of_spans_has_its_own_size() {
    let world = World::start().await;
    let most = 16 * 1024 * 1024;
    let large = vec![0; most];
    for body in [zipped(&large), frame(&large)] {
        world.call_with(gzip(&world.owner), EXPORT, full_body(body, None)).await.unwrap();
    }
    assert_eq!(world.reached().len(), 2);
    for body in [zipped(&vec![0; most + 1]), frame(&vec![0; most + 1])] {
        let refused = world.call_with(gzip(&world.owner), EXPORT, full_body(body, None)).await.unwrap_err();
        assert!(details(&refused).is(&mesh::MESSAGE_TOO_LARGE));
    }
    let other = frame(&vec![0; MAX_MESSAGE_BYTES + 1]);
    let refused = world.call_with(bearer(&world.owner), GET, full_body(other, None)).await.unwrap_err();
    assert!(details(&refused).is(&mesh::MESSAGE_TOO_LARGE));
    assert_eq!(world.reached().len(), 2);
    world.stop().await;
}
