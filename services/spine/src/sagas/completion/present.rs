//! The saga as its caller sees it.

use contracts_common::common::v1::{AckStatus, AuditStatus, ContractVerdict};
use contracts_logs::v1::{AuditContract, ContractState};
use contracts_spine::v1::{Saga, SagaResult, TransactionPhase};

use super::{
    journal::{Journal, latest},
    plan::Ack,
};

const ACTIONS: [(&str, &str); 6] = [
    ("logs", "start_trace"),
    ("incidents", "create_incident"),
    ("policies", "evaluate_policy"),
    ("controls", "settle_budget"),
    ("logs", "complete_trace"),
    ("orchestrator", "finalize_run"),
];

/// The saga of a contract, as far as it is.
#[must_use]
pub fn saga(contract: &AuditContract) -> Saga {
    let results: Vec<SagaResult> = ACTIONS.iter().map(|a| result(contract, *a)).collect();
    let succeeded =
        results.iter().all(|r| matches!(r.status(), AckStatus::Success | AckStatus::NotApplicable));
    let judged = contract.verdicts.iter().max_by_key(|v| v.seq);
    let findings = judged.map(|v| {
        v.findings.iter().map(|f| format!("{} {}/{}", f.code, f.domain, f.action)).collect::<Vec<_>>()
    });
    Saga {
        transaction_phase: transaction_phase(contract).into(),
        results,
        verdict: judged.map_or(ContractVerdict::Unspecified, |v| v.verdict()).into(),
        findings: findings.unwrap_or_default(),
        is_complete: contract.state() == ContractState::Closed,
        all_domains_succeeded: succeeded && contract.audit_status() == AuditStatus::Complete,
    }
}

fn result(contract: &AuditContract, (domain, action): (&str, &str)) -> SagaResult {
    let ack = latest(contract, (domain, action));
    SagaResult {
        domain: domain.to_owned(),
        action: action.to_owned(),
        status: ack.map_or(AckStatus::Unspecified, |a| a.status()).into(),
        result_id: ack.map(|a| a.result_id.clone()).unwrap_or_default(),
        error_reason: ack.map(|a| a.error_reason.clone()).unwrap_or_default(),
        at: ack.and_then(|a| a.recorded_at),
    }
}

/// The last phase whose condition and all before it hold, so that parallel actions never show a later one first.
#[must_use]
pub fn transaction_phase(contract: &AuditContract) -> TransactionPhase {
    let journal = Journal::read(contract, None);
    let p = &journal.progress;
    if contract.parked {
        return TransactionPhase::Failed;
    }
    if p.compensation {
        let open = [&p.incident, &p.evaluation, &p.settlement].iter().any(|a| matches!(a, Ack::Done(_)));
        return if open && !p.sealed { TransactionPhase::Compensating } else { TransactionPhase::RolledBack };
    }
    let acked = |action| {
        latest(contract, action)
            .is_some_and(|a| matches!(a.status(), AckStatus::Success | AckStatus::NotApplicable))
    };
    let mut phase = TransactionPhase::NotStarted;
    let ladder = [
        (("incidents", "create_incident"), TransactionPhase::IncidentCreated),
        (("policies", "evaluate_policy"), TransactionPhase::PolicyEvaluated),
        (("controls", "settle_budget"), TransactionPhase::BudgetSettled),
        (("logs", "complete_trace"), TransactionPhase::TraceCompleted),
        (("orchestrator", "finalize_run"), TransactionPhase::Committed),
    ];
    for (action, reached) in ladder {
        if !acked(action) {
            break;
        }
        phase = reached;
    }
    phase
}
