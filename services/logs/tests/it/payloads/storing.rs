//! What is kept of what a step brings.

use contracts_logs::v1::{self as pb, InspectionOperation as Op, check_inspection_request::Constraints};
use prost::Message as _;
use runspine_db::{AssertSqlSafe, Db, args};
use runspine_testkit::{TestStore, on_both_engines, run};

use super::harness::*;
use crate::traces::harness::{House, item, reason};

/// Every text and every byte of every table, as one.
async fn everything(db: &Db) -> Vec<u8> {
    let tables = db.dialect().pick(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()",
    );
    let mut all = Vec::new();
    for (table,) in db.read().fetch_all::<(String,)>(tables, args![]).await.unwrap() {
        let columns = db.dialect().pick(
            "SELECT name, type FROM pragma_table_info($1)",
            "SELECT column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1",
        );
        let columns: Vec<(String, String)> = db.read().fetch_all(columns, args![&table]).await.unwrap();
        for (column, kind) in columns {
            let sql = AssertSqlSafe(format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL"));
            match kind.to_ascii_lowercase().as_str() {
                "text" => {
                    let rows = db.read().fetch_all::<(String,)>(sql, args![]).await.unwrap();
                    rows.into_iter().for_each(|(text,)| all.extend(text.into_bytes()));
                }
                "blob" | "bytea" => {
                    let rows = db.read().fetch_all::<(bytes::Bytes,)>(sql, args![]).await.unwrap();
                    rows.into_iter().for_each(|(bytes,)| all.extend_from_slice(&bytes));
                }
                _ => {}
            }
        }
    }
    all
}

fn holds(all: &[u8], canary: &str) -> bool {
    all.windows(canary.len()).any(|window| window == canary.as_bytes())
}

on_both_engines! {
    async fn by_default_no_byte_of_a_prompt_is_anywhere(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, 0).await;
        for index in 0..3 {
            house.one(1, brings(index, vec![input("{\"q\":\"canary-prompt\"}"), output("canary-answer")])).await.unwrap();
        }
        assert_eq!(refs(&house, 1, 1).await, (bytes::Bytes::new(), bytes::Bytes::new()));
        assert_eq!(told(&house, "logs.InspectionDenied").await, 0, "the seal tells it");
        house.settle(1, 1).await;
        house.seal(crate::traces::harness::sealing(1, 1)).await.unwrap();
        let events = house.published().await;
        let denied: Vec<_> = events
            .iter()
            .filter(|event| event.r#type == "logs.InspectionDenied")
            .map(|event| pb::InspectionDenied::decode(event.data.clone()).unwrap())
            .map(|denied| (denied.operation(), denied.count))
            .collect();
        assert_eq!(denied, [(Op::LogPrompt, 3), (Op::LogResponse, 3)], "one for each operation, with its count");
        let db = house.db().await;
        let sql = "SELECT COUNT(*) FROM ledger WHERE event_type = 'logs.InspectionDenied'";
        assert_eq!(db.read().fetch_one::<(i64,)>(sql, args![]).await.unwrap().0, 2);
        let all = everything(&db).await;
        assert!(all.len() > 1_000 && holds(&all, "weather.get"), "the search sees what is there");
        assert!(!holds(&all, "canary"), "a byte of a payload was kept");
        assert_eq!(house.prove(1).await.overall(), pb::ProofStatus::Verified);
    }

    async fn what_is_allowed_is_kept_without_what_is_not(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, LOG_PROMPT | LOG_RESPONSE | CAPTURE_PII).await;
        let asked = r#"{"to":"jane@example.com","password":"hunter2","token_count":3}"#;
        let item = || brings(0, vec![input(asked), output([0xff, 0xfe])]);
        let first = house.one(1, item()).await.unwrap();
        let again = house.one(1, item()).await.unwrap();
        assert!(again.duplicate && again.link == first.link, "a repeat stores nothing");
        let (reference, none) = refs(&house, 1, 1).await;
        assert!(none.is_empty(), "what is no text is not kept without both permissions");
        let kept = get(&house, &reference).await.unwrap();
        assert_eq!(kept.content, r#"{"to":"jane@example.com","password":"[REDACTED:KEY]","token_count":3}"#);
        assert_eq!(kept.redactions, [pb::Redaction { class: "KEY".into(), count: 1 }]);
        assert_eq!((kept.position, kept.direction(), kept.media_type.as_str()), (1, pb::PayloadDirection::Input, "application/json"));
        let db = house.db().await;
        let all = everything(&db).await;
        assert!(!holds(&all, "jane@example.com") && !holds(&all, "hunter2"), "payloads are encrypted at rest");
        assert_eq!(reason(get_as(&house, 2, &reference).await), "PAYLOAD_NOT_FOUND", "another tenant sees nothing");
        assert_eq!(reason(get(&house, &vec![7; 32].into()).await), "PAYLOAD_NOT_FOUND");
        assert_eq!(reason(get(&house, &vec![7; 31].into()).await), "FIELD_INVALID");
        // A run that may keep everything keeps bytes as they are.
        begin(&house, 2, 15).await;
        house.one(2, brings(0, vec![output([0xff, 0xfe])])).await.unwrap();
        let kept = get(&house, &refs(&house, 2, 1).await.1).await.unwrap();
        assert_eq!(kept.content.as_ref(), [0xff, 0xfe]);
    }

    async fn a_refused_item_leaves_no_payload(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, LOG_PROMPT).await;
        house.one(1, brings(0, vec![input("first")])).await.unwrap();
        // The second item of the call is refused, so the first is not stored either.
        let items = vec![brings(1, vec![input("second")]), brings(0, vec![input("other content")])];
        let mut other = items.clone();
        step_of(&mut other[1]).output_tokens += 1;
        assert_eq!(reason(house.append(1, other).await), "IDEMPOTENCY_MISMATCH");
        let db = house.db().await;
        let sql = "SELECT COUNT(*) FROM payloads";
        assert_eq!(db.read().fetch_one::<(i64,)>(sql, args![]).await.unwrap().0, 1);
        let twice = brings(2, vec![input("a"), input("b")]);
        assert_eq!(reason(house.one(1, twice).await), "FIELD_INVALID");
        let mut early = crate::traces::harness::decision("d9", 9);
        early.payloads = vec![input("a")];
        assert_eq!(reason(house.one(1, early).await), "FIELD_INVALID", "payloads come with a step");
    }

    async fn words_of_records_lose_what_nobody_may_see(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, 15).await;
        let mut named = brings(0, vec![]);
        step_of(&mut named).name = "mail jane@example.com".into();
        house.one(1, named.clone()).await.unwrap();
        assert!(house.one(1, named).await.unwrap().duplicate, "redaction is the same each time");
        let control = pb::Control { action: pb::ControlAction::Paused.into(), reason: "token=abcd1234".into(), ..Default::default() };
        house.one(1, item("c1", None, pb::record_item::Body::Control(control))).await.unwrap();
        let all = everything(&house.db().await).await;
        assert!(!holds(&all, "jane@") && !holds(&all, "abcd1234"), "events and rows alike");
        assert!(holds(&all, "mail [REDACTED:PII.EMAIL]"));
    }

    async fn constraints_are_told(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, LOG_PROMPT | ACCESS_SECRET).await;
        let operations = vec![Op::CapturePii as i32, Op::LogPrompt as i32, 99, Op::CapturePii as i32];
        let of_run = |number| Constraints::Run(pb::InspectedRun { run_id: run(number), attempt: 0 });
        let asked = |constraints| pb::CheckInspectionRequest { constraints, operations: operations.clone() };
        let told = check(&house, asked(Some(of_run(1)))).await.unwrap();
        assert_eq!(told.allowed, [Op::LogPrompt as i32, Op::AccessSecret as i32]);
        assert_eq!(told.denied, [Op::LogResponse as i32, Op::CapturePii as i32]);
        let violations: Vec<_> = told.violations.iter().map(|v| (v.operation, v.constraint_field.as_str())).collect();
        let pii = (Op::CapturePii as i32, "allow_pii_capture");
        assert_eq!(violations, [pii, (99, ""), pii], "in the order asked, repeated ones repeatedly");
        assert_eq!(check(&house, asked(Some(Constraints::Mask(9)))).await.unwrap().allowed, told.allowed);
        for nothing in [None, Some(of_run(7)), Some(Constraints::Mask(16))] {
            let told = check(&house, asked(nothing)).await.unwrap();
            assert_eq!((told.allowed.len(), told.violations.len()), (0, 4), "what is not known is denied");
        }
        let empty = pb::CheckInspectionRequest::default();
        assert_eq!(reason(check(&house, empty).await), "FIELD_INVALID");
    }
}
