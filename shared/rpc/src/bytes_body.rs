//! Bodies as bytes: what the door looks at and passes on.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use runspine_errors::{Fault, mesh};

use crate::Body;

/// A gRPC frame's head: a flag and a length.
const HEAD: usize = 5;

/// A whole body that was read.
#[derive(Debug, Clone, Default)]
pub struct Trailed {
    /// The gRPC frames, heads included.
    pub data: Bytes,
    /// What followed them.
    pub trailers: Option<HeaderMap>,
}

impl Trailed {
    /// The message of a unary call; `None` when there is not exactly one, or it is compressed.
    #[must_use]
    pub fn message(&self) -> Option<Bytes> {
        let head: [u8; HEAD] = self.data.get(..HEAD)?.try_into().ok()?;
        let len = usize::try_from(u32::from_be_bytes([head[1], head[2], head[3], head[4]])).ok()?;
        (head[0] == 0 && self.data.len() == HEAD + len).then(|| self.data.slice(HEAD..))
    }

    /// The same bytes as a body again.
    #[must_use]
    pub fn into_body(self) -> Body {
        full_body(self.data, self.trailers)
    }
}

/// Bytes and trailers as a body.
#[must_use]
pub fn full_body(data: Bytes, trailers: Option<HeaderMap>) -> Body {
    let whole = http_body_util::Full::new(data);
    match trailers {
        Some(trailers) => Body::new(whole.with_trailers(std::future::ready(Some(Ok(trailers))))),
        None => Body::new(whole),
    }
}

/// Reads a body of one message that may have `most` bytes.
///
/// # Errors
/// `MESSAGE_TOO_LARGE` as soon as it is known, `TARGET_UNAVAILABLE` when the body breaks off.
pub async fn collect(mut body: Body, most: usize) -> Result<Trailed, Fault> {
    let mut out = Trailed::default();
    let mut more: Option<BytesMut> = None;
    if body.is_end_stream() {
        return Ok(out);
    }
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Fault::new(&mesh::TARGET_UNAVAILABLE, "the message broke off").caused_by(e))?;
        match frame.into_data() {
            Ok(data) => append(&mut out.data, &mut more, data, most)?,
            Err(frame) => out.trailers = frame.into_trailers().ok(),
        }
    }
    if let Some(all) = more {
        out.data = all.freeze();
    }
    Ok(out)
}

/// The first chunk is kept as it is: a message mostly comes in one, and then nothing is copied.
fn append(first: &mut Bytes, more: &mut Option<BytesMut>, data: Bytes, most: usize) -> Result<(), Fault> {
    let have = more.as_ref().map_or(first.len(), BytesMut::len);
    if have + data.len() > most.saturating_add(HEAD) {
        let text = format!("a message may have at most {most} bytes");
        return Err(Fault::new(&mesh::MESSAGE_TOO_LARGE, text));
    }
    if have == 0 {
        *first = data;
        return Ok(());
    }
    more.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&data);
    Ok(())
}
