//! What becomes of payloads that come with a step: each is checked against the constraints of its run, redacted,
//! named by a digest and encrypted before the writer's turn.

use bytes::Bytes;
use contracts_logs::v1::{Payload, PayloadDirection, trace_record};
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    payload::{bound_to, reference, subject},
    trace::Item,
};
use runspine_redact::{Constraints, Counts, Keep, Kept, Operation, RedactionFailed};
use runspine_types::Digest;

use crate::{
    app::{App, random},
    metrics,
    store::{
        payloads::{self, NewPayload, Secrets},
        traces::{self, TraceRef},
    },
    vault::Key,
};

/// What became of the payloads of one item.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// To be stored with its record.
    pub kept: Vec<NewPayload>,
    /// What the constraints of the run did not allow, once for each payload.
    pub denied: Vec<Operation>,
    /// Payloads that could not be redacted, and so are not stored.
    pub failed: u32,
}

/// What a run allows, and what its payloads are made with.
struct Allowed {
    constraints: Constraints,
    made_with: Option<MadeWith>,
}

struct MadeWith {
    salt: Vec<u8>,
    key: Key,
    subjects: Option<Vec<u8>>,
}

impl App {
    /// Takes the payloads out of `items` and gives what becomes of them, item by item; nothing when there are none.
    /// What may not be kept is dropped here, before anything can store it.
    ///
    /// # Errors
    /// When the store can't be read, or a run's key can't be made.
    pub async fn offer(&self, of: &TraceRef, items: &mut [Item]) -> Result<Vec<Offered>, Fault> {
        if items.iter().all(|item| item.payloads.is_empty()) {
            return Ok(Vec::new());
        }
        let allowed = self.allowed(of).await?;
        let offer = |item: &mut Item| {
            let payloads = std::mem::take(&mut item.payloads);
            let mut offered = Offered::default();
            for payload in payloads {
                if let Some(kept) = consider(of, payload, &allowed, &mut offered)? {
                    refer(&mut item.body, &kept);
                    offered.kept.push(kept);
                }
            }
            Ok(offered)
        };
        items.iter_mut().map(offer).collect()
    }

    async fn allowed(&self, of: &TraceRef) -> Result<Allowed, Fault> {
        // Without a trace nothing is allowed; the append will say that there is none.
        let header = traces::header(self.db.read(), &of.tenant_id, &of.run_id, of.attempt).await?;
        let constraints = Constraints::of(header.map(|header| header.inspection_allowed));
        let stores =
            [Operation::LogPrompt, Operation::LogResponse].into_iter().any(|o| constraints.is_allowed(o));
        let made_with = if stores { self.made_with(of).await? } else { None };
        Ok(Allowed { constraints, made_with })
    }

    /// The salt and the key of a run; a run gets its key with its first payload. `None` after they were erased.
    async fn made_with(&self, of: &TraceRef) -> Result<Option<MadeWith>, Fault> {
        let found = payloads::secrets(self.db.read(), &of.tenant_id, &of.run_id).await?;
        let Some(Secrets { digest_salt: Some(salt), data_key, parameter_key }) = found else {
            return Ok(None);
        };
        let wrapped = match data_key {
            Some(wrapped) => Some(wrapped),
            None => {
                let fresh = self.vault.wrap(random()?, &of.tenant_id, &of.run_id)?;
                let of = of.clone();
                self.db
                    .write("payload_key", move |tx| {
                        Box::pin(async move {
                            Ok(payloads::data_key(tx, (&of.tenant_id, &of.run_id), &fresh).await?)
                        })
                    })
                    .await?
            }
        };
        let key = wrapped.and_then(|wrapped| self.vault.unwrap(&wrapped, &of.tenant_id, &of.run_id));
        Ok(key.map(|key| MadeWith { salt, key, subjects: parameter_key }))
    }
}

/// What is kept of one payload; `None`, noted in `offered` as denied or failed, when nothing is.
fn consider(
    of: &TraceRef,
    payload: Payload,
    allowed: &Allowed,
    offered: &mut Offered,
) -> Result<Option<NewPayload>, Fault> {
    let stores = match payload.direction() {
        PayloadDirection::Output => Operation::LogResponse,
        _ => Operation::LogPrompt,
    };
    if !allowed.constraints.is_allowed(stores) {
        offered.denied.push(stores);
        return Ok(None);
    }
    let Some(made_with) = &allowed.made_with else { return Ok(None) };
    let redacted = runspine_redact::payload(&payload.content, Keep::from(allowed.constraints));
    let Some((stored, counts)) = storable(redacted, allowed.constraints, offered) else { return Ok(None) };
    metrics::redacted(&counts);
    let reference = reference(&made_with.salt, &stored);
    let about = bound_to(&of.tenant_id, &of.run_id, &reference);
    let tagged = (!payload.subject.is_empty()).then_some(&payload.subject);
    Ok(Some(NewPayload {
        reference,
        direction: payload.direction,
        media_type: payload.media_type,
        size: stored.len(),
        redactions: told(&counts),
        subject: tagged.zip(made_with.subjects.as_ref()).map(|(tag, key)| subject(key, tag)),
        ciphertext: made_with.key.seal(&stored, &about)?.into(),
    }))
}

/// What of a payload may be stored after it was redacted: nothing, when it could not be.
fn storable(
    redacted: Result<Kept, RedactionFailed>,
    constraints: Constraints,
    offered: &mut Offered,
) -> Option<(Vec<u8>, Counts)> {
    match redacted {
        Ok(Kept::Bytes(stored, counts)) => Some((stored, counts)),
        Ok(Kept::Nothing) => {
            let both = [Operation::CapturePii, Operation::AccessSecret];
            offered.denied.extend(both.into_iter().filter(|o| !constraints.is_allowed(*o)));
            None
        }
        Err(RedactionFailed) => {
            offered.failed += 1;
            None
        }
    }
}

/// Classes and counts as they are stored.
fn told(counts: &Counts) -> String {
    let pairs = counts.iter().map(|(class, count)| (class.name().to_owned(), count.into()));
    serde_json::Value::Object(pairs.collect()).to_string()
}

/// Names a stored payload in the record of its step.
fn refer(body: &mut trace_record::Body, kept: &NewPayload) {
    let trace_record::Body::Step(step) = body else { return };
    let side = match kept.direction {
        2 => &mut step.output_ref,
        _ => &mut step.input_ref,
    };
    *side = bytes_of(kept.reference);
}

/// What is still to be kept: nothing, and no reference either, when the run was erased since the payloads were made
/// ready.
///
/// # Errors
/// When the store can't be read.
pub async fn still_kept(
    tx: &mut Tx,
    of: &TraceRef,
    mut offered: Vec<Offered>,
    items: &mut [Item],
) -> Result<Vec<Offered>, DbError> {
    let stores = offered.iter().any(|offered| !offered.kept.is_empty());
    if stores && !payloads::takes_payloads(tx, &of.tenant_id, &of.run_id).await? {
        offered.iter_mut().for_each(|offered| offered.kept.clear());
        items.iter_mut().for_each(|item| forget(&mut item.body));
    }
    Ok(offered)
}

/// A record that names no payloads.
pub fn forget(body: &mut trace_record::Body) {
    if let trace_record::Body::Step(step) = body {
        step.input_ref.clear();
        step.output_ref.clear();
    }
}

fn bytes_of(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_redacted_is_not_stored() {
        let (nothing, mut offered) = (Constraints::of(Some(3)), Offered::default());
        assert!(storable(Err(RedactionFailed), nothing, &mut offered).is_none());
        assert_eq!((offered.failed, offered.denied.len()), (1, 0), "nobody forbade it");
        assert!(storable(Ok(Kept::Nothing), nothing, &mut offered).is_none());
        assert_eq!((offered.failed, offered.denied.len()), (1, 2));
        let kept = storable(Ok(Kept::Bytes(vec![7], Counts::default())), nothing, &mut offered);
        assert_eq!(kept.map(|(bytes, _)| bytes), Some(vec![7]));
    }
}
