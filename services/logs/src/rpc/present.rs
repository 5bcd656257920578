//! Results become messages.

use bytes::Bytes;
use contracts_logs::v1 as pb;
use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bytes::timestamp,
    keys,
    trace::{Body, Level},
};
use runspine_types::Digest;

use crate::{
    app::{
        append_records::Receipt,
        read_traces::{AttemptView, KeptItem, TraceView},
        start_trace::Started,
    },
    store::{archives::ArchiveRow, keys::KeyRow, records::RecordRow, seals::SealRow},
};

/// A digest as it travels.
pub fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// Stored bytes, decoded.
pub fn decode<M: Message + Default>(bytes: &Bytes) -> Result<M, Fault> {
    M::decode(bytes.clone())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "stored bytes can't be read").caused_by(error))
}

/// The answer of StartTrace.
pub fn started(started: Started) -> pb::StartTraceResponse {
    pb::StartTraceResponse {
        trace_id: started.trace_id,
        link_0: raw(started.link),
        digest_salt: started.digest_salt.into(),
        parameter_key: started.parameter_key.into(),
        started_at: Some(timestamp(started.started_at)),
    }
}

/// A receipt.
pub fn receipt(r: Receipt) -> pb::Receipt {
    pb::Receipt {
        trace_id: r.trace_id,
        record_id: r.record_id,
        position: r.position,
        step_index: r.step_index,
        link: raw(r.link),
        recorded_at: Some(timestamp(r.recorded_at)),
        duplicate: r.duplicate,
        answer: r.answer,
        unauthorized: r.unauthorized,
        gap: r.gap,
    }
}

/// The answer of GetReceipt.
pub fn kept_item(item: KeptItem) -> Result<pb::GetReceiptResponse, Fault> {
    Ok(pb::GetReceiptResponse {
        receipt: Some(receipt(item.receipt)),
        request_digest: item.request_digest.map(raw).unwrap_or_default(),
        record: Some(decode(&item.record)?),
    })
}

/// A seal.
pub fn signed_seal(row: SealRow) -> Result<pb::SignedSeal, Fault> {
    Ok(pb::SignedSeal {
        seal: Some(decode(&row.seal)?),
        seal_bytes: row.seal,
        signature: row.signature,
        seal_digest: raw(row.seal_digest),
    })
}

/// A trace.
pub fn trace(view: TraceView) -> Result<pb::Trace, Fault> {
    let row = view.row;
    let state = match (&view.archive, row.sealed) {
        (Some(_), _) => pb::TraceState::Archived,
        (None, true) => pb::TraceState::Sealed,
        (None, false) => pb::TraceState::Open,
    };
    Ok(pb::Trace {
        header: Some(decode(&row.header)?),
        link_0: raw(row.link),
        state: state as i32,
        record_count: row.record_count,
        last_link: raw(row.last_link),
        last_recorded_at: Some(timestamp(row.last_recorded_at)),
        largest_step_index: row.largest_step_index,
        seal: view.seal.map(signed_seal).transpose()?,
        created_at: Some(timestamp(row.created_at)),
        archive: view.archive.map(archive),
        purged_at: view.purge.map(|purge| timestamp(purge.purged_at)),
    })
}

/// Where a bundle is.
pub fn archive(row: ArchiveRow) -> pb::TraceArchive {
    pb::TraceArchive {
        location: row.location,
        bundle_digest: raw(row.bundle_digest),
        size: row.size,
        archived_at: Some(timestamp(row.archived_at)),
    }
}

/// The answer of GetTrace.
pub fn attempt(view: AttemptView) -> Result<pb::GetTraceResponse, Fault> {
    Ok(pb::GetTraceResponse {
        trace: Some(trace(view.main)?),
        addenda: view.addenda.into_iter().map(trace).collect::<Result<_, _>>()?,
        incident_ids: view.incident_ids,
        totals: Some(pb::TraceTotals {
            input_tokens: view.sums.input_tokens,
            output_tokens: view.sums.output_tokens,
            cost_microusd: view.sums.cost_microusd,
            step_count: view.sums.steps,
            decision_count: view.sums.decisions,
        }),
    })
}

/// A record as it is stored; the caller's kept answer only where it was asked for.
pub fn record(row: RecordRow, late: bool, answers: bool) -> Result<pb::StoredRecord, Fault> {
    let level = Body::of_number(row.body).map_or(Level::Info, |body| Level::of(body, row.status));
    Ok(pb::StoredRecord {
        record: Some(decode(&row.record)?),
        record_bytes: row.record,
        link: raw(row.link),
        level: level.word().to_owned(),
        gap: row.gap,
        clock_skew: row.clock_skew,
        late,
        answer: if answers { row.answer.unwrap_or_default() } else { Bytes::new() },
    })
}

/// A key.
pub fn key(row: KeyRow) -> pb::SigningKey {
    let trusted = keys::TrustedKey {
        purpose: pb::KeyPurpose::try_from(row.purpose).unwrap_or_default(),
        key_id: row.key_id,
        // The store holds no other length; a key of another one verifies nothing.
        public_key: row.public_key.as_slice().try_into().unwrap_or_default(),
        revoked: row.revoked_from.is_some(),
    };
    pb::SigningKey {
        verifier_key: keys::verifier_key(&trusted),
        key_id: trusted.key_id,
        purpose: row.purpose,
        public_key: row.public_key.into(),
        created_at: Some(timestamp(row.created_at)),
        retired_at: row.retired_at.map(timestamp),
        revoked_from: row.revoked_from.map(timestamp),
    }
}
