//! Live streams as messages, and the tokens with which a reader goes on.

use std::{pin::Pin, sync::Arc};

use contracts_logs::v1::{self as pb, watch_entries_response::Item, watch_records_response::Event};
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_logs_domain::reasons::WATCH_TOKEN_MISMATCH;
use runspine_rpc::status;
use runspine_types::{Digest, Hasher, PageToken};
use tonic::Status;

use super::{
    audit::{entry_view, watch_filter},
    present,
};
use crate::app::{
    App,
    audit::Audit,
    watch::{WatchedEntry, WatchedRecord},
};

/// What a client reads.
pub type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// What names a stream: the operation, the tenant, and what is watched. A token belongs to one of them.
#[derive(Clone, Copy)]
struct Name(Digest);

impl Name {
    fn of(operation: &str, tenant_id: &str, watched: &[u8]) -> Self {
        let name = Hasher::new("runspine.watch.v1").sized(operation.as_bytes()).sized(tenant_id.as_bytes());
        Self(name.sized(watched).finish())
    }

    /// The token with which a stream of this name goes on at `next`.
    fn token(self, next: u64) -> String {
        PageToken::encode(self.0, vec![next.to_string()])
    }

    /// Where a stream begins: at the place of its token, or at `from`.
    fn begin(self, token: &str, from: u64, field: &str) -> Result<u64, Fault> {
        let mut found = Violations::new();
        let one = token.is_empty() || from == 0;
        found.require(one, field, mesh::FIELD_INVALID.name, "is not set beside watch_token");
        found.into_result(&mesh::FIELD_INVALID)?;
        let foreign = || {
            let message = "the watch token is not one of this stream";
            let reason = WATCH_TOKEN_MISMATCH.name;
            Fault::new(&WATCH_TOKEN_MISMATCH, message).field(
                "watch_token",
                reason,
                "was given by this stream",
            )
        };
        match PageToken::decode(token, self.0).map_err(|_| foreign())?.as_deref() {
            None => Ok(from.max(1)),
            Some([next]) => next.parse().map_err(|_| foreign()),
            Some(_) => Err(foreign()),
        }
    }
}

/// The records of a trace.
pub async fn records(
    app: &Arc<App>,
    tenant_id: &str,
    request: &pb::WatchRecordsRequest,
) -> Result<Messages<pb::WatchRecordsResponse>, Fault> {
    let trace = app.find_kept_trace(tenant_id, &request.run_id, request.attempt, 0).await?;
    // The trace that is watched names the stream: "the latest attempt" may be another one when the reader comes back.
    let name = Name::of("WatchRecords", tenant_id, trace.trace_id.as_bytes());
    let from = name.begin(&request.watch_token, request.from_position, "from_position")?;
    let stream = app.watch_records(tenant_id, trace.trace_key, from)?;
    Ok(stream.map(move |m| m.and_then(|m| record(name, m)).map_err(status)).boxed())
}

fn record(name: Name, message: WatchedRecord) -> Result<pb::WatchRecordsResponse, Fault> {
    let (next, event) = match message {
        WatchedRecord::Record(row) => (row.position + 1, Event::Record(present::record(*row, false, false)?)),
        WatchedRecord::Heartbeat(head_position) => {
            (head_position + 1, Event::Heartbeat(pb::WatchHeartbeat { head_position }))
        }
        WatchedRecord::End(seal, record_count) => {
            let seal_digest = present::raw(seal.seal_digest);
            (record_count + 1, Event::End(pb::WatchEnd { seal_digest, record_count }))
        }
    };
    Ok(pb::WatchRecordsResponse { watch_token: name.token(next), event: Some(event) })
}

/// The entries of a ledger.
pub fn entries(
    audit: &Arc<Audit>,
    tenant_id: &str,
    request: pb::WatchEntriesRequest,
) -> Result<Messages<pb::WatchEntriesResponse>, Fault> {
    let watched = pb::WatchEntriesRequest { from_seq: 0, watch_token: String::new(), ..request.clone() };
    let name = Name::of("WatchEntries", tenant_id, &watched.encode_to_vec());
    let filter = watch_filter(watched)?;
    let from = name.begin(&request.watch_token, request.from_seq, "from_seq")?;
    let stream = audit.watch_entries(tenant_id.to_owned(), from, filter)?;
    Ok(stream.map(move |m| m.and_then(|m| entry(name, m)).map_err(status)).boxed())
}

fn entry(name: Name, message: WatchedEntry) -> Result<pb::WatchEntriesResponse, Fault> {
    let (next, item) = match message {
        WatchedEntry::Entry(row) => (row.seq + 1, Item::Entry(entry_view(*row)?)),
        WatchedEntry::Heartbeat(head_seq) => {
            (head_seq + 1, Item::Heartbeat(pb::LedgerHeartbeat { head_seq }))
        }
    };
    Ok(pb::WatchEntriesResponse { watch_token: name.token(next), item: Some(item) })
}
