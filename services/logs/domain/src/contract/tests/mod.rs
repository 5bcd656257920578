//! Contracts that are played through call by call: the truth table of the audit, and orders on contracts.

mod orders;
mod truth_table;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use contracts_common::common::v1::{AckStatus, ContractVerdict, RunPhase};
use contracts_logs::v1::ReconcilePass;
use proptest::prelude::*;
use runspine_types::Micros;

use super::{By, COMPLETION, Contract, Fact, FindingCode, Journal, Judgement, Key, Promise, Wish};

const T: (&str, &str) = ("logs", "start_trace");
const I: (&str, &str) = ("incidents", "create_incident");
const P: (&str, &str) = ("policies", "evaluate_policy");
const B: (&str, &str) = ("controls", "settle_budget");
const C: (&str, &str) = ("logs", "complete_trace");
const Z: (&str, &str) = ("orchestrator", "finalize_run");
const X: (&str, &str) = ("logs", "export_trace");
const SIX: [(&str, &str); 6] = [T, I, P, B, C, Z];

/// When finalize_run is due, in milliseconds from the declaration.
const Z_DUE: i64 = 305_000;

fn at(ms: i64) -> Micros {
    Micros(1_767_323_045_000_000).plus_millis(ms)
}

fn promise((domain, action): (&str, &str), due_phase: RunPhase, deadline_ms: u64) -> Promise {
    let input = Bytes::from_static(b"what is needed");
    Promise { domain: domain.into(), action: action.into(), due_phase, deadline_ms, input }
}

fn of_a_run() -> Vec<Promise> {
    vec![
        promise(T, RunPhase::Created, 5_000),
        promise(I, RunPhase::GovernanceCheck, 5_000),
        promise(P, RunPhase::GovernanceCheck, 5_000),
        promise(B, RunPhase::GovernanceCheck, 5_000),
        promise(C, RunPhase::Finalizing, 5_000),
        promise(Z, RunPhase::Created, 0),
    ]
}

fn completion(how: &'static [u8]) -> Wish {
    let payload = Bytes::from_static(how);
    Wish { kind: COMPLETION.to_owned(), payload, fence: 0, expected_seq: None }
}

/// A contract that is played through, one call a line.
struct Play {
    journal: Journal,
    acks: u64,
}

static IDS: AtomicU64 = AtomicU64::new(1);

fn id() -> String {
    format!("id-{}", IDS.fetch_add(1, Ordering::Relaxed))
}

fn by(ms: i64) -> By<'static> {
    By { actor: "spine", now: at(ms), ids: &id }
}

impl Play {
    fn nothing_declared(saga: &str) -> Self {
        let key = Key { tenant_id: "t".into(), saga: saga.into(), subject_id: "s".into(), attempt: 1 };
        Self { journal: Journal::begin(key), acks: 0 }
    }

    fn declared(promises: &[Promise]) -> Self {
        let mut play = Self::nothing_declared("run");
        play.journal.declare(promises, 300_000, by(0)).unwrap();
        play
    }

    fn run() -> Self {
        Self::declared(&of_a_run())
    }

    fn try_ack(
        &mut self,
        (domain, action): (&str, &str),
        status: AckStatus,
        result: &str,
        error: &str,
        ms: i64,
    ) -> Result<(), &'static str> {
        self.acks += 1;
        let fact = Fact {
            domain: domain.into(),
            action: action.into(),
            status,
            result_id: result.into(),
            error_reason: error.into(),
            idempotency_key: format!("k{}", self.acks),
            fence: 0,
            observed_at: None,
        };
        self.journal.acknowledge(&fact, by(ms)).map(|_| ()).map_err(|fault| fault.reason().name)
    }

    fn ok(mut self, action: (&str, &str), ms: i64) -> Self {
        self.try_ack(action, AckStatus::Success, "r", "", ms).unwrap();
        self
    }

    fn made(mut self, action: (&str, &str), result: &str, ms: i64) -> Self {
        self.try_ack(action, AckStatus::Success, result, "", ms).unwrap();
        self
    }

    fn failed(mut self, action: (&str, &str), ms: i64) -> Self {
        self.try_ack(action, AckStatus::Failed, "", "REFUSED", ms).unwrap();
        self
    }

    fn undone(mut self, action: (&str, &str), ms: i64) -> Self {
        self.try_ack(action, AckStatus::RolledBack, "r", "COMPENSATED", ms).unwrap();
        self
    }

    fn none(mut self, action: (&str, &str), ms: i64) -> Self {
        self.try_ack(action, AckStatus::NotApplicable, "p1", "", ms).unwrap();
        self
    }

    fn intent(mut self, ms: i64) -> Self {
        self.journal.intend(&completion(b"done"), by(ms)).unwrap();
        self
    }

    fn suspended(mut self, ms: i64) -> Self {
        self.journal.move_deadline(Z, None, "paused", 0, by(ms)).unwrap();
        self
    }

    fn due(mut self, to_ms: i64, ms: i64) -> Self {
        self.journal.move_deadline(Z, Some(at(to_ms)), "resumed", 0, by(ms)).unwrap();
        self
    }

    fn pre_finalize(mut self, ms: i64) -> Self {
        self.journal.reconcile(ReconcilePass::PreFinalize, by(ms)).unwrap();
        self
    }

    fn look(&self, pass: ReconcilePass, ms: i64) -> Judgement {
        self.journal.contract().judge(pass, at(ms))
    }

    fn verdict(&self, pass: ReconcilePass, ms: i64) -> (Option<ContractVerdict>, Vec<String>) {
        let judgement = self.look(pass, ms);
        (judgement.verdict, judgement.findings.iter().map(name).collect())
    }
}

fn name(f: &super::Finding) -> String {
    let letter = ["T", "I", "P", "B", "C", "Z"];
    let place = SIX.iter().position(|a| *a == (f.domain.as_str(), f.action.as_str()));
    let action = place.map_or_else(|| format!("{}/{}", f.domain, f.action), |p| letter[p].to_owned());
    format!("{} {action}", f.code.as_str())
}

use ContractVerdict::{Complete, Incomplete, NotDeclared, Stale};
use ReconcilePass::{Check, Final, PreFinalize};

type Row = (&'static str, Play, ReconcilePass, i64, Option<ContractVerdict>, &'static [&'static str]);

/// Everything acknowledged at 1 s to 2 s, before the seal: `T s, intent, I P B s`, PRE_FINALIZE.
fn ready() -> Play {
    Play::run().ok(T, 100).intent(1_000).ok(I, 1_100).ok(P, 1_100).ok(B, 1_100)
}

fn settled() -> Play {
    ready().pre_finalize(1_200)
}

fn sealed(play: Play) -> Play {
    play.pre_finalize(1_200).ok(C, 1_300).ok(Z, 1_300)
}
