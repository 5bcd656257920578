//! Messages that came compressed go on as they were before: the door reads every request, and so do the domains.

use std::io::Read as _;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName};
use runspine_errors::{Fault, mesh};

/// How the messages of a call are compressed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// A gRPC frame's head: a flag and a length.
const HEAD: usize = 5;

/// Whether the call's messages are compressed by gzip.
pub(super) fn is_gzip(headers: &HeaderMap) -> bool {
    headers.get(ENCODING).is_some_and(|encoding| encoding == "gzip")
}

/// The one frame of a unary call, decompressed.
///
/// # Errors
/// `MESSAGE_TOO_LARGE` when it has more than `most` bytes, `FIELD_INVALID` when it is no gzip.
pub(super) fn unzipped(frame: Bytes, most: usize) -> Result<Bytes, Fault> {
    if frame.len() < HEAD || frame[0] == 0 {
        return Ok(frame);
    }
    let most = most as u64;
    let mut plain = Vec::new();
    let read = GzDecoder::new(&frame[HEAD..]).take(most + 1).read_to_end(&mut plain);
    read.map_err(|e| Fault::new(&mesh::FIELD_INVALID, "the message is not compressed by gzip").caused_by(e))?;
    let length = u32::try_from(plain.len()).ok().filter(|length| u64::from(*length) <= most);
    let length = length.ok_or_else(|| {
        let text = format!("a message may have at most {most} bytes, decompressed");
        Fault::new(&mesh::MESSAGE_TOO_LARGE, text)
    })?;
    let mut whole = BytesMut::with_capacity(HEAD + plain.len());
    whole.put_u8(0);
    whole.put_u32(length);
    whole.put_slice(&plain);
    Ok(whole.freeze())
}
