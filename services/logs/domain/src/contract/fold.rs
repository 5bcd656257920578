//! A contract as its entries make it.

use bytes::Bytes;
use contracts_common::common::v1::{AckStatus, ContractVerdict, RunPhase};
use contracts_logs::v1::{self as wire, ReconcilePass, contract_entry::Body};
use runspine_types::Micros;

use super::{COMPLETION, Finding, FindingCode, Standing};

/// An entry that this version can't read: no verdict can be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("contract entry {seq} can't be read: {what}")]
pub struct Unreadable {
    /// Which entry.
    pub seq: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A deadline that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The clock stands still.
    Suspended,
    /// It is due then.
    At(Micros),
}

/// What has to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The domain that does it.
    pub domain: String,
    /// The action.
    pub action: String,
    /// The phase in which it is due.
    pub due_phase: RunPhase,
    /// Milliseconds from the start of its clock; 0 is no deadline.
    pub deadline_ms: u64,
    /// What is needed to drive it.
    pub input: Bytes,
    /// The latest move of its deadline.
    pub moved: Option<Deadline>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Place in the contract.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// The domain that did it.
    pub domain: String,
    /// The action.
    pub action: String,
    /// What it says.
    pub status: AckStatus,
    /// What the action made.
    pub result_id: String,
    /// Why it failed or was undone.
    pub error_reason: String,
    /// The reporter's key.
    pub idempotency_key: String,
    /// The reporter's fence.
    pub fence: u64,
    /// The first acknowledgement of its action, and after the deadline.
    pub late: bool,
    /// The latest acknowledgement of its action said the same already.
    pub duplicate: bool,
}

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Place in the contract.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// Its kind.
    pub kind: String,
    /// What was intended.
    pub payload: Bytes,
    /// The fence that it was written under.
    pub fence: u64,
}

/// A verdict of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Place in the contract.
    pub seq: u64,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// Which look.
    pub pass: ReconcilePass,
    /// What it said.
    pub verdict: ContractVerdict,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// A contract as its entries make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contract {
    /// The saga.
    pub saga: String,
    /// When its expectations were declared.
    pub declared_at: Option<Micros>,
    /// What was promised, in order.
    pub expectations: Vec<Expectation>,
    /// What was done, in order.
    pub acks: Vec<Ack>,
    /// What was intended, in order.
    pub intents: Vec<Intent>,
    /// What the audit said, in order.
    pub judged: Vec<Judged>,
    /// When the completion was intended.
    pub completion_at: Option<Micros>,
    /// When the first clean PRE_FINALIZE verdict was given.
    pub finalizing_at: Option<Micros>,
    /// Whether a FINAL verdict was given.
    pub closed: bool,
    /// Sequence number of the last entry.
    pub last_seq: u64,
    /// When the last entry was recorded.
    pub last_recorded_at: Micros,
}

impl Contract {
    /// A contract of `saga` without entries.
    #[must_use]
    pub fn new(saga: &str) -> Self {
        Self { saga: saga.to_owned(), ..Self::default() }
    }

    /// Folds `entries`, which are in order.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn of<'a>(
        saga: &str,
        entries: impl IntoIterator<Item = &'a wire::ContractEntry>,
    ) -> Result<Self, Unreadable> {
        let mut contract = Self::new(saga);
        for entry in entries {
            contract.apply(entry)?;
        }
        Ok(contract)
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn apply(&mut self, entry: &wire::ContractEntry) -> Result<(), Unreadable> {
        let unreadable = |what| Unreadable { seq: entry.seq, what };
        let at = entry.recorded_at.as_ref().ok_or_else(|| unreadable("no time"))?;
        let at = Micros::from_timestamp(at.seconds, at.nanos);
        match entry.body.as_ref().ok_or_else(|| unreadable("no body"))? {
            Body::Expectation(e) => self.apply_expectation(e, at),
            Body::Intent(i) => self.apply_intent(entry.seq, i, at),
            Body::Ack(a) => self.apply_ack(entry.seq, a, at),
            Body::Verdict(v) => self.apply_verdict(entry.seq, v, at),
            Body::DeadlineMoved(m) => self.apply_move(m),
        }
        .map_err(unreadable)?;
        self.last_seq = entry.seq;
        self.last_recorded_at = at;
        Ok(())
    }

    fn apply_expectation(&mut self, e: &wire::ContractExpectation, at: Micros) -> Result<(), &'static str> {
        let due_phase = RunPhase::try_from(e.due_phase).map_err(|_| "unknown phase")?;
        self.declared_at.get_or_insert(at);
        self.expectations.push(Expectation {
            domain: e.domain.clone(),
            action: e.action.clone(),
            due_phase,
            deadline_ms: e.deadline_ms,
            input: e.input.clone(),
            moved: None,
        });
        Ok(())
    }

    fn apply_intent(&mut self, seq: u64, i: &wire::ContractIntent, at: Micros) -> Result<(), &'static str> {
        if i.kind == COMPLETION {
            self.completion_at.get_or_insert(at);
        }
        self.intents.push(Intent {
            seq,
            recorded_at: at,
            kind: i.kind.clone(),
            payload: i.payload.clone(),
            fence: i.fence,
        });
        Ok(())
    }

    fn apply_ack(&mut self, seq: u64, a: &wire::ContractAck, at: Micros) -> Result<(), &'static str> {
        let status = AckStatus::try_from(a.status).map_err(|_| "unknown ack status")?;
        let latest = self.latest_ack(&a.domain, &a.action);
        let duplicate = latest.is_some_and(|l| {
            l.status == status && l.result_id == a.result_id && l.error_reason == a.error_reason
        });
        let due = self.expectation(&a.domain, &a.action).and_then(|e| self.due_at(e));
        let late = latest.is_none() && due.is_some_and(|due| at > due);
        self.acks.push(Ack {
            seq,
            recorded_at: at,
            domain: a.domain.clone(),
            action: a.action.clone(),
            status,
            result_id: a.result_id.clone(),
            error_reason: a.error_reason.clone(),
            idempotency_key: a.idempotency_key.clone(),
            fence: a.fence,
            late,
            duplicate,
        });
        Ok(())
    }

    fn apply_verdict(
        &mut self,
        seq: u64,
        v: &wire::ContractJudgement,
        at: Micros,
    ) -> Result<(), &'static str> {
        let pass = ReconcilePass::try_from(v.pass).map_err(|_| "unknown pass")?;
        let verdict = ContractVerdict::try_from(v.status).map_err(|_| "unknown verdict")?;
        let findings: Option<Vec<Finding>> = v.findings.iter().map(read_finding).collect();
        let findings = findings.ok_or("unknown finding")?;
        if pass == ReconcilePass::PreFinalize && self.is_clean() {
            self.finalizing_at.get_or_insert(at);
        }
        self.closed |= pass == ReconcilePass::Final;
        self.judged.push(Judged { seq, recorded_at: at, pass, verdict, findings });
        Ok(())
    }

    fn apply_move(&mut self, m: &wire::ContractDeadlineMoved) -> Result<(), &'static str> {
        let moved = m
            .deadline
            .as_ref()
            .map_or(Deadline::Suspended, |t| Deadline::At(Micros::from_timestamp(t.seconds, t.nanos)));
        let expectation = self.expectations.iter_mut().find(|e| e.domain == m.domain && e.action == m.action);
        expectation.ok_or("a deadline of nothing that was promised")?.moved = Some(moved);
        Ok(())
    }

    /// The promise of an action.
    #[must_use]
    pub fn expectation(&self, domain: &str, action: &str) -> Option<&Expectation> {
        self.expectations.iter().find(|e| e.domain == domain && e.action == action)
    }

    /// The acknowledgement of an action that decides: the latest.
    #[must_use]
    pub fn latest_ack(&self, domain: &str, action: &str) -> Option<&Ack> {
        self.acks.iter().rev().find(|a| a.domain == domain && a.action == action)
    }

    /// The acknowledgements of an action, in order.
    pub fn acks_of<'a>(&'a self, domain: &'a str, action: &'a str) -> impl Iterator<Item = &'a Ack> {
        self.acks.iter().filter(move |a| a.domain == domain && a.action == action)
    }

    /// The intent of a kind.
    #[must_use]
    pub fn intent(&self, kind: &str) -> Option<&Intent> {
        self.intents.iter().find(|i| i.kind == kind)
    }

    /// Whether nothing that comes before finalizing is pending, missing or failed. Needs no clock: both pending and
    /// missing are the lack of an acknowledgement.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.expectations.is_empty()
            && self.before_finalizing().all(|e| {
                matches!(self.standing(e, Micros(i64::MIN)), Standing::Acked | Standing::NotApplicable)
            })
    }

    /// What PRE_FINALIZE looks at: everything but what finalizing itself acknowledges.
    pub fn before_finalizing(&self) -> impl Iterator<Item = &Expectation> {
        self.expectations.iter().filter(|e| {
            e.due_phase != RunPhase::Finalizing && !super::is_finalize(&self.saga, &e.domain, &e.action)
        })
    }
}

fn read_finding(f: &wire::ContractFinding) -> Option<Finding> {
    Some(Finding {
        code: FindingCode::parse(&f.code)?,
        domain: f.domain.clone(),
        action: f.action.clone(),
        detail: f.detail.clone(),
    })
}
