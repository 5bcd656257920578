//! What was booked for a run: found by its holds, and what is of the run as a whole.

use contracts_controls::v1::{self as pb, EntryKind};
use prost::Message as _;
use runspine_controls::store::MIGRATIONS;
use runspine_db::{Args, Migrations, args};
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};

use crate::{
    call,
    harness::{House, START, daily, insist, settled, step},
};

/// As the store was while everything of a run was found by the run.
const BEFORE: Migrations =
    Migrations { steps: MIGRATIONS.steps.split_at(18).0, append_only: MIGRATIONS.append_only };

/// The entries of run `number`: kind and hold.
async fn entries(house: &House, number: u64) -> Vec<(EntryKind, String)> {
    let message = pb::ListBudgetEntriesRequest { run_id: run(number), ..Default::default() };
    let page = call!(house, budgets.list_budget_entries, "BudgetService/ListBudgetEntries", message).unwrap();
    assert!(page.entries.iter().all(|entry| entry.run_id == run(number)));
    page.entries.into_iter().map(|entry| (entry.kind(), entry.hold_id)).collect()
}

async fn numbers(house: &House, number: u64) -> (i64, i64, i64) {
    let message = pb::GetRunControlsEvidenceRequest { run_id: run(number), attempt: 0 };
    let found =
        call!(house, signals.get_run_controls_evidence, "SignalService/GetRunControlsEvidence", message);
    let found = found.unwrap();
    (found.hold_count, found.expired_hold_count, found.late_charge_count)
}

/// The hold of a step, by the step's place.
async fn hold_of(house: &House, number: u64, step_index: u32) -> pb::Hold {
    let message = pb::ReleaseRequest {
        hold: settled(number, step_index, 0).hold,
        reason: pb::ReleaseReason::PolicyDenied.into(),
    };
    let ask = || async { call!(house, budgets.release, "BudgetService/Release", message.clone()) };
    insist(ask).await.hold.unwrap()
}

/// Rows of one run as they were written before: step 0 was settled, step 1 is held, step 2 was never reserved.
fn rows_of_before() -> Vec<(&'static str, Vec<&'static str>, Vec<Args>)> {
    let id = |number| test_id(9, number);
    let scope = pb::ScopeTuple { agent_id: "agent".into(), ..pb::ScopeTuple::default() }.encode_to_vec();
    let spec = pb::LimitSpec {
        enforcement: 1,
        consequence: 1,
        overage: 1,
        ambiguous_charge: 1,
        ..daily("day", 100)
    };
    let spec = spec.encode_to_vec();
    let limit = args![1, id(10), tenant(1), "day", 2, "", 1, 1, 1, spec, START, START, 1];
    let lease = args![7, tenant(1), run(1), 1, 2, 1, START.plus_millis(30_000), scope, START];
    let hold =
        |step: i64, ask: i64, number, state| args![7, step, ask, id(number), state, 5, 0, 0, 0, 1, 0, false];
    let told = |step: i64, number| {
        let bytes = vec![0_u8; 32];
        args![
            7,
            step,
            0,
            id(number),
            "d",
            1,
            1,
            true,
            1,
            bytes.clone(),
            bytes.clone(),
            bytes.clone(),
            bytes,
            START
        ]
    };
    let entry = |kind: EntryKind, step: Option<i64>, ask: Option<i64>| {
        args![3, START, kind as i32, 1, 5, 7, step, ask, START]
    };
    let envelope = args![3, id(11), tenant(1), 1, 2, tenant(1), START];
    vec![
        (
            "limits",
            vec![
                "limit_key",
                "limit_id",
                "tenant_id",
                "name",
                "scope",
                "scope_id",
                "state",
                "source",
                "version",
                "spec",
                "created_at",
                "updated_at",
                "category",
            ],
            vec![limit],
        ),
        (
            "envelopes",
            vec!["envelope_key", "envelope_id", "tenant_id", "limit_key", "scope", "scope_id", "created_at"],
            vec![envelope],
        ),
        (
            "run_leases",
            vec![
                "run_key",
                "tenant_id",
                "run_id",
                "attempt",
                "state",
                "fence",
                "expires_at",
                "scope",
                "seen_at",
            ],
            vec![lease],
        ),
        (
            "holds",
            vec![
                "run_key",
                "step_index",
                "ask",
                "hold_id",
                "state",
                "cost_microusd",
                "tokens_input",
                "tokens_output",
                "duration_ms",
                "source",
                "extensions",
                "ambiguous",
            ],
            vec![hold(1, 0, 1, 1), hold(0, 0, 2, 2), hold(2, -1, 0, 2)],
        ),
        (
            "evidence",
            vec![
                "run_key",
                "step_index",
                "ask",
                "evidence_id",
                "decision_id",
                "fence",
                "verdict",
                "plain",
                "resolver_version",
                "inputs",
                "inputs_digest",
                "request_digest",
                "answer",
                "evaluated_at",
            ],
            vec![told(-1, 20), told(0, 21), told(1, 22)],
        ),
        (
            "budget_entries",
            vec![
                "envelope_key",
                "period_start",
                "kind",
                "funding",
                "amount",
                "run_key",
                "step_index",
                "ask",
                "at",
            ],
            vec![
                entry(EntryKind::Grant, None, None),
                entry(EntryKind::Charge, Some(0), Some(0)),
                entry(EntryKind::LateCharge, Some(2), Some(-1)),
            ],
        ),
    ]
}

on_both_engines! {
    /// Entries of steps name their holds; those of the run as a whole are found too, and no other run's.
    async fn entries_of_a_run(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 10_000)).await;
        for number in [1, 2] {
            house.admit(number).await.unwrap();
        }
        let reserved = house.step(step(1, 0, 10)).await.unwrap().hold.unwrap();
        house.settle(settled(1, 0, 9)).await.unwrap();
        house.settle(settled(1, 1, 3)).await.unwrap();
        house.step(step(1, 2, 4)).await.unwrap();
        let found = entries(&house, 1).await;
        let of = |kind| found.iter().filter(move |entry| entry.0 == kind).map(|entry| entry.1.clone());
        assert!(of(EntryKind::Charge).eq([reserved.hold_id.clone()]));
        let unreserved = hold_of(&house, 1, 1).await.hold_id;
        assert!(of(EntryKind::LateCharge).eq([unreserved]));
        assert!(of(EntryKind::Grant).all(|hold| hold.is_empty()) && of(EntryKind::Grant).count() > 0);
        assert_eq!(hold_of(&house, 1, 0).await.hold_id, reserved.hold_id);
        assert!(entries(&house, 2).await.iter().all(|entry| entry.1.is_empty()));
        assert_eq!(numbers(&house, 1).await, (2, 0, 1));
        house.clock.advance(std::time::Duration::from_secs(40));
        runspine_controls::worker::sweep_once(&house.app).await.unwrap();
        assert_eq!(numbers(&house, 1).await, (2, 1, 1));
    }

    /// A store of before keeps its holds, and finds them and their entries as those of today.
    async fn holds_of_before_are_found(store: TestStore) {
        let before = store.open("controls", BEFORE).await;
        let write = before.write("by_hand", |tx| Box::pin(async move {
            for (table, columns, rows) in rows_of_before() {
                tx.insert_rows(table, &columns, rows, "").await?;
            }
            Ok(())
        }));
        write.await.unwrap();
        before.close().await;
        let house = House::over(store).await;
        let id = |number| test_id(9, number);
        let expected = [
            (EntryKind::Grant, String::new()), (EntryKind::Charge, id(2)), (EntryKind::LateCharge, id(0)),
        ];
        assert_eq!(entries(&house, 1).await, expected);
        assert_eq!(numbers(&house, 1).await, (2, 0, 1));
        for (step_index, hold_id, state) in [(0, id(2), 2), (1, id(1), 3), (2, id(0), 2)] {
            let hold = hold_of(&house, 1, step_index).await;
            assert_eq!((hold.hold_id, hold.state), (hold_id, state), "step {step_index}");
        }
    }
}
