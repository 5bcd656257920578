//! Contracts as messages.

use contracts_logs::v1 as pb;
use runspine_logs_domain::contract::{
    Ack, Contract, Expectation, Finding, Intent, Judged, Judgement, Standing,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use crate::store::contract::{Claimed, IndexRow};

/// How much of a contract is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Without inputs, payloads and history.
    Basic,
    /// Everything.
    Full,
}

/// A finding.
#[must_use]
pub fn finding(f: &Finding) -> pb::ContractFinding {
    pb::ContractFinding {
        code: f.code.as_str().to_owned(),
        domain: f.domain.clone(),
        action: f.action.clone(),
        detail: f.detail.clone(),
    }
}

/// An expectation as it stands at `now`.
#[must_use]
pub fn expectation(c: &Contract, e: &Expectation, now: Micros, detail: Detail) -> pb::ExpectationView {
    let state = match c.standing(e, now) {
        Standing::Pending => pb::ExpectationState::Pending,
        Standing::Acked => pb::ExpectationState::Acked,
        Standing::Failed => pb::ExpectationState::Failed,
        Standing::Missing => pb::ExpectationState::Missing,
        Standing::NotApplicable => pb::ExpectationState::NotApplicable,
    };
    pb::ExpectationView {
        domain: e.domain.clone(),
        action: e.action.clone(),
        due_phase: e.due_phase.into(),
        deadline_ms: e.deadline_ms,
        input: if detail == Detail::Full { e.input.clone() } else { bytes::Bytes::new() },
        state: state.into(),
        due_at: c.due_at(e).map(timestamp),
        suspended: e.moved == Some(runspine_logs_domain::contract::Deadline::Suspended),
        latest_ack_seq: c.latest_ack(&e.domain, &e.action).map_or(0, |a| a.seq),
    }
}

/// An acknowledgement.
#[must_use]
pub fn ack(a: &Ack) -> pb::AckView {
    pb::AckView {
        seq: a.seq,
        domain: a.domain.clone(),
        action: a.action.clone(),
        status: a.status.into(),
        result_id: a.result_id.clone(),
        error_reason: a.error_reason.clone(),
        idempotency_key: a.idempotency_key.clone(),
        fence: a.fence,
        recorded_at: Some(timestamp(a.recorded_at)),
        duplicate: a.duplicate,
    }
}

/// An intent.
#[must_use]
pub fn intent(i: &Intent, detail: Detail) -> pb::IntentView {
    pb::IntentView {
        seq: i.seq,
        kind: i.kind.clone(),
        payload: if detail == Detail::Full { i.payload.clone() } else { bytes::Bytes::new() },
        fence: i.fence,
        recorded_at: Some(timestamp(i.recorded_at)),
    }
}

fn verdict(j: &Judged) -> pb::VerdictView {
    pb::VerdictView {
        seq: j.seq,
        pass: j.pass.into(),
        verdict: j.verdict.into(),
        findings: j.findings.iter().map(finding).collect(),
        recorded_at: Some(timestamp(j.recorded_at)),
    }
}

/// A contract with its working row.
#[must_use]
pub fn contract(row: &IndexRow, c: &Contract, now: Micros, detail: Detail) -> pb::AuditContract {
    let state = if c.closed { pb::ContractState::Closed } else { pb::ContractState::Open };
    let verdicts = match detail {
        Detail::Full => c.judged.iter().map(verdict).collect(),
        Detail::Basic => c.judged.last().map(verdict).into_iter().collect(),
    };
    pb::AuditContract {
        tenant_id: row.tenant_id.clone(),
        key: Some(crate::app::audit::told::key_of(&row.key())),
        state: state.into(),
        audit_status: c.audit_status().into(),
        expectations: c.expectations.iter().map(|e| expectation(c, e, now, detail)).collect(),
        acks: if detail == Detail::Full { c.acks.iter().map(ack).collect() } else { Vec::new() },
        intents: c.intents.iter().map(|i| intent(i, detail)).collect(),
        verdicts,
        fence: row.fence,
        last_seq: row.last_seq,
        last_link: row.last_link.to_vec().into(),
        declared_at: c.declared_at.map(timestamp),
        next_deadline: row.next_deadline.map(timestamp),
        next_attempt_at: row.next_attempt_at.map(timestamp),
        claimed_by: row.claimed_by.clone(),
        claimed_until: row.claimed_until.map(timestamp),
        parked: row.parked,
        parked_reason: row.parked_reason.clone(),
        retries: row.retries,
        completion_intended_at: c.completion_at.map(timestamp),
        finalizing_at: c.finalizing_at.map(timestamp),
    }
}

/// A contract as it was declared: the same whenever it is asked again, whatever happened since.
#[must_use]
pub fn declared(tenant_id: &str, key: pb::ContractKey, c: &Contract) -> pb::AuditContract {
    let mut fresh = Contract::new(&c.saga);
    fresh.declared_at = c.declared_at;
    fresh.expectations = c.expectations.iter().map(|e| Expectation { moved: None, ..e.clone() }).collect();
    let at = c.declared_at.unwrap_or_default();
    pb::AuditContract {
        tenant_id: tenant_id.to_owned(),
        key: Some(key),
        state: pb::ContractState::Open.into(),
        audit_status: fresh.audit_status().into(),
        expectations: fresh.expectations.iter().map(|e| expectation(&fresh, e, at, Detail::Full)).collect(),
        declared_at: c.declared_at.map(timestamp),
        next_deadline: fresh.next_deadline().map(timestamp),
        ..pb::AuditContract::default()
    }
}

/// A claimed contract.
#[must_use]
pub fn claim(claimed: &Claimed, now: Micros) -> pb::ContractClaim {
    let (row, c) = (&claimed.row, claimed.contract.as_ref());
    pb::ContractClaim {
        contract: Some(contract(row, c, now, Detail::Basic)),
        fence: row.fence,
        overdue: c.overdue(now).map(|e| expectation(c, e, now, Detail::Basic)).collect(),
        claimed_until: row.claimed_until.map(timestamp),
    }
}

/// What the audit says.
#[must_use]
pub fn judgement(j: &Judgement, seq: u64, c: &Contract, now: Micros) -> pb::ReconcileResponse {
    let open = c
        .expectations
        .iter()
        .filter(|e| matches!(c.standing(e, now), Standing::Pending | Standing::Missing | Standing::Failed));
    pb::ReconcileResponse {
        verdict: j.verdict.map_or(0, i32::from),
        pending: j.verdict.is_none(),
        clean: j.clean,
        findings: j.findings.iter().map(finding).collect(),
        seq,
        open: open.map(|e| expectation(c, e, now, Detail::Basic)).collect(),
    }
}
