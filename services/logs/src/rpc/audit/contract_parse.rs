//! Requests about contracts.

use std::time::Duration;

use contracts_common::common::v1::{AckStatus, ContractVerdict, RunPhase};
use contracts_logs::v1::{self as pb, ContractState, ReconcilePass};
use runspine_errors::Fault;
use runspine_logs_domain::{
    contract::{Fact, Key, Promise, Wish},
    reasons::RECORD_TOO_LARGE,
};
use runspine_types::{Micros, PageSize, is_code};

use super::fields::Fields;
use crate::{
    app::audit::{
        contracts::Write,
        orders::{Drive, Move},
    },
    store::contract::{ContractFilter, ContractOrder},
};

/// Most bytes that one action's input may have.
const MOST_INPUT: usize = 16 * 1024;
/// Most bytes that an intent may have.
const MOST_PAYLOAD: usize = 64 * 1024;
/// A reason for a person has 1 to this many bytes.
const REASON: (usize, usize) = (1, 1_024);

/// The name of a contract.
pub fn key(fields: &mut Fields, tenant: &str, key: Option<pb::ContractKey>) -> Key {
    fields.require(key.is_some(), "key", "must be set");
    let key = key.unwrap_or_default();
    fields.require(is_saga(&key.saga), "key.saga", "is [a-z][a-z0-9_]{0,63}");
    fields.require(key.attempt >= 1, "key.attempt", "counts from 1");
    Key {
        tenant_id: tenant.to_owned(),
        saga: key.saga,
        subject_id: fields.text("key.subject_id", key.subject_id, (1, 128)),
        attempt: key.attempt,
    }
}

fn is_saga(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn too_large(what: &str, most: usize) -> Fault {
    Fault::new(&RECORD_TOO_LARGE, format!("{what} has more than {most} bytes"))
}

/// A declaration.
pub fn declare(tenant: &str, request: pb::DeclareExpectationsRequest) -> Result<(Key, Write), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    let count = request.expectations.len();
    fields.require((1..=32).contains(&count), "expectations", "are 1 to 32");
    if request.expectations.iter().any(|e| e.input.len() > MOST_INPUT) {
        return Err(too_large("the input of an expectation", MOST_INPUT));
    }
    let mut promises: Vec<Promise> = Vec::with_capacity(count);
    for (n, e) in request.expectations.into_iter().enumerate() {
        let at = |field: &str| format!("expectations[{n}].{field}");
        let due_phase: RunPhase = fields.known(&at("due_phase"), e.due_phase);
        let clock = matches!(
            due_phase,
            RunPhase::Unspecified | RunPhase::Created | RunPhase::GovernanceCheck | RunPhase::Finalizing
        );
        fields.require(
            clock,
            &at("due_phase"),
            "is CREATED, GOVERNANCE_CHECK or FINALIZING: others have no clock",
        );
        let twice = promises.iter().any(|p| p.domain == e.domain && p.action == e.action);
        fields.require(!twice, &at("action"), "is promised once");
        promises.push(Promise {
            domain: fields.text(&at("domain"), e.domain, (1, 64)),
            action: fields.text(&at("action"), e.action, (1, 64)),
            due_phase,
            deadline_ms: e.deadline_ms,
            input: e.input,
        });
    }
    fields.done()?;
    Ok((key, Write::Declare(promises, request.run_timeout_ms)))
}

/// Facts.
pub fn acknowledge(tenant: &str, request: pb::AcknowledgeRequest) -> Result<(Key, Write), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    fields.require((1..=32).contains(&request.acks.len()), "acks", "are 1 to 32");
    let mut facts = Vec::with_capacity(request.acks.len());
    for (n, a) in request.acks.into_iter().enumerate() {
        let at = |field: &str| format!("acks[{n}].{field}");
        facts.push(Fact {
            domain: fields.text(&at("domain"), a.domain, (1, 64)),
            action: fields.text(&at("action"), a.action, (1, 64)),
            status: fields.known::<AckStatus>(&at("status"), a.status),
            result_id: fields.text(&at("result_id"), a.result_id, (0, 128)),
            error_reason: fields.words(&at("error_reason"), a.error_reason, (0, 1_024)),
            idempotency_key: fields.text(&at("idempotency_key"), a.idempotency_key, (1, 256)),
            fence: request.fence,
            observed_at: fields.optional_time(&at("observed_at"), a.observed_at.as_ref()),
        });
    }
    fields.done()?;
    Ok((key, Write::Acknowledge(facts)))
}

/// An intent.
pub fn intend(tenant: &str, request: pb::AppendIntentRequest) -> Result<(Key, Write), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    fields.require(is_code(&request.kind), "kind", "is a code: A-Z, 0-9 and _, 1 to 64 characters");
    fields.done()?;
    if request.payload.len() > MOST_PAYLOAD {
        return Err(too_large("the payload", MOST_PAYLOAD));
    }
    let pb::AppendIntentRequest { kind, payload, fence, expected_seq, .. } = request;
    let expected_seq = (expected_seq > 0).then_some(expected_seq);
    Ok((key, Write::Intend(Wish { kind, payload, fence, expected_seq })))
}

/// A judgement.
pub fn reconcile(tenant: &str, request: pb::ReconcileRequest) -> Result<(Key, Write), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    let pass: ReconcilePass = fields.known("pass", request.pass);
    fields.done()?;
    Ok((key, Write::Reconcile(pass)))
}

/// A moved deadline, with the key of the call.
pub fn move_deadline(tenant: &str, request: pb::MoveDeadlineRequest) -> Result<(Move, String), Fault> {
    let mut fields = Fields::new();
    let order = Move {
        key: key(&mut fields, tenant, request.key),
        action: (
            fields.text("domain", request.domain, (1, 64)),
            fields.text("action", request.action, (1, 64)),
        ),
        to: fields.optional_time("new_deadline", request.new_deadline.as_ref()),
        reason: fields.words("reason", request.reason, REASON),
        fence: request.fence,
    };
    let request_id = fields.request_id(request.request_id);
    fields.done()?;
    Ok((order, request_id))
}

/// A claim: worker, limit, lease, key of the call.
pub fn claim(request: pb::ClaimOverdueRequest) -> Result<(String, u32, Duration, String), Fault> {
    let mut fields = Fields::new();
    let worker = fields.text("worker_id", request.worker_id, (1, 128));
    let request_id = fields.request_id(request.request_id);
    fields.done()?;
    let limit = if request.limit == 0 { 50 } else { request.limit.min(200) };
    let lease = if request.lease_ms == 0 { 30_000 } else { request.lease_ms.min(120_000) };
    Ok((worker, limit, Duration::from_millis(lease), request_id))
}

/// A release: contract, fence and how it went.
pub fn release(tenant: &str, request: pb::ReleaseClaimRequest) -> Result<(Key, u64, Drive), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    let result: pb::DriveResult = fields.known("drive_result", request.drive_result);
    let least = usize::from(matches!(result, pb::DriveResult::Retry | pb::DriveResult::Park));
    let reason = fields.words("error_reason", request.error_reason, (least, 1_024));
    fields.done()?;
    let drive = match result {
        pb::DriveResult::Retry => Drive::Retry(reason),
        pb::DriveResult::Park => Drive::Park(reason),
        _ => Drive::Driven,
    };
    Ok((key, request.fence, drive))
}

/// An order to let a parked contract go on, with the key of the call.
pub fn unpark(tenant: &str, request: pb::UnparkContractRequest) -> Result<(Key, String, String), Fault> {
    let mut fields = Fields::new();
    let key = key(&mut fields, tenant, request.key);
    let reason = fields.words("reason", request.reason, REASON);
    let request_id = fields.request_id(request.request_id);
    fields.done()?;
    Ok((key, reason, request_id))
}

/// A list: filter, order, page size.
pub fn list(
    request: &pb::ListAuditContractsRequest,
    now: Micros,
) -> Result<(ContractFilter, ContractOrder, PageSize), Fault> {
    let mut fields = Fields::new();
    let given = request.filter.clone().unwrap_or_default();
    let state: ContractState = fields.any("filter.state", given.state);
    let verdict: ContractVerdict = fields.any("filter.verdict", given.verdict);
    fields.require(given.subject_ids.len() <= 100, "filter.subject_ids", "are at most 100");
    let filter = ContractFilter {
        saga: (!given.saga.is_empty()).then_some(given.saga),
        state: (state != ContractState::Unspecified).then(|| state.into()),
        verdict: (verdict != ContractVerdict::Unspecified).then(|| verdict.into()),
        parked: given.parked,
        overdue_at: given.overdue_only.then_some(now),
        subjects: given.subject_ids,
        declared_from: fields.optional_time("filter.declared_from", given.declared_from.as_ref()),
        declared_to: fields.optional_time("filter.declared_to", given.declared_to.as_ref()),
    };
    let order = match fields.any::<pb::ContractOrder>("order", request.order) {
        pb::ContractOrder::NextDeadline => ContractOrder::NextDeadline,
        _ => ContractOrder::DeclaredAt,
    };
    let size = fields.page_size(request.page_size);
    fields.done()?;
    Ok((filter, order, size))
}
