//! The ledger through its RPCs.

use contracts_logs::v1::{self as pb, LedgerOrder, LedgerScope, LedgerStatus};
use prost::Message as _;
use runspine_db::{AssertSqlSafe, args};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant, test_id};
use runspine_types::{Digest, Hasher};

use super::harness::*;

/// An event of run `run_number`, or of none.
pub fn event(number: u64, run_number: Option<u64>) -> pb::LedgerEvent {
    pb::LedgerEvent {
        event_id: test_id(8, number),
        event_type: "controls.LimitUpdated".into(),
        scope: if run_number.is_some() { LedgerScope::Run } else { LedgerScope::Admin }.into(),
        run_id: run_number.map(run).unwrap_or_default(),
        attempt: u32::from(run_number.is_some()),
        correlation_id: format!("corr-{}", number % 3),
        entity_type: "limit".into(),
        entity_id: format!("lim-{number}"),
        actor: Some(actor("alice")),
        reason: "tuned".into(),
        before_state: r#"{"max":400}"#.into(),
        after_state: r#"{"max":500}"#.into(),
        occurred_at: Some(runspine_rpc::timestamp(START)),
        ..Default::default()
    }
}

async fn list(house: &House, filter: pb::LedgerFilter, order: LedgerOrder) -> Vec<pb::LedgerEntryView> {
    let mut request = pb::ListEntriesRequest {
        filter: Some(filter),
        order: order.into(),
        page_size: 4,
        page_token: String::new(),
    };
    let mut all = Vec::new();
    loop {
        let asked = house.ask("LedgerService/ListEntries", request.clone());
        let page = house.ledger.clone().list_entries(asked).await.unwrap().into_inner();
        all.extend(page.entries);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

async fn verify(house: &House, from_seq: u64, to_seq: u64) -> pb::VerifyLedgerResponse {
    let request = house.ask("LedgerService/VerifyLedger", pb::VerifyLedgerRequest { from_seq, to_seq });
    house.ledger.clone().verify_ledger(request).await.unwrap().into_inner()
}

on_both_engines! {
    /// Ten deliveries of one event at once are one entry; 32 writers leave no hole.
    async fn the_chain_is_dense(store: TestStore) {
        let house = House::over(store).await;
        let ten = futures::future::join_all((0..10).map(|_| house.append(vec![event(1, Some(1))]))).await;
        assert!(ten.iter().all(|r| r.as_ref().unwrap() == ten[0].as_ref().unwrap()));
        let writers = (0..32_u64).map(|w| {
            let house = &house;
            async move {
                for n in 0..5 {
                    house.append(vec![event(100 + w * 10 + n, None)]).await.unwrap();
                }
            }
        });
        futures::future::join_all(writers).await;
        let all = list(&house, pb::LedgerFilter::default(), LedgerOrder::SeqAsc).await;
        let seqs: Vec<_> = all.iter().map(|v| v.entry.as_ref().unwrap().seq).collect();
        assert_eq!(seqs, (1..=161).collect::<Vec<u64>>());
        let found = verify(&house, 0, 0).await;
        assert_eq!((found.status, found.verified_count), (i32::from(LedgerStatus::Verified), 161));
        assert_eq!(verify(&house, 50, 60).await.verified_count, 11);
    }

    /// An event id stands for one event; a call is appended whole or not at all.
    async fn appending_is_keyed_and_whole(store: TestStore) {
        let house = House::over(store).await;
        house.append(vec![event(1, None)]).await.unwrap();
        let mut other = event(1, None);
        other.entity_id = "lim-99".into();
        assert_eq!(reason(house.append(vec![event(2, None), other]).await), "IDEMPOTENCY_MISMATCH");
        let mut homeless = event(3, Some(1));
        homeless.run_id.clear();
        assert_eq!(reason(house.append(vec![event(2, None), homeless]).await), "RUN_ID_REQUIRED");
        let mut shapeless = event(4, None);
        shapeless.event_type = "limit updated".into();
        shapeless.after_digest = vec![1; 31].into();
        assert_eq!(reason(house.append(vec![shapeless]).await), "FIELD_INVALID");
        let mut later = event(1, None);
        later.occurred_at = Some(runspine_rpc::timestamp(START.plus_millis(7)));
        later.correlation_id = "another".into();
        later.actor = None;
        let next = house.append(vec![event(2, None), later, event(2, None)]).await.unwrap();
        assert_eq!(next.iter().map(|r| r.seq).collect::<Vec<_>>(), [2, 1, 2]);
    }

    /// What concerns a run is found by its run, in order; nothing of another tenant is ever seen.
    async fn entries_are_found_by_what_they_are_about(store: TestStore) {
        let house = House::over(store).await;
        let events: Vec<_> = (1..=12).map(|n| event(n, (n % 2 == 0).then_some(n % 4))).collect();
        house.append(events).await.unwrap();
        let of_run = pb::LedgerFilter { run_id: run(2), ..Default::default() };
        let seqs = |found: Vec<pb::LedgerEntryView>| {
            found.into_iter().map(|v| v.entry.unwrap().seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs(list(&house, of_run.clone(), LedgerOrder::SeqAsc).await), [2, 6, 10]);
        assert_eq!(seqs(list(&house, of_run, LedgerOrder::SeqDesc).await), [10, 6, 2]);
        let by_entity = pb::LedgerFilter { entity_type: "limit".into(), entity_id: "lim-7".into(), ..Default::default() };
        assert_eq!(seqs(list(&house, by_entity, LedgerOrder::SeqAsc).await), [7]);
        let by_more = pb::LedgerFilter {
            actor: Some(actor("alice")),
            correlation_id: "corr-1".into(),
            event_types: vec!["controls.LimitUpdated".into(), "x.Y".into()],
            scope: LedgerScope::Admin.into(),
            ..Default::default()
        };
        assert_eq!(seqs(list(&house, by_more, LedgerOrder::SeqAsc).await), [1, 7]);
        let message = pb::GetEntryRequest { seq: 3, event_id: String::new() };
        let theirs = house.ask_as(Who::Tenant(2), "LedgerService/GetEntry", message.clone());
        assert_eq!(reason(house.ledger.clone().get_entry(theirs).await), "ENTRY_NOT_FOUND");
        let ours = house.ask("LedgerService/GetEntry", message);
        let view = house.ledger.clone().get_entry(ours).await.unwrap().into_inner().entry.unwrap();
        let entry = view.entry.unwrap();
        assert_eq!(entry.encode_to_vec(), view.entry_bytes);
        let state = Hasher::new("runspine.state.v1").fixed(&view.state_salt).sized(view.after_state.as_bytes());
        assert_eq!(Digest::from_slice(&entry.after_digest), Some(state.finish()));
    }

    /// The story of a run is read as it happened, whatever the order in which its parts arrived.
    async fn a_story_is_read_as_it_happened(store: TestStore) {
        let house = House::over(store).await;
        let at = |number: u64, ms: i64| pb::LedgerEvent {
            occurred_at: Some(runspine_rpc::timestamp(START.plus_millis(ms))),
            ..event(number, Some(1))
        };
        for (number, ms) in [(1, 40), (2, 10), (3, 30), (4, 10), (5, 20), (6, 50)] {
            house.append(vec![at(number, ms), event(number + 50, Some(2))]).await.unwrap();
        }
        let of_run = pb::LedgerFilter { run_id: run(1), ..Default::default() };
        let told = list(&house, of_run, LedgerOrder::OccurredAsc).await;
        let things: Vec<_> = told.into_iter().map(|v| v.entry.unwrap().entity_id).collect();
        assert_eq!(things, ["lim-2", "lim-4", "lim-5", "lim-3", "lim-1", "lim-6"]);
        let all = pb::ListEntriesRequest { order: LedgerOrder::OccurredAsc.into(), ..Default::default() };
        let all = house.ask("LedgerService/ListEntries", all);
        assert_eq!(reason(house.ledger.clone().list_entries(all).await), "FIELD_INVALID", "of one run only");
    }

    /// Every kind of damage is found at its place.
    async fn damage_is_found(store: TestStore) {
        let house = House::over(store).await;
        house.append((1..=9).map(|n| event(n, None)).collect()).await.unwrap();
        let db = house.db().await;
        assert_append_only(&db, "ledger").await;
        let damage = |sql: &'static str| {
            let db = db.clone();
            async move {
                let lift = db.dialect().pick(
                    "DROP TRIGGER IF EXISTS ledger_append_only_update; DROP TRIGGER IF EXISTS ledger_append_only_delete",
                    "DROP TRIGGER IF EXISTS ledger_append_only_update ON ledger",
                );
                db.write("damage", move |tx| {
                    Box::pin(async move {
                        for part in lift.split(';').chain([sql]) {
                            tx.execute(AssertSqlSafe(part), args![]).await?;
                        }
                        Ok(())
                    })
                })
                .await
                .unwrap();
            }
        };
        damage("UPDATE ledger SET reason = 'forged' WHERE seq = 8").await;
        let found = verify(&house, 0, 0).await;
        assert_eq!((found.status, found.first_bad_seq, found.finding.as_str()), (i32::from(LedgerStatus::Mismatch), 8, "COLUMNS"));
        damage("UPDATE ledger SET entry = (SELECT entry FROM ledger WHERE seq = 4) WHERE seq = 5").await;
        let found = verify(&house, 0, 0).await;
        assert_eq!((found.status, found.first_bad_seq, found.finding.as_str()), (i32::from(LedgerStatus::Mismatch), 5, "LINK"));
        damage("DELETE FROM ledger WHERE seq = 3").await;
        let found = verify(&house, 0, 0).await;
        assert_eq!((found.status, found.first_bad_seq, found.verified_count), (i32::from(LedgerStatus::Incomplete), 3, 2));
        damage("DELETE FROM ledger WHERE seq > 2").await;
        let found = verify(&house, 0, 0).await;
        assert_eq!((found.status, found.first_bad_seq), (i32::from(LedgerStatus::Incomplete), 3), "a cut tail is seen");
        assert_eq!(tenant(1).len(), 36);
    }
}
