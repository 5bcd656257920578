//! A contract that is being written to: what may follow is checked, encoded and linked here; a store only keeps it.

use bytes::Bytes;
use contracts_common::common::v1::{AckStatus, ContractVerdict, RunPhase};
use contracts_logs::v1::{self as wire, ReconcilePass, contract_entry::Body};
use runspine_errors::{Fault, mesh};
use runspine_types::{Digest, Micros};

use super::{
    Ack, Contract, DEFAULT_RUN_TIMEOUT_MS, Expectation, FINALIZE_GRACE_MS, Finding, Intent, Judgement,
    Unreadable, is_finalize,
    rules::{AckFacts, check_ack, check_fence, check_head, check_move, check_open, intent_exists},
};
use crate::{
    bytes::{encode, timestamp},
    chain,
    reasons::EXPECTATION_NOT_FOUND,
};

/// Names a contract.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The tenant.
    pub tenant_id: String,
    /// The saga.
    pub saga: String,
    /// What it is about: the run id for saga `run`.
    pub subject_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl Key {
    /// The contract of a run attempt.
    #[must_use]
    pub fn run(tenant_id: &str, run_id: &str, attempt: u32) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            saga: super::RUN_SAGA.to_owned(),
            subject_id: run_id.to_owned(),
            attempt,
        }
    }

    /// The link before the first entry.
    #[must_use]
    pub fn start(&self) -> Digest {
        chain::contract_start(&self.tenant_id, &self.saga, &self.subject_id, self.attempt)
    }
}

/// Who writes, when, and where new ids come from.
#[derive(Clone, Copy)]
pub struct By<'a> {
    /// The actor.
    pub actor: &'a str,
    /// Now. An entry is never recorded before the one in front of it.
    pub now: Micros,
    /// Gives a new id at each call.
    pub ids: &'a (dyn Fn() -> String + Send + Sync),
}

/// What is promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The domain that does it.
    pub domain: String,
    /// The action.
    pub action: String,
    /// The phase in which it is due.
    pub due_phase: RunPhase,
    /// Milliseconds from the start of its clock. 0: none, or for finalizing the run's own time and its grace.
    pub deadline_ms: u64,
    /// What is needed to drive it.
    pub input: Bytes,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The domain that did it.
    pub domain: String,
    /// The action.
    pub action: String,
    /// What happened.
    pub status: AckStatus,
    /// What it made.
    pub result_id: String,
    /// Why it failed or was undone.
    pub error_reason: String,
    /// The reporter's key.
    pub idempotency_key: String,
    /// The reporter's fence.
    pub fence: u64,
    /// When the reporter saw it.
    pub observed_at: Option<Micros>,
}

/// An intent that somebody would have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// COMPLETION, COMPENSATION or a kind of the saga's own.
    pub kind: String,
    /// What is to be done.
    pub payload: Bytes,
    /// The caller's fence.
    pub fence: u64,
    /// The last entry as the caller read it. `None`: whatever was written since.
    pub expected_seq: Option<u64>,
}

/// An entry that is not kept yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its place.
    pub seq: u64,
    /// Field number of its body.
    pub kind: u8,
    /// When it is recorded.
    pub recorded_at: Micros,
    /// When a fact was seen by its reporter.
    pub observed_at: Option<Micros>,
    /// Its bytes.
    pub entry: Bytes,
    /// Its link.
    pub link: Digest,
}

/// A contract with its chain, and what was added to it and is not kept yet.
#[derive(Debug, Clone)]
pub struct Journal {
    key: Key,
    contract: Contract,
    link: Digest,
    fence: u64,
    added: Vec<Added>,
}

impl Journal {
    /// A contract that does not exist yet.
    #[must_use]
    pub fn begin(key: Key) -> Self {
        let (contract, link) = (Contract::new(&key.saga), key.start());
        Self { key, contract, link, fence: 0, added: Vec::new() }
    }

    /// A contract as it was kept.
    #[must_use]
    pub fn resume(key: Key, contract: Contract, link: Digest, fence: u64) -> Self {
        Self { key, contract, link, fence, added: Vec::new() }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The contract with everything added so far.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Link of the last entry; with [`Contract::last_seq`] what a seal names.
    #[must_use]
    pub fn link(&self) -> Digest {
        self.link
    }

    /// The fence in force.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// What was added and is not kept yet.
    #[must_use]
    pub fn added(&self) -> &[Added] {
        &self.added
    }

    /// The parts to keep.
    #[must_use]
    pub fn into_parts(self) -> (Key, Contract, Digest, Vec<Added>) {
        (self.key, self.contract, self.link, self.added)
    }

    /// Promises actions. The same again changes nothing.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH when other actions were promised; CONTRACT_CLOSED.
    pub fn declare(&mut self, promises: &[Promise], run_timeout_ms: u64, by: By<'_>) -> Result<(), Fault> {
        let timeout = if run_timeout_ms == 0 { DEFAULT_RUN_TIMEOUT_MS } else { run_timeout_ms };
        let saga = self.key.saga.clone();
        let deadline = |p: &Promise| match p.deadline_ms {
            0 if is_finalize(&saga, &p.domain, &p.action) => timeout.saturating_add(FINALIZE_GRACE_MS),
            ms => ms,
        };
        if self.contract.declared_at.is_some() {
            let equal = promises.len() == self.contract.expectations.len()
                && promises.iter().zip(&self.contract.expectations).all(|(p, e)| same(p, deadline(p), e));
            if equal {
                return Ok(());
            }
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the contract promises something else"));
        }
        check_open(&self.contract, &self.key.subject_id)?;
        for p in promises {
            self.append(
                Body::Expectation(wire::ContractExpectation {
                    domain: p.domain.clone(),
                    action: p.action.clone(),
                    due_phase: p.due_phase.into(),
                    deadline_ms: deadline(p),
                    input: p.input.clone(),
                }),
                None,
                by,
            )?;
        }
        Ok(())
    }

    /// Reports what was done. A repeat under the same key gives the first entry; on a closed contract a fresh FINAL
    /// verdict follows.
    ///
    /// # Errors
    /// ACK_CONTRADICTORY, ACK_ORDER, IDEMPOTENCY_MISMATCH.
    pub fn acknowledge(&mut self, fact: &Fact, by: By<'_>) -> Result<Ack, Fault> {
        if let Some(first) = self.contract.acks.iter().find(|a| a.idempotency_key == fact.idempotency_key) {
            if says_the_same(first, fact) {
                return Ok(first.clone());
            }
            return Err(Fault::new(
                &mesh::IDEMPOTENCY_MISMATCH,
                "the key was used for another acknowledgement",
            )
            .with("key", &fact.idempotency_key));
        }
        let facts = AckFacts {
            domain: &fact.domain,
            action: &fact.action,
            status: fact.status,
            error_reason: &fact.error_reason,
        };
        check_ack(&self.contract, &facts)?;
        self.append(
            Body::Ack(wire::ContractAck {
                domain: fact.domain.clone(),
                action: fact.action.clone(),
                status: fact.status.into(),
                result_id: fact.result_id.clone(),
                error_reason: fact.error_reason.clone(),
                idempotency_key: fact.idempotency_key.clone(),
                fence: fact.fence,
            }),
            fact.observed_at,
            by,
        )?;
        let ack = self.contract.acks.last().cloned().ok_or_else(lost)?;
        if self.contract.closed {
            let again = self.contract.judge(ReconcilePass::Final, by.now);
            self.append_judgement(&again, by)?;
        }
        Ok(ack)
    }

    /// Writes an intent, or finds the equal one that was first (`true`).
    ///
    /// # Errors
    /// INTENT_EXISTS for another one of its kind; STALE_FENCE; HEAD_MOVED; CONTRACT_CLOSED.
    pub fn intend(&mut self, wish: &Wish, by: By<'_>) -> Result<(Intent, bool), Fault> {
        if let Some(first) = self.contract.intent(&wish.kind) {
            if first.payload == wish.payload {
                return Ok((first.clone(), true));
            }
            return Err(intent_exists(first));
        }
        check_open(&self.contract, &self.key.subject_id)?;
        check_fence(wish.fence, self.fence)?;
        check_head(wish.expected_seq, self.contract.last_seq)?;
        let Wish { kind, payload, fence, .. } = wish.clone();
        self.append(Body::Intent(wire::ContractIntent { kind, payload, fence }), None, by)?;
        let intent = self.contract.intents.last().cloned().ok_or_else(lost)?;
        Ok((intent, false))
    }

    /// Moves a deadline on, or suspends its clock (`None`).
    ///
    /// # Errors
    /// EXPECTATION_NOT_FOUND, DEADLINE_BACKWARD, STALE_FENCE, CONTRACT_CLOSED.
    pub fn move_deadline(
        &mut self,
        (domain, action): (&str, &str),
        to: Option<Micros>,
        reason: &str,
        fence: u64,
        by: By<'_>,
    ) -> Result<&Expectation, Fault> {
        check_open(&self.contract, &self.key.subject_id)?;
        check_fence(fence, self.fence)?;
        let missing = || Fault::new(&EXPECTATION_NOT_FOUND, format!("{domain}/{action} was not promised"));
        check_move(&self.contract, self.contract.expectation(domain, action).ok_or_else(missing)?, to)?;
        self.append(
            Body::DeadlineMoved(wire::ContractDeadlineMoved {
                domain: domain.to_owned(),
                action: action.to_owned(),
                deadline: to.map(timestamp),
                reason: reason.to_owned(),
            }),
            None,
            by,
        )?;
        self.contract.expectation(domain, action).ok_or_else(missing)
    }

    /// Judges, and writes the verdict down when it is news. FINAL closes the contract.
    ///
    /// # Errors
    /// When what was written can't be read back: a defect.
    pub fn reconcile(&mut self, pass: ReconcilePass, by: By<'_>) -> Result<(Judgement, bool), Fault> {
        let judgement = self.contract.judge(pass, by.now.max(self.contract.last_recorded_at));
        let news = self.contract.is_news(&judgement);
        if news {
            self.append_judgement(&judgement, by)?;
        }
        Ok((judgement, news))
    }

    fn append_judgement(&mut self, judgement: &Judgement, by: By<'_>) -> Result<(), Fault> {
        let verdict = judgement.verdict.unwrap_or(ContractVerdict::Unspecified);
        let findings = judgement.findings.iter().map(written).collect();
        let body = wire::ContractJudgement { pass: judgement.pass.into(), status: verdict.into(), findings };
        self.append(Body::Verdict(body), None, by)
    }

    fn append(&mut self, body: Body, observed_at: Option<Micros>, by: By<'_>) -> Result<(), Fault> {
        let kind = kind_of(&body);
        let recorded_at = by.now.max(self.contract.last_recorded_at);
        let entry = wire::ContractEntry {
            seq: self.contract.last_seq + 1,
            recorded_at: Some(timestamp(recorded_at)),
            entry_id: (by.ids)(),
            actor_id: by.actor.to_owned(),
            body: Some(body),
        };
        self.contract.apply(&entry).map_err(defect)?;
        let bytes = Bytes::from(encode(&entry));
        self.link = chain::contract_link(&self.link, &bytes);
        let (seq, link) = (entry.seq, self.link);
        self.added.push(Added { seq, kind, recorded_at, observed_at, entry: bytes, link });
        Ok(())
    }
}

fn kind_of(body: &Body) -> u8 {
    match body {
        Body::Expectation(_) => 8,
        Body::Intent(_) => 9,
        Body::Ack(_) => 10,
        Body::Verdict(_) => 11,
        Body::DeadlineMoved(_) => 12,
    }
}

fn same(p: &Promise, deadline_ms: u64, e: &Expectation) -> bool {
    p.domain == e.domain
        && p.action == e.action
        && p.due_phase == e.due_phase
        && deadline_ms == e.deadline_ms
        && p.input == e.input
}

/// The fence and the reporter's clock are not part of the fact: another replica repeats it under its own.
fn says_the_same(first: &Ack, fact: &Fact) -> bool {
    first.domain == fact.domain
        && first.action == fact.action
        && first.status == fact.status
        && first.result_id == fact.result_id
        && first.error_reason == fact.error_reason
}

fn written(f: &Finding) -> wire::ContractFinding {
    wire::ContractFinding {
        code: f.code.as_str().to_owned(),
        domain: f.domain.clone(),
        action: f.action.clone(),
        detail: f.detail.clone(),
    }
}

fn defect(error: Unreadable) -> Fault {
    Fault::new(&mesh::INTERNAL, "the contract can't be read").caused_by(error)
}

fn lost() -> Fault {
    Fault::new(&mesh::INTERNAL, "an entry was written and is not there")
}
