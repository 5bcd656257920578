//! Words in a record are seen by everyone who may read the trace, whatever its run allows: they lose what nobody may see.

use std::borrow::Cow;

use contracts_logs::v1::trace_record::Body;
use runspine_redact::{Keep, text};

/// Redacts the words of a record. Ids, codes and digests are none.
pub(super) fn redact(body: &mut Body) {
    match body {
        Body::Decision(b) => clean(&mut b.name),
        Body::Step(b) => clean(&mut b.name),
        Body::Resolution(b) => clean(&mut b.reason),
        Body::Mcp(b) => {
            clean(&mut b.tool_name);
            clean(&mut b.message);
        }
        Body::Control(b) => clean(&mut b.reason),
        Body::Correction(b) => {
            clean(&mut b.reason);
            clean(&mut b.new_value);
        }
        Body::SpanLink(_) => {}
    }
}

fn clean(words: &mut String) {
    if let Cow::Owned(without) = text(words, Keep::default()) {
        *words = without;
    }
}
