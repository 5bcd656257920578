//! The part of `RecordService` that is about language models.

use contracts_logs::v1::{self as pb, LlmExecutionStatus, LlmRunSource};
use prost::Message as _;
use runspine_db::Db;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::reasons::RECORD_NOT_FOUND;
use runspine_types::{hash, is_uuid};

use super::fields::{Fields, page_after, page_key};
use crate::store::llm_runs::{self as store, LlmRunRow};

/// Most runs of one filter.
const MOST_RUNS: usize = 100;

/// The record of one attempt.
pub async fn get(db: &Db, tenant: &str, request: pb::GetLlmRunRequest) -> Result<pb::LlmRun, Fault> {
    let mut fields = Fields::new();
    let run_id = fields.id("run_id", request.run_id);
    fields.done()?;
    let found = store::get(db.read(), tenant, &run_id, request.attempt).await?;
    let missing = || Fault::new(&RECORD_NOT_FOUND, "there is no sealed attempt of this run");
    view(found.ok_or_else(missing)?)
}

/// A page of records.
pub async fn list(
    db: &Db,
    tenant: &str,
    request: pb::ListLlmRunsRequest,
) -> Result<pb::ListLlmRunsResponse, Fault> {
    let unpaged = pb::ListLlmRunsRequest { page_token: String::new(), page_size: 0, ..request.clone() };
    let query = hash(&unpaged.encode_to_vec());
    let mut fields = Fields::new();
    let filter = filter(&mut fields, "filter", request.filter.unwrap_or_default()).into();
    let size = fields.page_size(request.page_size);
    fields.done()?;
    let after = page_after(&request.page_token, query)?.map(|[at, id]| (at, id));
    let mut rows = store::list(db.read(), tenant, &filter, after, size.probe()).await?;
    let next_page_token = size.cut(&mut rows, query, |row| page_key([row.completed_at.0, row.id]));
    let llm_runs: Result<Vec<_>, Fault> = rows.into_iter().map(view).collect();
    Ok(pb::ListLlmRunsResponse { llm_runs: llm_runs?, next_page_token })
}

/// Checks which records are asked for in the field `name`.
pub fn filter(fields: &mut Fields, name: &str, given: pb::LlmRunFilter) -> pb::LlmRunFilter {
    let named = given.run_ids.len() <= MOST_RUNS && given.run_ids.iter().all(|id| is_uuid(id));
    fields.require(named, &format!("{name}.run_ids"), "are at most 100 UUIDs");
    let _: LlmExecutionStatus = fields.any(&format!("{name}.status"), given.status);
    let _: LlmRunSource = fields.any(&format!("{name}.source"), given.source);
    let _ = fields.optional_time(&format!("{name}.completed_from"), given.completed_from.as_ref());
    let _ = fields.optional_time(&format!("{name}.completed_to"), given.completed_to.as_ref());
    given
}

fn view(row: LlmRunRow) -> Result<pb::LlmRun, Fault> {
    let unreadable = |error| Fault::new(&mesh::INTERNAL, "a record can't be read").caused_by(error);
    pb::LlmRun::decode(row.record).map_err(unreadable)
}
