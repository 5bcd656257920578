//! The truth table of the audit, row by row, and what must hold whatever the order.

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

fn before_the_seal() -> Vec<Row> {
    let open = || Play::run().ok(T, 100);
    let meant = || open().intent(1_000);
    vec![
        ("1", Play::nothing_declared("run"), Final, 0, Some(NotDeclared), &[]),
        ("2", Play::nothing_declared("run").ok(Z, 1), Check, 2, Some(NotDeclared), &["DRIFT Z"]),
        ("3a", Play::run(), Check, 4_900, None, &[]),
        ("3b", Play::run(), Check, 5_100, Some(Incomplete), &["MISSING T"]),
        ("4", Play::run().ok(T, 5_200), Check, 6_000, Some(Incomplete), &["LATE T"]),
        ("5", open(), Check, 60_000, None, &[]),
        ("6", open(), Check, Z_DUE + 1, Some(Stale), &["MISSING Z"]),
        ("7", Play::run(), Check, Z_DUE + 1, Some(Stale), &["MISSING T", "MISSING Z"]),
        ("8a", meant(), Check, 2_000, None, &[]),
        ("8b", meant(), Check, 6_100, Some(Incomplete), &["MISSING I", "MISSING P", "MISSING B"]),
        ("9", meant().ok(I, 1_100).ok(P, 1_100), Check, Z_DUE + 1, Some(Stale), &["MISSING B", "MISSING Z"]),
        ("10", ready(), PreFinalize, 1_200, Some(Complete), &[]),
        ("11", meant().none(I, 1_100).ok(P, 1_100).ok(B, 1_100), PreFinalize, 1_200, Some(Complete), &[]),
        ("12", meant().none(I, 1_100).ok(P, 1_100).ok(B, 1_100), PreFinalize, 1_200, Some(Complete), &[]),
        ("13", meant().ok(I, 1_100).ok(P, 1_100), PreFinalize, 1_200, None, &[]),
        (
            "14",
            meant().failed(I, 1_100).ok(P, 1_100).ok(B, 1_100),
            PreFinalize,
            1_200,
            Some(Incomplete),
            &["FAILED I"],
        ),
        (
            "15",
            meant().failed(I, 1_050).ok(I, 1_100).ok(P, 1_100).ok(B, 1_100),
            PreFinalize,
            1_200,
            Some(Complete),
            &[],
        ),
        ("22a", settled(), Check, 1_300, None, &[]),
        ("22b", settled(), Check, 6_300, Some(Incomplete), &["MISSING C"]),
        ("22c", settled(), Check, Z_DUE + 1, Some(Stale), &["MISSING C", "MISSING Z"]),
        (
            "29",
            open().intent(1_000).made(I, "i1", 1_100).made(I, "i2", 1_200).ok(P, 1_100).ok(B, 1_100),
            Check,
            Z_DUE + 1,
            Some(Stale),
            &["DUPLICATE I", "MISSING Z"],
        ),
        ("34a", open().suspended(1_000), Check, 3_600_000, None, &[]),
        ("34b", open().suspended(200), Check, 1_200_000, None, &[]),
        ("35a", open().suspended(105_000).due(4_200_000, 4_000_000), Check, 4_199_000, None, &[]),
        (
            "35b",
            open().suspended(105_000).due(4_200_000, 4_000_000),
            Check,
            4_201_000,
            Some(Stale),
            &["MISSING Z"],
        ),
    ]
}

fn at_the_seal() -> Vec<Row> {
    let meant = || Play::run().ok(T, 100).intent(1_000);
    let late_p = Play::run().ok(T, 100).intent(1_000).ok(I, 1_100).ok(B, 1_100).ok(P, 6_001);
    let mut malformed = of_a_run();
    malformed[3].deadline_ms = 0;
    let malformed =
        Play::declared(&malformed).ok(T, 100).intent(1_000).ok(I, 1_100).ok(P, 1_100).ok(B, 1_100);
    let compensated = meant()
        .ok(I, 1_100)
        .undone(I, 1_101)
        .made(P, "e1", 1_102)
        .undone(P, 1_103)
        .made(P, "e2", 1_104)
        .ok(B, 1_105)
        .undone(B, 1_106);
    vec![
        ("17", sealed(ready()), Final, 1_300, Some(Complete), &[]),
        ("18", sealed(meant().ok(I, 1_100).ok(P, 1_100).none(B, 1_100)), Final, 1_300, Some(Complete), &[]),
        ("19", sealed(ready()), Final, 200_000, Some(Complete), &[]),
        ("20", settled().ok(C, 1_300).ok(Z, Z_DUE + 10), Final, Z_DUE + 20, Some(Incomplete), &["LATE Z"]),
        (
            "21",
            late_p.pre_finalize(6_100).ok(C, 6_200).ok(Z, 6_200),
            Final,
            6_200,
            Some(Incomplete),
            &["LATE P"],
        ),
        ("23", sealed(meant().ok(I, 1_100).ok(P, 1_100)), Final, 1_300, Some(Incomplete), &["MISSING B"]),
        (
            "24",
            sealed(meant().ok(I, 1_100).failed(P, 1_100).ok(B, 1_100)),
            Final,
            1_300,
            Some(Incomplete),
            &["FAILED P"],
        ),
        (
            "25",
            sealed(meant().ok(I, 1_100).undone(I, 1_101).ok(P, 1_100).ok(B, 1_100)),
            Final,
            1_300,
            Some(Incomplete),
            &["ROLLED_BACK I"],
        ),
        (
            "26",
            sealed(compensated),
            Final,
            1_300,
            Some(Incomplete),
            &["ROLLED_BACK I", "ROLLED_BACK P", "ROLLED_BACK B"],
        ),
        (
            "27",
            sealed(meant().made(I, "i1", 1_100).made(I, "i1", 1_101).ok(P, 1_100).ok(B, 1_100)),
            Final,
            1_300,
            Some(Complete),
            &[],
        ),
        (
            "28",
            sealed(meant().made(I, "i1", 1_100).made(I, "i2", 1_101).ok(P, 1_100).ok(B, 1_100)),
            Final,
            1_300,
            Some(Incomplete),
            &["DUPLICATE I"],
        ),
        ("30", sealed(ready().ok(X, 1_150)), Final, 1_300, Some(Incomplete), &["DRIFT logs/export_trace"]),
        (
            "31",
            sealed(meant().ok(I, 1_100).failed(P, 1_100).ok(B, 1_100).ok(X, 1_150)),
            Final,
            1_300,
            Some(Incomplete),
            &["FAILED P", "DRIFT logs/export_trace"],
        ),
        ("32", sealed(malformed), Final, 1_300, Some(Incomplete), &["MALFORMED B"]),
    ]
}

#[test]
fn rows_that_are_looked_at() {
    let rows: Vec<Row> = before_the_seal().into_iter().chain(at_the_seal()).collect();
    assert_eq!(rows.len(), 39);
    for (row, play, pass, ms, verdict, findings) in rows {
        assert_eq!(
            play.verdict(pass, ms),
            (verdict, findings.iter().map(|f| (*f).to_owned()).collect()),
            "row {row}"
        );
        let clean = play.look(pass, ms).clean;
        let expected = verdict == Some(Complete)
            || matches!(row, "20" | "21" | "22a" | "22b" | "22c" | "27" | "28" | "29" | "30" | "32");
        assert_eq!(clean, expected, "row {row}: clean");
    }
}

#[test]
fn row_16_and_33_are_refused() {
    let mut play = Play::run().ok(T, 100).intent(1_000).ok(I, 1_100).ok(B, 1_100);
    assert_eq!(play.try_ack(P, AckStatus::NotApplicable, "", "", 1_100), Err("ACK_CONTRADICTORY"));
    assert_eq!(play.verdict(PreFinalize, 1_200), (None, vec![]));
    let mut play = Play::run();
    assert_eq!(play.try_ack(I, AckStatus::RolledBack, "i1", "WHY", 1), Err("ACK_ORDER"));
    assert_eq!(play.try_ack(I, AckStatus::Success, "i1", "WHY", 1), Err("ACK_CONTRADICTORY"));
    assert_eq!(play.try_ack(I, AckStatus::Failed, "", "", 1), Err("ACK_CONTRADICTORY"));
    assert_eq!(play.try_ack(I, AckStatus::RolledBack, "", "", 1), Err("ACK_CONTRADICTORY"));
    assert_eq!(play.journal.contract().acks.len(), 0);
}

#[test]
fn row_20_keeps_its_history() {
    let mut play = settled();
    play.journal.reconcile(Check, by(Z_DUE + 1)).unwrap();
    let mut play = play.ok(C, Z_DUE + 10).ok(Z, Z_DUE + 10);
    play.journal.reconcile(Final, by(Z_DUE + 10)).unwrap();
    let history: Vec<_> = play.journal.contract().judged.iter().map(|j| (j.pass, j.verdict)).collect();
    assert_eq!(history, [(PreFinalize, Complete), (Check, Stale), (Final, Incomplete)]);
    assert!(play.journal.contract().closed);
}

#[test]
fn row_36_adds_to_a_closed_contract() {
    let mut play = sealed(ready());
    assert_eq!(play.journal.reconcile(Final, by(1_300)).unwrap().0.verdict, Some(Complete));
    let (count, link) = (play.journal.contract().last_seq, play.journal.link());
    let play = play.ok(X, 9_000);
    let last = play.journal.contract().judged.last().unwrap();
    assert_eq!(
        (last.pass, last.verdict, name(&last.findings[0]).as_str()),
        (Final, Incomplete, "DRIFT logs/export_trace")
    );
    assert_eq!(
        play.journal.added()[usize::try_from(count).unwrap() - 1].link,
        link,
        "what the seal names stands"
    );
}

#[test]
fn rows_37_and_38_of_other_sagas() {
    let mut play = Play::nothing_declared("violation");
    let open = ("incidents", "open_violation_incident");
    let finalize = ("orchestrator", "finalize_saga");
    let promises = [promise(open, RunPhase::Created, 5_000), promise(finalize, RunPhase::Created, 60_000)];
    play.journal.declare(&promises, 0, by(0)).unwrap();
    let found = (Some(Incomplete), vec!["MISSING incidents/open_violation_incident".to_owned()]);
    assert_eq!(play.verdict(Check, 5_100), found);
    let mut play = Play::nothing_declared("pause");
    play.journal.declare(&[promise(finalize, RunPhase::Created, 900_000)], 0, by(0)).unwrap();
    assert_eq!(play.verdict(Check, 899_000), (None, vec![]));
    assert_eq!(
        play.verdict(Check, 900_001),
        (Some(Stale), vec!["MISSING orchestrator/finalize_saga".to_owned()])
    );
}

#[test]
fn a_deadline_never_moves_before_the_original() {
    let mut play = Play::run();
    let refused = play.journal.move_deadline(Z, Some(at(Z_DUE - 1)), "no", 0, by(10)).map(|_| ());
    assert_eq!(refused.unwrap_err().reason().name, "DEADLINE_BACKWARD");
    assert!(play.journal.move_deadline(Z, Some(at(Z_DUE)), "same", 0, by(10)).is_ok());
    let refused = play.journal.move_deadline(X, None, "no", 0, by(10)).map(|_| ());
    assert_eq!(refused.unwrap_err().reason().name, "EXPECTATION_NOT_FOUND");
}

#[test]
fn the_first_intent_wins_and_names_itself() {
    let mut play = Play::run();
    let first = play.journal.intend(&completion(b"a"), by(10)).unwrap();
    let again = play.journal.intend(&completion(b"a"), by(20)).unwrap();
    assert_eq!((first.0.seq, false), (again.0.seq, first.1));
    assert!(again.1);
    let lost = play.journal.intend(&completion(b"b"), by(30)).unwrap_err();
    assert_eq!(lost.reason().name, "INTENT_EXISTS");
    assert_eq!(lost.metadata()["seq"], first.0.seq.to_string());
}

/// Who decides by what it read is refused once anything else was written, and told what is last now.
#[test]
fn an_intent_over_another_head_is_refused() {
    let mut play = Play::run();
    let read = play.journal.contract().last_seq;
    play.journal.move_deadline(Z, Some(at(Z_DUE + 1)), "it goes on", 0, by(10)).map(|_| ()).unwrap();
    let wish = |expected_seq| Wish { expected_seq, ..completion(b"abandoned") };
    let refused = play.journal.intend(&wish(Some(read)), by(20)).unwrap_err();
    assert_eq!(refused.reason().name, "HEAD_MOVED");
    assert_eq!(refused.metadata()["last_seq"], (read + 1).to_string());
    assert!(play.journal.contract().intent(COMPLETION).is_none());
    assert!(!play.journal.intend(&wish(Some(read + 1)), by(30)).unwrap().1);
    assert!(play.journal.intend(&wish(Some(read)), by(40)).unwrap().1, "a repeat finds its own");
}

#[test]
fn a_contract_left_half_done_is_due_soon() {
    let play = Play::run();
    assert_eq!(play.journal.contract().next_deadline(), Some(at(5_000)));
    let play = play.ok(T, 100);
    assert_eq!(play.journal.contract().next_deadline(), Some(at(Z_DUE)));
    let play = play.intent(1_000).ok(I, 1_100).ok(P, 1_100).ok(B, 1_200);
    assert_eq!(play.journal.contract().next_deadline(), Some(at(3_200)));
    let mut play = sealed(play);
    play.journal.reconcile(Final, by(1_400)).unwrap();
    assert_eq!(play.journal.contract().next_deadline(), None);
}

/// One acknowledgement of the property: action, status, result.
fn any_ack() -> impl Strategy<Value = (usize, u8, u8)> {
    (0_usize..7, 0_u8..4, 0_u8..2)
}

fn play_acks(acks: &[(usize, u8, u8)]) -> (Contract, Judgement) {
    let mut play = Play::run().intent(1_000);
    for (action, status, result) in acks {
        let action = SIX.get(*action).copied().unwrap_or(X);
        let result = format!("r{result}");
        // What the rules refuse changes nothing, in any order.
        let _ = match status {
            0 => play.try_ack(action, AckStatus::Success, &result, "", 2_000),
            1 => play.try_ack(action, AckStatus::Failed, "", "REFUSED", 2_000),
            2 => play.try_ack(action, AckStatus::RolledBack, &result, "UNDONE", 2_000),
            _ => play.try_ack(action, AckStatus::NotApplicable, "", "", 2_000),
        };
    }
    let judgement = play.look(Final, 3_000);
    (play.journal.contract().clone(), judgement)
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_actions_interleave(
        acks in proptest::collection::vec(any_ack(), 0..24),
        picks in proptest::collection::vec(0_usize..7, 200),
    ) {
        let mut lanes: Vec<Vec<(usize, u8, u8)>> = vec![Vec::new(); 7];
        acks.iter().for_each(|ack| lanes[ack.0].push(*ack));
        lanes.iter_mut().for_each(|lane| lane.reverse());
        let mut shuffled = Vec::new();
        for pick in picks.into_iter().chain(0..7).chain((0..7).cycle().take(7 * 24)) {
            shuffled.extend(lanes[pick].pop());
        }
        prop_assert_eq!(shuffled.len(), acks.len());
        let ((_, one), (_, other)) = (play_acks(&acks), play_acks(&shuffled));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_contract_folds_to_the_same_from_its_bytes(acks in proptest::collection::vec(any_ack(), 0..24)) {
        use prost::Message as _;
        let mut play = Play::run().intent(1_000);
        for (action, _, result) in &acks {
            let action = SIX.get(*action).copied().unwrap_or(X);
            play.try_ack(action, AckStatus::Success, &format!("r{result}"), "", 2_000).unwrap();
        }
        play.journal.reconcile(Final, by(3_000)).unwrap();
        let entries: Vec<_> = play.journal.added().iter()
            .map(|a| contracts_logs::v1::ContractEntry::decode(a.entry.clone()).unwrap()).collect();
        prop_assert_eq!(&Contract::of("run", &entries).unwrap(), play.journal.contract());
        prop_assert!(FindingCode::parse("DRIFT").is_some());
    }
}
