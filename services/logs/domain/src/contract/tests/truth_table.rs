//! The truth table of the audit, row by row.

use super::*;

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
