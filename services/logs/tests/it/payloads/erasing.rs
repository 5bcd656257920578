//! What is left after an erasure, and what is kept from it.

use contracts_common::common::v1::GovernanceProfile;
use contracts_logs::v1 as pb;
use runspine_db::args;
use runspine_logs_domain::{
    bundle::{Options, Verdict, verify_bundle},
    chain::payload_digest,
};
use runspine_rpc::details;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant, test_id};

use super::harness::*;
use crate::traces::{
    bundles::trusted,
    harness::{House, reason, sealing},
};

/// A sealed run with two payloads, one of them about a person.
async fn sealed(house: &House, number: u64) -> (bytes::Bytes, bytes::Bytes) {
    begin(house, number, LOG_PROMPT | LOG_RESPONSE).await;
    let about = pb::Payload { subject: "person-7".into(), ..output(format!("answer {number}")) };
    house.one(number, brings(0, vec![input(format!("question {number}")), about])).await.unwrap();
    let refs = refs(house, number, 1).await;
    house.settle(number, 1).await;
    house.seal(sealing(number, 1)).await.unwrap();
    refs
}

async fn secrets(house: &House, number: u64) -> (Option<bytes::Bytes>, Option<bytes::Bytes>) {
    let sql = "SELECT digest_salt, data_key FROM run_secrets WHERE run_id = $1";
    house.db().await.read().fetch_one(sql, args![run(number)]).await.unwrap()
}

on_both_engines! {
    async fn an_erased_run_is_proved_and_can_not_be_guessed(store: TestStore) {
        let house = House::over(store).await;
        let (question, answer) = sealed(&house, 1).await;
        let started = secrets(&house, 1).await;
        assert!(started.0.is_some() && started.1.is_some());
        house.checkpoint().await;
        let options = Options { trusted: trusted(&house).await, tenant_id: Some(tenant(1)), against: None };
        let before = house.bundle(1, false, vec![]).await.unwrap();
        assert_eq!(verify_bundle(before.as_slice(), &options).unwrap().verdict, Verdict::Verified);
        let request = pb::ErasePayloadsRequest { run_id: run(1), ..erasing(1) };
        let erased = erase(&house, request.clone()).await.unwrap();
        assert_eq!((erased.erased_count, erased.held_count), (2, 0));
        house.advance(60_000);
        assert_eq!(erase(&house, request.clone()).await.unwrap(), erased, "a repeat gets the first answer");
        let other = pb::ErasePayloadsRequest { reason: "another reason".into(), ..request };
        assert_eq!(reason(erase(&house, other).await), "IDEMPOTENCY_MISMATCH");
        for reference in [&question, &answer] {
            let refused = get(&house, reference).await.unwrap_err();
            let told = details(&refused);
            assert_eq!((told.reason.as_str(), told.metadata["erasure_id"].as_str()), ("PAYLOAD_ERASED", erased.erasure_id.as_str()));
            assert!(told.metadata.contains_key("erased_at"));
        }
        assert_eq!(secrets(&house, 1).await, (None, None), "no dictionary reproduces a digest without the salt");
        assert_ne!(payload_digest(&[], b"question 1").as_bytes(), question.as_ref());
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), pb::ProofStatus::Verified);
        assert!(proof.proofs[0].findings.iter().any(|finding| finding.code == "SALT_ERASED"));
        let file = house.bundle(1, false, vec![]).await.unwrap();
        let report = verify_bundle(file.as_slice(), &options).unwrap();
        assert_eq!(report.verdict, Verdict::Verified, "its bundle verifies: {:?}", report.findings);
        let lines = |file: &[u8], section: &str| -> Vec<String> {
            let head = format!(r#"{{"s":"{section}""#);
            let text = std::str::from_utf8(file).unwrap().lines();
            text.filter(|line| line.starts_with(&head)).map(str::to_owned).collect()
        };
        for section in ["trace", "seal", "contract", "evidence"] {
            assert_eq!(lines(&file, section), lines(&before, section), "{section} is what it was");
        }
        assert_eq!(told(&house, "logs.PayloadErased").await, 1);
        let sql = "SELECT COUNT(*) FROM ledger WHERE event_type = 'logs.PayloadErased' AND run_id = $1";
        assert_eq!(house.db().await.read().fetch_one::<(i64,)>(sql, args![run(1)]).await.unwrap().0, 1);
        let missing = pb::ErasePayloadsRequest { run_id: run(77), ..erasing(2) };
        assert_eq!(reason(erase(&house, missing).await), "TRACE_NOT_FOUND");
    }

    async fn a_hold_beats_an_erasure(store: TestStore) {
        let house = House::over(store).await;
        let (question, _) = sealed(&house, 1).await;
        let (other, _) = sealed(&house, 2).await;
        let held = hold(&house, 1, 1, true).await.unwrap();
        assert!(held.holds[0].hold && held.holds[0].run_id == run(1));
        assert_eq!(hold(&house, 1, 1, true).await.unwrap(), held);
        assert_eq!(reason(hold(&house, 1, 1, false).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(reason(hold(&house, 2, 77, true).await), "TRACE_NOT_FOUND");
        let run_of = |number| pb::ErasePayloadsRequest { run_id: run(1), ..erasing(number) };
        assert_eq!(reason(erase(&house, run_of(1)).await), "LEGAL_HOLD");
        let both = pb::ErasePayloadsRequest { refs: vec![question.clone(), other.clone()], ..erasing(2) };
        let erased = erase(&house, both).await.unwrap();
        assert_eq!((erased.erased_count, erased.held_count), (1, 1), "of several, what is held stays");
        let all = pb::ErasePayloadsRequest { tenant: true, ..erasing(3) };
        let erased = erase(&house, all).await.unwrap();
        assert_eq!((erased.erased_count, erased.held_count), (1, 2));
        assert_eq!(get(&house, &question).await.unwrap().content, "question 1");
        hold(&house, 3, 1, false).await.unwrap();
        assert_eq!(erase(&house, run_of(4)).await.unwrap().erased_count, 2, "the newest order decides");
        let names: Vec<_> = house.published().await.into_iter().map(|event| event.r#type).collect();
        for name in ["logs.LegalHoldSet", "logs.LegalHoldReleased"] {
            assert_eq!(names.iter().filter(|n| *n == name).count(), 1);
        }
        assert_append_only(&house.db().await, "legal_holds").await;
    }

    /// Whoever comes first: what is erased was not held, and what is held can be read.
    async fn a_hold_beats_an_erasure_in_every_interleaving(store: TestStore) {
        let house = House::over(store).await;
        let (mut erased, mut kept) = (0, 0);
        for number in 1..=16 {
            let (question, _) = sealed(&house, number).await;
            let order = pb::ErasePayloadsRequest { run_id: run(number), ..erasing(number) };
            let (held, done) = if number % 2 == 0 {
                tokio::join!(hold(&house, number, number, true), erase(&house, order))
            } else {
                let (done, held) = tokio::join!(erase(&house, order), hold(&house, number, number, true));
                (held, done)
            };
            assert!(held.unwrap().holds[0].hold, "a hold is always taken");
            match done {
                Ok(done) => {
                    assert_eq!(done.erased_count, 2, "whole or not at all");
                    assert_eq!(reason(get(&house, &question).await), "PAYLOAD_ERASED");
                    erased += 1;
                }
                refused => {
                    assert_eq!(reason(refused), "LEGAL_HOLD");
                    assert_eq!(get(&house, &question).await.unwrap().content, format!("question {number}"));
                    kept += 1;
                }
            }
            let again = pb::ErasePayloadsRequest { run_id: run(number), ..erasing(100 + number) };
            assert_eq!(reason(erase(&house, again).await), "LEGAL_HOLD", "from now on it is held");
        }
        assert_eq!((erased + kept, told(&house, "logs.PayloadErased").await), (16, erased));
    }

    async fn a_person_is_held_and_erased_in_every_run(store: TestStore) {
        let house = House::over(store).await;
        let (_, first) = sealed(&house, 1).await;
        let (question, second) = sealed(&house, 2).await;
        let order = |id, hold| pb::SetLegalHoldRequest {
            request_id: test_id(10, id),
            subject: "person-7".into(),
            hold,
            reason: "a case before the court".into(),
            ..Default::default()
        };
        let held = order_hold(&house, order(1, true)).await.unwrap();
        assert_eq!(held.holds[0].subject_digest.len(), 32, "the tag itself is not kept");
        let person = |number| pb::ErasePayloadsRequest { subject: "person-7".into(), ..erasing(number) };
        assert_eq!(erase(&house, person(1)).await.unwrap().held_count, 2);
        let whole = pb::ErasePayloadsRequest { run_id: run(1), ..erasing(2) };
        assert_eq!(reason(erase(&house, whole).await), "LEGAL_HOLD", "their data is in it");
        order_hold(&house, order(2, false)).await.unwrap();
        assert_eq!(erase(&house, person(3)).await.unwrap().erased_count, 2);
        for reference in [&first, &second] {
            assert_eq!(reason(get(&house, reference).await), "PAYLOAD_ERASED");
        }
        assert_eq!(get(&house, &question).await.unwrap().content, "question 2", "about nobody");
        let nobody = pb::ErasePayloadsRequest { subject: "person-8".into(), ..erasing(4) };
        assert_eq!(erase(&house, nobody).await.unwrap().erased_count, 0);
    }

    async fn requests_are_judged_whole(store: TestStore) {
        let house = House::over(store).await;
        let wrong = pb::ErasePayloadsRequest { tenant: true, run_id: run(1), reason: "short".into(), ..Default::default() };
        let refused = erase(&house, wrong).await.unwrap_err();
        let told = details(&refused);
        assert_eq!(told.reason, "FIELD_INVALID");
        assert_eq!(told.fields.len(), 3, "selector, reason and request_id at once: {told:?}");
        let both = pb::SetLegalHoldRequest { run_ids: vec![run(1)], subject: "x".into(), ..Default::default() };
        assert_eq!(reason(order_hold(&house, both).await), "FIELD_INVALID");
        let nobody = pb::SetLegalHoldRequest { request_id: test_id(10, 1), subject: "x".into(), hold: true, reason: "a case before the court".into(), ..Default::default() };
        assert_eq!(reason(order_hold(&house, nobody).await), "PAYLOAD_NOT_FOUND");
    }

    async fn strict_erases_under_an_approval_only(store: TestStore) {
        let house = House::under(store, GovernanceProfile::Strict).await;
        sealed(&house, 1).await;
        let request = pb::ErasePayloadsRequest { run_id: run(1), ..erasing(1) };
        assert_eq!(reason(erase(&house, request.clone()).await), "APPROVAL_REQUIRED");
        let approved = pb::ErasePayloadsRequest { approval_id: test_id(11, 1), ..request };
        assert_eq!(erase(&house, approved).await.unwrap().erased_count, 2);
    }

    async fn a_payload_that_comes_too_late_leaves_no_reference(store: TestStore) {
        let house = House::over(store).await;
        begin(&house, 1, LOG_PROMPT).await;
        house.one(1, brings(0, vec![input("before")])).await.unwrap();
        erase(&house, pb::ErasePayloadsRequest { run_id: run(1), ..erasing(1) }).await.unwrap();
        house.one(1, brings(1, vec![input("after")])).await.unwrap();
        assert!(refs(&house, 1, 2).await.0.is_empty());
        let sql = "SELECT COUNT(*) FROM payloads WHERE ciphertext IS NOT NULL";
        assert_eq!(house.db().await.read().fetch_one::<(i64,)>(sql, args![]).await.unwrap().0, 0);
    }
}
