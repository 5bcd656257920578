//! Keys turned over and taken back, and what that does to everything they signed.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, KeyPurpose, ProofStatus, TrustBoundary};
use runspine_logs_domain::{
    bundle::{Against, Options, Verdict, verify_bundle},
    keys::parse_verifier_key,
};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant, test_id};
use runspine_types::{Digest, Micros, PLATFORM_TENANT};

use super::harness::{Answer, House, START, decision, reason};
use crate::witness::{config, cosign};

async fn rotate(house: &House, id: u64, purpose: KeyPurpose) -> Answer<pb::RotateKeyResponse> {
    let request = pb::RotateKeyRequest {
        purpose: purpose.into(),
        reason: "a year is over".into(),
        request_id: test_id(31, id),
    };
    let request = house.ask("KeyService/RotateKey", request);
    house.keys.clone().rotate_key(request).await.map(tonic::Response::into_inner)
}

fn revocation(id: u64, key_id: &str, revoked_from: Micros) -> pb::RevokeKeyRequest {
    pb::RevokeKeyRequest {
        key_id: key_id.to_owned(),
        revoked_from: Some(runspine_rpc::timestamp(revoked_from)),
        reason: "the disk was stolen".into(),
        request_id: test_id(32, id),
    }
}

async fn revoke(house: &House, request: pb::RevokeKeyRequest) -> Answer<pb::SigningKey> {
    let request = house.ask("KeyService/RevokeKey", request);
    house.keys.clone().revoke_key(request).await.map(|r| r.into_inner().key.unwrap())
}

async fn listed(house: &House, purpose: KeyPurpose) -> Vec<pb::SigningKey> {
    let request = house.ask("KeyService/ListKeys", pb::ListKeysRequest { purpose: purpose.into() });
    house.keys.clone().list_keys(request).await.unwrap().into_inner().keys
}

/// What the proof of a run says: the status, and the reason of the first trace that is not VERIFIED.
async fn proved(house: &House, number: u64) -> (ProofStatus, String) {
    let proof = house.prove(number).await;
    let bad = proof.proofs.iter().find(|p| p.status != i32::from(ProofStatus::Verified));
    (proof.overall(), bad.map(|p| p.reason.clone()).unwrap_or_default())
}

fn verified() -> (ProofStatus, String) {
    (ProofStatus::Verified, String::new())
}

fn refused() -> (ProofStatus, String) {
    (ProofStatus::Mismatch, "REVOKED_KEY".to_owned())
}

/// The newest checkpoint, cosigned by the witness.
async fn cosigned(house: &House) -> pb::Checkpoint {
    let checkpoint = house.checkpoint().await;
    let line = cosign(&checkpoint.note, 1_767_323_045);
    let request = pb::AddCosignatureRequest {
        tree_size: checkpoint.tree_size,
        signature_line: line,
        ..Default::default()
    };
    let request = house.ask("LedgerService/AddCosignature", request);
    house.ledger.clone().add_cosignature(request).await.unwrap();
    checkpoint
}

async fn told(house: &House, name: &str) -> Vec<String> {
    let events = house.published().await.into_iter().filter(|event| event.r#type == name);
    let mut tenants: Vec<_> = events.map(|event| event.tenant_id).collect();
    tenants.sort_unstable();
    tenants
}

async fn on_the_ledger(house: &House, name: &str) -> usize {
    let filter = pb::LedgerFilter { event_types: vec![name.into()], ..Default::default() };
    let request = pb::ListEntriesRequest { filter: Some(filter), ..Default::default() };
    let request = house.ask("LedgerService/ListEntries", request);
    house.ledger.clone().list_entries(request).await.unwrap().into_inner().entries.len()
}

on_both_engines! {
    /// Section 5: a seal under a retired key verifies; the next one signs at once, and after a restart.
    async fn a_retired_key_keeps_its_word(store: TestStore) {
        let house = House::over(store).await;
        let first = house.sealed_run(1).await.seal.unwrap().seal.unwrap();
        house.advance(1_000);
        let turned = rotate(&house, 1, KeyPurpose::Seal).await.unwrap();
        let (active, retired) = (turned.active.clone().unwrap(), turned.retired.clone().unwrap());
        assert_eq!(retired.key_id, first.key_id);
        assert!(retired.retired_at.is_some() && active.retired_at.is_none());
        assert_eq!(rotate(&house, 1, KeyPurpose::Seal).await.unwrap(), turned, "a repeat gets the first answer");
        assert_eq!(reason(rotate(&house, 1, KeyPurpose::Export).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(reason(rotate(&house, 2, KeyPurpose::Unspecified).await), "FIELD_INVALID");
        let second = house.sealed_run(2).await.seal.unwrap().seal.unwrap();
        assert_eq!(second.key_id, active.key_id);
        let house = house.again().await;
        let third = house.sealed_run(3).await.seal.unwrap().seal.unwrap();
        assert_eq!(third.key_id, active.key_id, "the new key outlives a restart");
        for number in 1..=3 {
            assert_eq!(proved(&house, number).await, verified());
        }
        assert_eq!(listed(&house, KeyPurpose::Seal).await.len(), 2);
        assert_eq!(told(&house, "logs.KeyRotated").await, [PLATFORM_TENANT.to_owned(), tenant(1)]);
        assert_eq!(on_the_ledger(&house, "logs.KeyRotated").await, 1);
        assert_append_only(&house.db().await, "signing_key_events").await;
    }

    /// What is sealed while keys turn is signed by the key that it names.
    async fn sealing_goes_on_while_keys_turn(store: TestStore) {
        let house = Arc::new(House::over(store).await);
        let sealing = (1..=12).map(|number| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.sealed_run(number).await.seal.unwrap().seal.unwrap().key_id })
        });
        let sealing: Vec<_> = sealing.collect();
        for id in 1..=6 {
            rotate(&house, id, KeyPurpose::Seal).await.unwrap();
        }
        for sealed in sealing {
            sealed.await.unwrap();
        }
        for number in 1..=12 {
            assert_eq!(proved(&house, number).await, verified());
        }
        assert_eq!(listed(&house, KeyPurpose::Seal).await.iter().filter(|key| key.retired_at.is_none()).count(), 1);
    }

    /// Section 5: under a revoked key a seal counts only where a cosigned checkpoint from before covers it.
    async fn a_revoked_key_counts_under_a_cosigned_checkpoint_only(store: TestStore) {
        let house = House::with(store, config(None)).await;
        house.sealed_run(1).await;
        let late = pb::AppendAddendumRequest {
            run_id: run(1),
            attempt: 1,
            reason: "it came late".into(),
            items: vec![decision("late", 9)],
            request_id: test_id(33, 1),
        };
        house.late(late).await.unwrap();
        cosigned(&house).await;
        assert_eq!(house.prove(1).await.trust_boundary(), TrustBoundary::External);
        house.advance(10_000);
        let uncovered = house.sealed_run(2).await.seal.unwrap().seal.unwrap();
        house.checkpoint().await;
        assert_eq!(house.prove(2).await.trust_boundary(), TrustBoundary::System, "nobody outside has seen it");
        let stolen = START.plus_millis(9_000);
        assert_eq!(reason(revoke(&house, revocation(1, &uncovered.key_id, stolen)).await), "KEY_ACTIVE");
        assert_eq!(reason(revoke(&house, revocation(2, &"0".repeat(32), stolen)).await), "KEY_NOT_FOUND");
        let ahead = START.plus_millis(3_600_000);
        assert_eq!(reason(revoke(&house, revocation(3, &uncovered.key_id, ahead)).await), "FIELD_INVALID");
        rotate(&house, 1, KeyPurpose::Seal).await.unwrap();
        house.sealed_run(3).await;
        let revoked = revoke(&house, revocation(4, &uncovered.key_id, stolen)).await.unwrap();
        assert!(revoked.verifier_key.ends_with(" revoked"));
        assert_eq!(revoke(&house, revocation(4, &uncovered.key_id, stolen)).await.unwrap(), revoked);
        assert_eq!(proved(&house, 1).await, verified(), "main trace and addendum were there before");
        assert_eq!(proved(&house, 2).await, refused());
        assert_eq!(proved(&house, 3).await, verified(), "the next key is trusted");
        // A witness that comes too late vouches for nothing.
        cosigned(&house).await;
        assert_eq!(proved(&house, 2).await, refused());
        // An earlier time than that of the checkpoint takes its word, too; a later one changes nothing.
        let later = revoke(&house, revocation(5, &uncovered.key_id, START.plus_millis(9_500))).await.unwrap();
        assert_eq!(later.revoked_from, revoked.revoked_from);
        revoke(&house, revocation(6, &uncovered.key_id, START.plus_millis(-1))).await.unwrap();
        assert_eq!(proved(&house, 1).await, refused());
        assert_eq!(told(&house, "logs.KeyRevoked").await.len(), 4, "twice, to the mesh and to the tenant");
        let house = house.again_with(config(None)).await;
        assert_eq!(proved(&house, 3).await, verified());
    }

    /// A published note counts as a cosigned one does, and only while it is there and says the same.
    async fn a_published_checkpoint_vouches_too(store: TestStore) {
        let notes = tempfile::tempdir().unwrap();
        let house = House::with(store, config(Some(notes.path()))).await;
        let key_id = house.sealed_run(1).await.seal.unwrap().seal.unwrap().key_id;
        let checkpoint = house.checkpoint().await;
        house.advance(5_000);
        rotate(&house, 1, KeyPurpose::Seal).await.unwrap();
        revoke(&house, revocation(1, &key_id, START.plus_millis(4_000))).await.unwrap();
        assert_eq!(proved(&house, 1).await, verified());
        std::fs::remove_file(notes.path().join(tenant(1)).join(format!("{}.note", checkpoint.tree_size))).unwrap();
        assert_eq!(proved(&house, 1).await, refused());
    }

    /// Offline the same: what is under the checkpoint that an auditor held before still counts.
    async fn a_bundle_under_a_revoked_key_needs_the_auditors_checkpoint(store: TestStore) {
        let house = House::over(store).await;
        let key_id = house.sealed_run(1).await.seal.unwrap().seal.unwrap().key_id;
        let held = house.checkpoint().await;
        house.advance(5_000);
        rotate(&house, 1, KeyPurpose::Seal).await.unwrap();
        revoke(&house, revocation(1, &key_id, START.plus_millis(4_000))).await.unwrap();
        let newest = house.checkpoint().await;
        let file = house.bundle(1, false, Vec::new()).await.unwrap();
        let keys = listed(&house, KeyPurpose::Unspecified).await;
        let trusted = keys.iter().map(|key| parse_verifier_key(&key.verifier_key).unwrap()).collect();
        let options = Options { trusted, tenant_id: Some(tenant(1)), against: None };
        let report = verify_bundle(file.as_slice(), &options).unwrap();
        assert_eq!(report.verdict, Verdict::Failed);
        assert!(report.findings.iter().any(|f| f.code == "REVOKED_KEY"), "{:?}", report.findings);
        let request = pb::GetConsistencyProofRequest {
            from_size: held.tree_size,
            to_size: newest.tree_size,
            ..Default::default()
        };
        let request = house.ask("LedgerService/GetConsistencyProof", request);
        let proof = house.ledger.clone().get_consistency_proof(request).await.unwrap().into_inner();
        let consistency = proof.hashes.iter().map(|hash| Digest::from_slice(hash).unwrap()).collect();
        let against = Some(Against { note: held.note, consistency });
        let report = verify_bundle(file.as_slice(), &Options { against, ..options }).unwrap();
        assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);
    }

    /// Every purpose turns over, and what the keys before signed stays good.
    async fn every_key_turns(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.checkpoint().await;
        for (id, purpose) in
            [KeyPurpose::Seal, KeyPurpose::Checkpoint, KeyPurpose::Export, KeyPurpose::Certificate].into_iter().enumerate()
        {
            let before = listed(&house, purpose).await;
            let turned = rotate(&house, id as u64, purpose).await.unwrap();
            assert_eq!(turned.retired.unwrap().key_id, before[0].key_id);
            assert_ne!(turned.active.unwrap().key_id, before[0].key_id);
        }
        house.checkpoint().await;
        let file = house.bundle(1, false, Vec::new()).await.unwrap();
        let keys = listed(&house, KeyPurpose::Unspecified).await;
        let trusted = keys.iter().map(|key| parse_verifier_key(&key.verifier_key).unwrap()).collect();
        let options = Options { trusted, tenant_id: Some(tenant(1)), against: None };
        let report = verify_bundle(file.as_slice(), &options).unwrap();
        assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);
        assert_eq!(proved(&house, 1).await, verified());
    }

    /// The next key that somebody put there is taken; one that can't be read stops the rotation, and nothing is written.
    async fn the_next_key_is_what_lies_beside_the_present_one(store: TestStore) {
        let house = House::over(store).await;
        let next = house.keys_folder().join("seal.pem.next");
        std::fs::write(&next, "no key").unwrap();
        assert_eq!(reason(rotate(&house, 1, KeyPurpose::Seal).await), "KEY_UNAVAILABLE");
        assert_eq!(listed(&house, KeyPurpose::Seal).await.len(), 1);
        std::fs::remove_file(&next).unwrap();
        rotate(&house, 1, KeyPurpose::Seal).await.unwrap();
        assert!(!next.exists(), "it is in its place");
    }
}
