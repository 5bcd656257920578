//! Findings and verdicts.

use std::collections::BTreeSet;

use contracts_common::common::v1::{AckStatus, AuditStatus, ContractVerdict};
use contracts_logs::v1::ReconcilePass;
use runspine_types::Micros;

use super::{Contract, Expectation, is_finalize};

/// Where an expectation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not acknowledged, not overdue.
    Pending,
    /// The latest acknowledgement is SUCCESS.
    Acked,
    /// The latest acknowledgement is FAILED or ROLLED_BACK.
    Failed,
    /// Not acknowledged and overdue.
    Missing,
    /// The latest acknowledgement is NOT_APPLICABLE.
    NotApplicable,
}

/// What can be wrong with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingCode {
    /// Promised without a deadline.
    Malformed,
    /// Not acknowledged in time.
    Missing,
    /// The latest acknowledgement is FAILED.
    Failed,
    /// It was undone.
    RolledBack,
    /// First acknowledged after its deadline.
    Late,
    /// Done twice with different results.
    Duplicate,
    /// Done and never promised.
    Drift,
}

impl FindingCode {
    const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Missing,
        Self::Failed,
        Self::RolledBack,
        Self::Late,
        Self::Duplicate,
        Self::Drift,
    ];

    /// The code as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::Missing => "MISSING",
            Self::Failed => "FAILED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Late => "LATE",
            Self::Duplicate => "DUPLICATE",
            Self::Drift => "DRIFT",
        }
    }

    /// The code from its stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// One thing that is wrong. It says nothing that changes with the time of the look, so that the same fact is the same
/// finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub code: FindingCode,
    /// The domain of the action.
    pub domain: String,
    /// The action.
    pub action: String,
    /// For a person.
    pub detail: String,
}

/// What the audit says at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The pass.
    pub pass: ReconcilePass,
    /// The verdict; `None` while something is still to come and nothing is wrong.
    pub verdict: Option<ContractVerdict>,
    /// What is wrong: by expectation in order of declaration, then drift by name.
    pub findings: Vec<Finding>,
    /// Whether nothing before finalizing is pending, missing or failed.
    pub clean: bool,
}

impl Contract {
    /// Where an expectation stands at `now`.
    #[must_use]
    pub fn standing(&self, e: &Expectation, now: Micros) -> Standing {
        match self.latest_ack(&e.domain, &e.action).map(|a| a.status) {
            Some(AckStatus::Success) => Standing::Acked,
            Some(AckStatus::NotApplicable) => Standing::NotApplicable,
            Some(_) => Standing::Failed,
            None if self.due_at(e).is_some_and(|due| now > due) => Standing::Missing,
            None => Standing::Pending,
        }
    }

    /// What the audit says at `now`.
    #[must_use]
    pub fn judge(&self, pass: ReconcilePass, now: Micros) -> Judgement {
        let in_scope: Vec<&Expectation> = match pass {
            ReconcilePass::PreFinalize => self.before_finalizing().collect(),
            _ => self.expectations.iter().collect(),
        };
        let mut findings: Vec<Finding> =
            in_scope.iter().flat_map(|e| self.findings_of(e, pass, now)).collect();
        findings.extend(self.drift());
        let pending = in_scope.iter().any(|e| self.standing(e, now) == Standing::Pending);
        let verdict = if self.expectations.is_empty() {
            Some(ContractVerdict::NotDeclared)
        } else if pass != ReconcilePass::PreFinalize && self.is_stale(now) {
            Some(ContractVerdict::Stale)
        } else if !findings.is_empty() {
            Some(ContractVerdict::Incomplete)
        } else if pass == ReconcilePass::Check || pending {
            None
        } else {
            Some(ContractVerdict::Complete)
        };
        Judgement { pass, verdict, findings, clean: self.is_clean() }
    }

    /// Whether `judgement` says what the latest verdict does not.
    #[must_use]
    pub fn is_news(&self, judgement: &Judgement) -> bool {
        let Some(verdict) = judgement.verdict else { return false };
        self.judged.last().is_none_or(|last| {
            last.pass != judgement.pass || last.verdict != verdict || last.findings != judgement.findings
        })
    }

    /// The audit status of what the contract is about. An open contract is never shown as complete: a clean look
    /// before finalizing is a step on the way.
    #[must_use]
    pub fn audit_status(&self) -> AuditStatus {
        match self.judged.last().map(|last| last.verdict) {
            None | Some(ContractVerdict::Unspecified) => AuditStatus::Pending,
            Some(ContractVerdict::Complete) if !self.closed => AuditStatus::Pending,
            Some(ContractVerdict::Complete) => AuditStatus::Complete,
            Some(ContractVerdict::Incomplete) => AuditStatus::Incomplete,
            Some(ContractVerdict::Stale) => AuditStatus::Stale,
            Some(ContractVerdict::NotDeclared) => AuditStatus::NotDeclared,
        }
    }

    fn is_stale(&self, now: Micros) -> bool {
        let finalize = self.expectations.iter().find(|e| is_finalize(&self.saga, &e.domain, &e.action));
        finalize.is_some_and(|e| {
            self.standing(e, now) != Standing::Acked && self.due_at(e).is_some_and(|due| now > due)
        })
    }

    fn findings_of(&self, e: &Expectation, pass: ReconcilePass, now: Micros) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut add = |code, detail: &str| {
            found.push(Finding {
                code,
                domain: e.domain.clone(),
                action: e.action.clone(),
                detail: detail.to_owned(),
            });
        };
        if e.deadline_ms == 0 {
            add(FindingCode::Malformed, "promised without a deadline");
        }
        match self.standing(e, now) {
            Standing::Missing => add(FindingCode::Missing, ""),
            Standing::Pending if pass == ReconcilePass::Final => add(FindingCode::Missing, ""),
            _ => {}
        }
        let acks: Vec<_> = self.acks_of(&e.domain, &e.action).collect();
        if let Some(last) = acks.last().filter(|a| a.status == AckStatus::Failed) {
            add(FindingCode::Failed, &last.error_reason);
        }
        if let Some(undone) = acks.iter().rev().find(|a| a.status == AckStatus::RolledBack) {
            add(FindingCode::RolledBack, &undone.error_reason);
        }
        if acks.first().is_some_and(|a| a.late) {
            add(FindingCode::Late, "");
        }
        if let Some((first, second)) = done_twice(&acks) {
            add(FindingCode::Duplicate, &format!("{first}, {second}"));
        }
        found
    }

    /// Acknowledged and never promised, by name: the order of different actions' acknowledgements says nothing.
    fn drift(&self) -> impl Iterator<Item = Finding> {
        let undeclared = self.acks.iter().filter(|a| self.expectation(&a.domain, &a.action).is_none());
        let names: BTreeSet<_> = undeclared.map(|a| (a.domain.clone(), a.action.clone())).collect();
        names.into_iter().map(|(domain, action)| Finding {
            code: FindingCode::Drift,
            domain,
            action,
            detail: String::new(),
        })
    }
}

/// The first two SUCCESS results that differ with no ROLLED_BACK between them.
fn done_twice<'a>(acks: &[&'a super::Ack]) -> Option<(&'a str, &'a str)> {
    let mut standing: Option<&str> = None;
    for ack in acks {
        match (ack.status, standing) {
            (AckStatus::RolledBack, _) => standing = None,
            (AckStatus::Success, Some(first)) if first != ack.result_id => {
                return Some((first, &ack.result_id));
            }
            (AckStatus::Success, _) => standing = Some(&ack.result_id),
            _ => {}
        }
    }
    None
}
