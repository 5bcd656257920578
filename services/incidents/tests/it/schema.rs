//! What the engines themselves refuse.

use contracts_incidents::v1::ReportIncidentRequest;
use runspine_incidents::store::MIGRATIONS;
use runspine_incidents_domain::{Status, state};
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines};

use crate::harness::{House, failed, system_fact, void};

/// Sets every column that the state needs, so that only the transition can be at fault.
fn set_status(to: Status) -> String {
    let resolved = if matches!(to, Status::Resolved | Status::ClosedManually) { "1" } else { "NULL" };
    format!(
        "UPDATE incidents SET status = {}, open_key = NULL, acknowledged_at = 1, resolved_at = {resolved}",
        to.code()
    )
}

on_both_engines! {
    /// All 25 pairs of states by hand-written SQL.
    async fn the_state_table_holds_by_hand(store: TestStore) {
        let house = House::over(store).await;
        let roads: [&[Status]; 5] = [
            &[],
            &[Status::Acknowledged],
            &[Status::Resolved],
            &[Status::ClosedManually],
            &[Status::Voided],
        ];
        let mut number = 0;
        for (from, road) in Status::ALL.iter().zip(roads) {
            for to in Status::ALL {
                number += 1;
                let code = format!("CODE_{number}");
                let made = crate::harness::failed_with(number, &code);
                // Spread over hours, so that the cap stays out of it.
                house.after(std::time::Duration::from_secs(3_600));
                let id = house.report(made).await.unwrap().incident_id;
                for step in road {
                    house.by_hand(&format!("{} WHERE id = '{id}'", set_status(*step))).await.unwrap();
                }
                let moved = house.by_hand(&format!("{} WHERE id = '{id}'", set_status(*to))).await;
                let legal = from == to || state::legal(*from, *to);
                assert_eq!(moved.is_ok(), legal, "{} to {}", from.name(), to.name());
            }
        }
        assert_eq!(number, 25);
    }

    /// Severities can't fall, unknown numbers can't be stored, incidents can't be deleted.
    async fn rows_stay_sane(store: TestStore) {
        let house = House::over(store).await;
        house.report(failed(1)).await.unwrap();
        assert!(house.by_hand("UPDATE incidents SET severity = 4").await.is_ok());
        for bad in [
            "UPDATE incidents SET severity = 3",
            "UPDATE incidents SET severity = 5",
            "UPDATE incidents SET status = 6",
            "UPDATE incidents SET status = 3",
            "UPDATE incidents SET category = 13",
            "UPDATE incidents SET trigger_type = 18",
            "UPDATE incidents SET open_key = 'another'",
            "UPDATE incidents SET occurrence_count = -1",
            "DELETE FROM incidents",
        ] {
            assert!(house.by_hand(bad).await.is_err(), "{bad}");
        }
        assert_eq!(house.count("incidents").await, 1);
    }

    /// What was reported, judged and seen is never changed.
    async fn facts_are_append_only(store: TestStore) {
        let house = House::over(store).await;
        house.report(failed(1)).await.unwrap();
        let evidence = vec![contracts_incidents::v1::Evidence { kind: 1, ..Default::default() }];
        house.fact(ReportIncidentRequest { evidence, ..system_fact(1) }).await.unwrap();
        house.void(void(1, "STEP_FAILURE")).await.unwrap();
        house.after(std::time::Duration::from_secs(301));
        house.fact(system_fact(2)).await.unwrap();
        let prepared = crate::exports::prepare(&house, 1, &house.of_run(1).await.incidents[0].incident_id).await;
        crate::exports::complete(&house, &prepared.unwrap().export_id).await.unwrap();
        for table in MIGRATIONS.append_only {
            assert_append_only(&house.db, table).await;
        }
        assert_append_only_tables(&house.db, &MIGRATIONS).await;
    }
}
