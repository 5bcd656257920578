//! What is written about a call.

use std::time::Instant;

use contracts_logs::v1::{DispatchAuthority, DispatchOutcome, DispatchRecord};
use http::Response;
use runspine_errors::Fault;
use runspine_rpc::{Details, Trailed, code_of, details, timestamp};
use tonic::{Code, Status};

use super::{Inner, directory::Identity, dispatch::Record, forward::digest, inbound::Arrival, reasons};

/// The most characters of an id that a record keeps.
const MOST_ID: usize = 128;

/// A call that was served, or refused by whoever served it. `whole` is the answer when it was read.
pub(super) fn served<T>(
    door: &Inner,
    arrival: &Arrival,
    head: &Response<T>,
    whole: Option<&Trailed>,
) -> Record {
    let in_head = Status::from_header_map(head.headers());
    let in_trailers = || Status::from_header_map(whole?.trailers.as_ref()?);
    let status = in_head.or_else(in_trailers);
    let code = status.as_ref().map_or(Code::Ok, Status::code);
    let told = status.as_ref().filter(|s| s.code() != Code::Ok).map(details).unwrap_or_default();
    let mut record = base(arrival);
    record.authority = DispatchAuthority::Allowed as i32;
    if !door.own.serves(&arrival.operation.name) {
        record.forwarded_to.clone_from(&arrival.operation.domain);
    }
    record.outcome = outcome(code) as i32;
    record.grpc_code = code as u32;
    told_by(&mut record, &told);
    if let Some(message) = whole.and_then(Trailed::message) {
        record.response_digest = digest(&message).into();
    }
    record
}

/// A call that the door refused.
pub(super) fn refused(arrival: &Arrival, fault: &Fault) -> Record {
    let mut record = base(arrival);
    refusal(&mut record, fault);
    record
}

/// An authenticated call for an operation that does not exist.
pub(super) fn unknown(door: &Inner, path: &str, caller: &Identity, fault: &Fault, begun: Instant) -> Record {
    let dispatch_id = runspine_types::new_id();
    let name = path.strip_prefix('/').filter(|name| !name.is_empty()).unwrap_or("/");
    let mut record = DispatchRecord {
        correlation_id: dispatch_id.clone(),
        dispatch_id,
        operation: short(name, 256),
        config_digest: door.deps.profile.digest.to_vec().into(),
        occurred_at: Some(timestamp(door.deps.clock.now())),
        duration_us: micros(begun),
        ..Default::default()
    };
    who(&mut record, caller);
    refusal(&mut record, fault);
    record
}

fn base(arrival: &Arrival) -> Record {
    let seen = &arrival.request;
    let correlation =
        if seen.correlation_id.is_empty() { &arrival.dispatch_id } else { &seen.correlation_id };
    let mut record = DispatchRecord {
        dispatch_id: arrival.dispatch_id.clone(),
        operation: arrival.operation.name.clone(),
        request_id: short(&seen.request_id, MOST_ID),
        request_digest: seen.digest.clone().into(),
        run_id: short(&seen.run_id, MOST_ID),
        attempt: seen.attempt,
        step_index: seen.step_index,
        correlation_id: correlation.clone(),
        config_digest: arrival.config_digest.clone().into(),
        occurred_at: Some(timestamp(arrival.occurred_at)),
        duration_us: micros(arrival.begun),
        ..Default::default()
    };
    who(&mut record, &arrival.caller);
    record
}

fn who(record: &mut DispatchRecord, caller: &Identity) {
    record.tenant_id.clone_from(&caller.tenant);
    record.actor = Some(caller.as_actor());
    record.credential_id.clone_from(&caller.handle);
    record.roles.clone_from(&caller.roles);
    record.project_id.clone_from(&caller.project);
}

fn refusal(record: &mut DispatchRecord, fault: &Fault) {
    let reason = fault.reason();
    let about_authority = [
        &reasons::PERMISSION_MISSING,
        &reasons::KEY_SCOPE,
        &reasons::HUMAN_REQUIRED,
        &runspine_errors::mesh::PEER_NOT_SPINE,
    ];
    let denied = about_authority.into_iter().any(|r| fault.is(r));
    record.authority = if denied { DispatchAuthority::Denied } else { DispatchAuthority::Allowed } as i32;
    if denied {
        reason.name.clone_into(&mut record.authority_code);
        fault.message().clone_into(&mut record.authority_reason);
    }
    record.outcome = DispatchOutcome::Refused as i32;
    record.grpc_code = code_of(fault.kind()) as u32;
    reason.name.clone_into(&mut record.reason);
}

fn told_by(record: &mut DispatchRecord, told: &Details) {
    record.reason.clone_from(&told.reason);
    record.error_id = told.metadata.get("error_id").cloned().unwrap_or_default();
}

fn outcome(code: Code) -> DispatchOutcome {
    match code {
        Code::Ok => DispatchOutcome::Ok,
        // The owner may have committed before the time was over or the line broke.
        Code::DeadlineExceeded | Code::Cancelled | Code::Unavailable | Code::Unknown => {
            DispatchOutcome::Unknown
        }
        Code::Internal | Code::DataLoss => DispatchOutcome::Failed,
        _ => DispatchOutcome::Refused,
    }
}

/// What a client wrote may be as long as a message; a record must not be refused for it.
fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn micros(begun: Instant) -> i64 {
    i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX)
}
