//! What the engines themselves refuse.

use contracts_controls::v1 as pb;
use runspine_controls::store::MIGRATIONS;
use runspine_db::{AssertSqlSafe, args};
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines, test_id};

use crate::{
    call,
    harness::{House, daily, settled, step},
};

on_both_engines! {
    /// Truth is appended: no table of the record can be changed.
    async fn records_cannot_be_changed(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 10)).await.unwrap();
        house.step(step(1, 1, 1_000)).await.unwrap();
        house.settle(settled(1, 0, 5)).await.unwrap();
        let listed = pb::ListBreachesRequest::default();
        let listed = call!(house, signals.list_breaches, "SignalService/ListBreaches", listed).unwrap();
        let message = pb::LinkBreachIncidentRequest {
            breach_id: listed.breaches[0].breach_id.clone(), incident_id: "incident".into(),
        };
        call!(house, signals.link_breach_incident, "SignalService/LinkBreachIncident", message).unwrap();
        let envelope_id = listed.breaches[0].envelope_id.clone();
        let wish = house.adjust(8, &envelope_id, 90).await.adjustment.unwrap();
        house.approve(9, "lee", &wish.adjustment_id).await.unwrap();
        let settlement_id = house.settle_run(1, 1).await.unwrap().settlement_id;
        let message = pb::ReverseSettlementRequest {
            settlement_id, saga_id: "saga".into(), reason: "the saga was compensated".into(),
        };
        call!(house, budgets.reverse_settlement, "BudgetService/ReverseSettlement", message).unwrap();
        crate::overrides::used_once(&house, 3).await;
        crate::bypasses::used_once(&house, 3).await;
        crate::breakers::opened_once(&house).await;
        crate::scopes::settled_once(&house).await;
        crate::alerts::decided_once(&house).await;
        house.settle_run(3, 1).await.unwrap();
        house.admit(2).await.unwrap();
        let _watch = house.app.watchers.enter("spine-1");
        let message = pb::FreezeRequest {
            request_id: test_id(7, 2), scope: 2, reason_code: 1, note: "something is wrong".into(),
            ..pb::FreezeRequest::default()
        };
        let frozen = call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap().freeze.unwrap();
        house.settle_run(2, 1).await.unwrap();
        let message = pb::AckContainmentRequest {
            freeze_id: frozen.freeze_id.clone(), replica: "spine-1".into(), confirmed_epoch: frozen.epoch, runs: vec![],
        };
        let status = call!(house, freezes.ack_containment, "FreezeService/AckContainment", message).unwrap().status();
        assert_eq!(status, pb::ContainmentStatus::Contained);
        let message = pb::RequestUnfreezeRequest {
            request_id: test_id(7, 3), freeze_id: frozen.freeze_id, reason: "it is repaired".into(),
        };
        call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", message).unwrap();
        assert_append_only_tables(&house.db, &MIGRATIONS).await;
        for table in MIGRATIONS.append_only {
            assert_append_only(&house.db, table).await;
        }
    }

    /// A hold ends once, whatever the code above believes.
    async fn a_hold_ends_once(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 10)).await.unwrap();
        house.settle(settled(1, 0, 5)).await.unwrap();
        let sql = "INSERT INTO hold_transitions SELECT hold_id, seq, from_state, 3, at \
                   FROM hold_transitions WHERE seq = 99";
        let again = house.db.write("by_hand", move |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) })).await;
        assert!(again.is_err());
    }

    /// An altered number is found, and so is the row that it is in.
    async fn an_altered_number_is_found(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 10)).await.unwrap();
        house.settle(settled(1, 0, 5)).await.unwrap();
        house.settle_run(1, 1).await.unwrap();
        let envelope_id = house.envelope(&limit.limit_id).await.envelope_id;
        assert!(house.verify(&envelope_id).await.equal);
        for (sql, field) in [
            ("UPDATE envelope_periods SET settled = settled - 1", "settled"),
            ("UPDATE envelope_periods SET settled = settled + 1, unfunded = 7", "unfunded"),
            ("UPDATE envelope_periods SET unfunded = 0", ""),
            ("UPDATE allocations SET used = used - 1", "allocation:"),
        ] {
            let sql = AssertSqlSafe(sql);
            let done = house.db.write("by_hand", move |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) }));
            done.await.unwrap();
            let verified = house.verify(&envelope_id).await;
            assert_eq!(verified.equal, field.is_empty());
            assert!(verified.differences.iter().all(|d| d.field.starts_with(field)), "{verified:?}");
        }
    }
}
