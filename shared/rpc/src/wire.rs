//! Reads single fields of an encoded message without knowing the rest: the door looks, and passes the bytes on untouched.

/// The value of a field at the top of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// A whole number.
    Number(u64),
    /// A string, bytes or message.
    Bytes(&'a [u8]),
}

/// The last value of field `number`, as proto3 reads it; `None` when it is absent or the message is malformed.
#[must_use]
pub fn field(mut message: &[u8], number: u32) -> Option<Field<'_>> {
    let mut found = None;
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        let (value, rest) = value(tag & 7, rest)?;
        if tag >> 3 == u64::from(number) {
            found = value.or(found);
        }
        message = rest;
    }
    found
}

/// The text of a string field; empty when it is absent.
#[must_use]
pub fn text(message: &[u8], number: Option<u32>) -> &str {
    match number.and_then(|n| field(message, n)) {
        Some(Field::Bytes(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "",
    }
}

/// The value of a number field; `None` when it is absent.
#[must_use]
pub fn number(message: &[u8], number: Option<u32>) -> Option<u64> {
    match number.and_then(|n| field(message, n)) {
        Some(Field::Number(value)) => Some(value),
        _ => None,
    }
}

fn value(wire_type: u64, rest: &[u8]) -> Option<(Option<Field<'_>>, &[u8])> {
    match wire_type {
        0 => varint(rest).map(|(v, rest)| (Some(Field::Number(v)), rest)),
        1 => rest.split_at_checked(8).map(|(_, rest)| (None, rest)),
        2 => {
            let (len, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            Some((Some(Field::Bytes(bytes)), rest))
        }
        5 => rest.split_at_checked(4).map(|(_, rest)| (None, rest)),
        // Groups don't exist in proto3.
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut out = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        out |= u64::from(byte & 0x7f).checked_shl(u32::try_from(at).ok()? * 7)?;
        if byte & 0x80 == 0 {
            return Some((out, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn finds_what_prost_wrote_among_other_fields() {
        let call = contracts_common::common::v1::CallContext {
            tenant_id: "t".into(),
            roles: vec!["A".into(), "B".into()],
            run_id: "r-1".into(),
            issued_at_us: 300,
            ..Default::default()
        };
        let bytes = call.encode_to_vec();
        assert_eq!(text(&bytes, Some(11)), "r-1");
        assert_eq!(text(&bytes, Some(6)), "B");
        assert_eq!(number(&bytes, Some(15)), Some(300));
        assert_eq!(text(&bytes, Some(3)), "");
        assert_eq!(number(&bytes, None), None);
    }

    #[test]
    fn a_malformed_message_gives_nothing() {
        for bytes in [&[0x0a, 0x05, b'x'][..], &[0xff; 11], &[0x0b], &[0x09, 1]] {
            assert_eq!(field(bytes, 1), None, "{bytes:?}");
        }
    }
}
