//! `LedgerService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, LedgerOrder, ledger_service_server::LedgerService};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::reasons::ENTRY_NOT_FOUND;
use runspine_rpc::{context, micros, status};
use runspine_types::{Micros, hash};
use tonic::{Request, Response, Status};

use super::{
    checkpoints,
    fields::{Fields, page_after, page_key},
    ledger_parse as parse,
};
use crate::{
    app::audit::Audit,
    rpc::watch,
    store::ledger::{self as store, Behind, EntryRow},
};

/// Serves the ledger.
pub struct Ledger(pub Arc<Audit>);

/// How much of an entry is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Decoded, with its states.
    Basic,
    /// With its bytes and salt.
    Full,
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    type WatchEntriesStream = watch::Messages<pb::WatchEntriesResponse>;

    async fn append_entries(
        &self,
        request: Request<pb::AppendEntriesRequest>,
    ) -> Result<Response<pb::AppendEntriesResponse>, Status> {
        let context = context(&request)?;
        let events = parse::append(&context.tenant_id, request.into_inner()).map_err(status)?;
        let appended = self.0.append_entries(events).await.map_err(status)?;
        let receipts = appended.into_iter().map(|a| pb::LedgerReceipt {
            seq: a.seq,
            link: a.link.to_vec().into(),
            entry_id: a.entry_id,
        });
        Ok(Response::new(pb::AppendEntriesResponse { receipts: receipts.collect() }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let context = context(&request)?;
        self.list(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_entry(
        &self,
        request: Request<pb::GetEntryRequest>,
    ) -> Result<Response<pb::GetEntryResponse>, Status> {
        let context = context(&request)?;
        let entry = self.get(&context.tenant_id, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(pb::GetEntryResponse { entry: Some(entry) }))
    }

    async fn watch_entries(
        &self,
        request: Request<pb::WatchEntriesRequest>,
    ) -> Result<Response<Self::WatchEntriesStream>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let stream = watch::entries(&self.0, &context.tenant_id, request).map_err(status)?;
        Ok(Response::new(stream))
    }

    async fn verify_ledger(
        &self,
        request: Request<pb::VerifyLedgerRequest>,
    ) -> Result<Response<pb::VerifyLedgerResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let found = self.0.verify_ledger(&context.tenant_id, request.from_seq, request.to_seq).await;
        let found = found.map_err(status)?;
        Ok(Response::new(pb::VerifyLedgerResponse {
            status: found.status.into(),
            verified_count: found.count,
            first_bad_seq: found.first_bad,
            to_seq: found.to,
            finding: found.finding.to_owned(),
            checkpoint_count: found.checkpoints,
        }))
    }

    async fn create_checkpoint(
        &self,
        request: Request<pb::CreateCheckpointRequest>,
    ) -> Result<Response<pb::CreateCheckpointResponse>, Status> {
        let context = context(&request)?;
        let known = request.into_inner().tree_size;
        let made = checkpoints::create(&self.0.notary, &context.tenant_id, known).await;
        Ok(Response::new(pb::CreateCheckpointResponse { checkpoint: Some(made.map_err(status)?) }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let context = context(&request)?;
        let found = checkpoints::get(&self.0.notary, &context.tenant_id, request.into_inner()).await;
        Ok(Response::new(pb::GetCheckpointResponse { checkpoint: Some(found.map_err(status)?) }))
    }

    async fn list_checkpoints(
        &self,
        request: Request<pb::ListCheckpointsRequest>,
    ) -> Result<Response<pb::ListCheckpointsResponse>, Status> {
        let context = context(&request)?;
        let page = checkpoints::list(&self.0.notary, &context.tenant_id, request.into_inner()).await;
        Ok(Response::new(page.map_err(status)?))
    }

    async fn add_cosignature(
        &self,
        request: Request<pb::AddCosignatureRequest>,
    ) -> Result<Response<pb::AddCosignatureResponse>, Status> {
        let context = context(&request)?;
        let row = checkpoints::cosign(&self.0.notary, &context, request.into_inner()).await;
        Ok(Response::new(pb::AddCosignatureResponse { checkpoint: Some(row.map_err(status)?) }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Result<Response<pb::GetInclusionProofResponse>, Status> {
        let context = context(&request)?;
        let proof = checkpoints::inclusion(&self.0.notary, &context.tenant_id, &request.into_inner()).await;
        Ok(Response::new(proof.map_err(status)?))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let context = context(&request)?;
        let proof = checkpoints::consistency(&self.0.notary, &context.tenant_id, &request.into_inner()).await;
        Ok(Response::new(proof.map_err(status)?))
    }
}

impl Ledger {
    async fn list(
        &self,
        tenant: &str,
        request: pb::ListEntriesRequest,
    ) -> Result<pb::ListEntriesResponse, Fault> {
        let unpaged = pb::ListEntriesRequest { page_token: String::new(), page_size: 0, ..request.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let filter = parse::filter(&mut fields, request.filter.unwrap_or_default());
        let order: LedgerOrder = fields.any("order", request.order);
        let few = filter.run_id.is_some() || filter.correlation_id.is_some();
        let ordered = order != LedgerOrder::OccurredAsc || few;
        fields.require(ordered, "order", "is OCCURRED_ASC for one run or correlation only");
        let size = fields.page_size(request.page_size);
        fields.done()?;
        let last = page_after(&request.page_token, query)?;
        let seq = last.map(|[seq, _]| seq.unsigned_abs());
        let behind = match order {
            LedgerOrder::SeqDesc => Behind::NewestFirst(seq),
            LedgerOrder::OccurredAsc => {
                Behind::Occurred(last.map(|[seq, at]| (Micros(at), seq.unsigned_abs())))
            }
            _ => Behind::Place(seq),
        };
        let rows = store::list(self.0.db.read(), tenant, &filter, behind, size.probe()).await?;
        let entries: Result<Vec<_>, Fault> = rows.into_iter().map(entry_view).collect();
        let mut entries = entries?;
        let next_page_token = size.cut(&mut entries, query, |view| {
            let seq = view.entry.as_ref().map_or(0, |entry| entry.seq);
            let at = view.entry.as_ref().and_then(|entry| entry.occurred_at.as_ref());
            page_key([i64::try_from(seq).unwrap_or(i64::MAX), at.map_or(0, |at| micros(at).0)])
        });
        Ok(pb::ListEntriesResponse { entries, next_page_token })
    }

    async fn get(&self, tenant: &str, request: pb::GetEntryRequest) -> Result<pb::LedgerEntryView, Fault> {
        let mut fields = Fields::new();
        let named = request.seq > 0 || !request.event_id.is_empty();
        fields.require(named, "seq", "or event_id must be set");
        fields.done()?;
        let read = self.0.db.read();
        let row = match request.seq {
            0 => store::by_event(read, tenant, &request.event_id).await?,
            seq => store::by_seq(read, tenant, seq).await?,
        };
        let missing = || Fault::new(&ENTRY_NOT_FOUND, "there is no such ledger entry");
        view(row.ok_or_else(missing)?, Detail::Full)
    }
}

fn view(row: EntryRow, detail: Detail) -> Result<pb::LedgerEntryView, Fault> {
    let entry = pb::LedgerEntry::decode(row.entry.clone())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a ledger entry can't be read").caused_by(error))?;
    let full = detail == Detail::Full;
    Ok(pb::LedgerEntryView {
        entry: Some(entry),
        link: row.link.to_vec().into(),
        entry_bytes: if full { row.entry } else { bytes::Bytes::new() },
        before_state: row.before_state.unwrap_or_default(),
        after_state: row.after_state.unwrap_or_default(),
        state_salt: row.state_salt.filter(|_| full).unwrap_or_default(),
    })
}

/// An entry as lists and streams show it.
pub fn entry_view(row: EntryRow) -> Result<pb::LedgerEntryView, Fault> {
    view(row, Detail::Basic)
}
