//! Requests about dispatch records.

use contracts_common::common::v1::ActorType;
use contracts_logs::v1::{self as pb, DispatchAuthority, DispatchOutcome};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::{Micros, PLATFORM_TENANT, PageSize, hash};

use super::fields::Fields;
use crate::store::dispatch::{DispatchFilter, NewDispatch};

/// Records to be kept. The platform tenant may bring those of others: the door writes behind a call for several.
pub fn append(
    tenant: &str,
    request: pb::AppendDispatchesRequest,
    now: Micros,
) -> Result<Vec<NewDispatch>, Fault> {
    let mut fields = Fields::new();
    fields.require((1..=256).contains(&request.dispatches.len()), "dispatches", "are 1 to 256");
    let mut records: Vec<NewDispatch> = Vec::with_capacity(request.dispatches.len());
    for (n, record) in request.dispatches.into_iter().enumerate() {
        let tenant = match (tenant, record.tenant_id.as_str()) {
            (PLATFORM_TENANT, named) if !named.is_empty() => named.to_owned(),
            _ => tenant.to_owned(),
        };
        records.push(dispatch(&mut fields, n, tenant, record, now));
    }
    fields.done()?;
    Ok(records)
}

fn dispatch(
    fields: &mut Fields,
    n: usize,
    tenant_id: String,
    mut record: pb::DispatchRecord,
    now: Micros,
) -> NewDispatch {
    let at = |field: &str| format!("dispatches[{n}].{field}");
    let actor = record.actor.clone().unwrap_or_default();
    let _: ActorType = fields.any(&at("actor.type"), actor.r#type);
    for (name, bytes) in [
        ("request_digest", &record.request_digest),
        ("response_digest", &record.response_digest),
        ("config_digest", &record.config_digest),
    ] {
        let _ = fields.digest(&at(name), bytes);
    }
    let invariants = record.invariants.iter().all(|i| {
        pb::InvariantMoment::try_from(i.moment).is_ok() && pb::InvariantResult::try_from(i.result).is_ok()
    });
    fields.require(invariants, &at("invariants"), "have known moments and results");
    fields.require(record.grpc_code <= 16, &at("grpc_code"), "is 0 to 16");
    fields.require(record.duration_us >= 0, &at("duration_us"), "is not negative");
    let authority: DispatchAuthority = fields.known(&at("authority"), record.authority);
    let outcome: DispatchOutcome = fields.known(&at("outcome"), record.outcome);
    let occurred_at = fields.time(&at("occurred_at"), record.occurred_at.as_ref());
    record.tenant_id.clone_from(&tenant_id);
    record.recorded_at = None;
    let digest = hash(&record.encode_to_vec());
    record.recorded_at = Some(timestamp(now));
    NewDispatch {
        tenant_id,
        dispatch_id: fields.id(&at("dispatch_id"), record.dispatch_id.clone()),
        operation: fields.text(&at("operation"), record.operation.clone(), (1, 256)),
        actor_type: actor.r#type,
        actor_id: fields.text(&at("actor.id"), actor.id, (0, 128)),
        authority: authority.into(),
        outcome: outcome.into(),
        run_id: fields.text(&at("run_id"), record.run_id.clone(), (0, 128)),
        occurred_at,
        recorded_at: now,
        digest,
        record: record.encode_to_vec().into(),
    }
}

/// A list: filter and page size.
pub fn list(request: &pb::ListDispatchesRequest) -> Result<(DispatchFilter, PageSize), Fault> {
    let mut fields = Fields::new();
    let given = request.filter.clone().unwrap_or_default();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let actor = given.actor.unwrap_or_default();
    let actor_type: ActorType = fields.any("filter.actor.type", actor.r#type);
    let outcome: DispatchOutcome = fields.any("filter.outcome", given.outcome);
    let authority: DispatchAuthority = fields.any("filter.authority", given.authority);
    let filter = DispatchFilter {
        operation: some(given.operation),
        actor_type: (actor_type != ActorType::Unspecified).then(|| actor_type.into()),
        actor_id: some(actor.id),
        outcome: (outcome != DispatchOutcome::Unspecified).then(|| outcome.into()),
        authority: (authority != DispatchAuthority::Unspecified).then(|| authority.into()),
        run_id: some(given.run_id),
        occurred_from: fields.optional_time("filter.occurred_from", given.occurred_from.as_ref()),
        occurred_to: fields.optional_time("filter.occurred_to", given.occurred_to.as_ref()),
    };
    let size = fields.page_size(request.page_size);
    fields.done()?;
    Ok((filter, size))
}

/// A kept record.
pub fn record(bytes: bytes::Bytes) -> Result<pb::DispatchRecord, Fault> {
    pb::DispatchRecord::decode(bytes)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a dispatch record can't be read").caused_by(error))
}
