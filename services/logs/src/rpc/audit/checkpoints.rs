//! The part of `LedgerService` that is about checkpoints.

use contracts_logs::v1::{self as pb, LogName};
use prost::Message as _;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::{note::NoteKey, reasons::CHECKPOINT_NOT_FOUND};
use runspine_rpc::{Context, timestamp};
use runspine_types::hash;

use super::fields::{Fields, page_after, page_key};
use crate::{
    app::audit::{checkpoints::raw, notary::Notary},
    store::{
        checkpoint::{self as store, CheckpointRow, Log},
        keys,
    },
};

/// The log that a request names.
fn log(fields: &mut Fields, tenant: &str, name: i32) -> Log {
    match fields.any::<LogName>("log", name) {
        LogName::Mesh => Log::Mesh,
        LogName::Unspecified | LogName::Ledger => Log::Ledger(tenant.to_owned()),
    }
}

/// Makes a checkpoint over everything that is committed.
pub async fn create(notary: &Notary, tenant: &str, known: u64) -> Result<pb::Checkpoint, Fault> {
    let log = Log::Ledger(tenant.to_owned());
    notary.consistent()?;
    if known > store::head(notary.read(), &log).await? {
        let message = "the ledger does not have as many entries";
        return Err(Fault::new(&CHECKPOINT_NOT_FOUND, message).with("tree_size", known));
    }
    let row = notary.sign(&log).await?;
    view(notary, &log, row).await
}

/// One checkpoint.
pub async fn get(
    notary: &Notary,
    tenant: &str,
    request: pb::GetCheckpointRequest,
) -> Result<pb::Checkpoint, Fault> {
    let mut fields = Fields::new();
    let log = log(&mut fields, tenant, request.log);
    fields.done()?;
    let row = notary.get(&log, request.tree_size).await?;
    view(notary, &log, row).await
}

/// A page of checkpoints.
pub async fn list(
    notary: &Notary,
    tenant: &str,
    request: pb::ListCheckpointsRequest,
) -> Result<pb::ListCheckpointsResponse, Fault> {
    let unpaged = pb::ListCheckpointsRequest { page_token: String::new(), page_size: 0, ..request.clone() };
    let query = hash(&unpaged.encode_to_vec());
    let mut fields = Fields::new();
    let log = log(&mut fields, tenant, request.log);
    let size = fields.page_size(request.page_size);
    fields.done()?;
    let below = page_after(&request.page_token, query)?.map_or(u64::MAX, |[size]| size.unsigned_abs());
    let mut rows = store::list(notary.read(), &log, below, size.probe()).await?;
    let next_page_token = size.cut(&mut rows, query, |row| page_key([row.tree_size.cast_signed()]));
    let mut checkpoints = Vec::with_capacity(rows.len());
    for row in rows {
        checkpoints.push(view(notary, &log, row).await?);
    }
    Ok(pb::ListCheckpointsResponse { checkpoints, next_page_token })
}

/// Adds the line of a witness.
pub async fn cosign(
    notary: &Notary,
    context: &Context,
    request: pb::AddCosignatureRequest,
) -> Result<pb::Checkpoint, Fault> {
    let mut fields = Fields::new();
    let log = log(&mut fields, &context.tenant_id, request.log);
    fields.require(request.tree_size > 0, "tree_size", "is the size of a checkpoint");
    let line = fields.text("signature_line", request.signature_line, (1, 1_024));
    fields.done()?;
    let row = notary.cosign(context, &log, request.tree_size, &line).await?;
    view(notary, &log, row).await
}

/// Proves that a leaf is under a root.
pub async fn inclusion(
    notary: &Notary,
    tenant: &str,
    request: &pb::GetInclusionProofRequest,
) -> Result<pb::GetInclusionProofResponse, Fault> {
    let mut fields = Fields::new();
    let log = log(&mut fields, tenant, request.log);
    fields.require(request.seq > 0, "seq", "is a sequence number, from 1");
    fields.done()?;
    let place = match log {
        Log::Ledger(_) => request.seq - 1,
        Log::Mesh => notary.mesh_place(tenant, request.seq).await?,
    };
    let size = size_of(notary, &log, request.tree_size).await?;
    let proof = notary.inclusion(&log, place, size).await?;
    Ok(pb::GetInclusionProofResponse {
        leaf_index: proof.place,
        tree_size: proof.size,
        leaf_data: raw(proof.leaf),
        hashes: proof.path.into_iter().map(raw).collect(),
        root: raw(proof.root),
    })
}

/// Proves that one tree continues another.
pub async fn consistency(
    notary: &Notary,
    tenant: &str,
    request: &pb::GetConsistencyProofRequest,
) -> Result<pb::GetConsistencyProofResponse, Fault> {
    let mut fields = Fields::new();
    let log = log(&mut fields, tenant, request.log);
    let ordered = request.to_size == 0 || request.from_size <= request.to_size;
    fields.require(ordered, "from_size", "is at most to_size");
    fields.done()?;
    let to = size_of(notary, &log, request.to_size).await?;
    let proof = notary.consistency(&log, request.from_size, to).await?;
    Ok(pb::GetConsistencyProofResponse {
        hashes: proof.hashes.into_iter().map(raw).collect(),
        from_root: raw(proof.from_root),
        to_root: raw(proof.to_root),
        to_size: proof.to,
    })
}

/// The size that is asked for; that of the newest checkpoint when none is.
async fn size_of(notary: &Notary, log: &Log, size: u64) -> Result<u64, Fault> {
    if size == 0 { Ok(notary.get(log, 0).await?.tree_size) } else { Ok(size) }
}

async fn view(notary: &Notary, log: &Log, row: CheckpointRow) -> Result<pb::Checkpoint, Fault> {
    let (note, witnesses) = notary.cosigned(log, &row).await?;
    let keys = keys::all(notary.read()).await?;
    let key = keys.into_iter().find(|key| key.key_id == row.key_id);
    let public = key.and_then(|key| <[u8; 32]>::try_from(key.public_key).ok());
    let public = public.ok_or_else(|| DbError::Column {
        column: "key_id".to_owned(),
        what: "a checkpoint is signed by a key that is not known".to_owned(),
    })?;
    Ok(pb::Checkpoint {
        tree_size: row.tree_size,
        root: raw(row.root),
        note,
        key_id: row.key_id,
        verifier_key: NoteKey::of_log(&notary.origin(log), public).text(),
        created_at: Some(timestamp(row.created_at)),
        witnesses,
    })
}
