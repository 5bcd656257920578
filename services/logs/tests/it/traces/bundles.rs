//! Bundles: built by the service, verified without it, and every byte of them changed.

use contracts_logs::v1::{self as pb, KeyPurpose};
use runspine_logs_domain::{
    bundle::{Against, Options, Report, Verdict, verify_bundle},
    keys::{TrustedKey, parse_verifier_key},
};
use runspine_testkit::{TestStore, on_both_engines, tenant};
use runspine_types::Digest;

use super::harness::{House, decision, reason};

fn document(id: &str) -> pb::DecisionDocument {
    pb::DecisionDocument {
        decision_id: id.into(),
        row_json: format!(r#"{{"decision_id":"{id}","effective_verdict":"ALLOW"}}"#),
        inputs: format!("inputs of {id}").into_bytes().into(),
    }
}

/// The keys of a house, as an auditor got them.
pub async fn trusted(house: &House) -> Vec<TrustedKey> {
    let mut client = house.keys.clone();
    let keys = client.list_keys(house.ask("KeyService/ListKeys", pb::ListKeysRequest::default()));
    let keys = keys.await.unwrap().into_inner().keys;
    keys.iter().map(|key| parse_verifier_key(&key.verifier_key).unwrap()).collect()
}

async fn bundle_of(store: TestStore) -> (House, Vec<u8>, Options) {
    let house = House::over(store).await;
    house.sealed_run(1).await;
    house.checkpoint().await;
    let file = house.bundle(1, false, vec![document("d1"), document("d2")]).await.unwrap();
    let options = Options { trusted: trusted(&house).await, tenant_id: Some(tenant(1)), against: None };
    (house, file, options)
}

fn check(file: &[u8], options: &Options) -> Report {
    verify_bundle(file, options).unwrap()
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.findings.iter().filter(|f| !f.warning).map(|f| f.code).collect()
}

/// The lines of a file without those that `drop` names.
fn without(file: &[u8], drop: impl Fn(&str) -> bool) -> Vec<u8> {
    let lines = std::str::from_utf8(file).unwrap().lines().filter(|line| !drop(line));
    lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

on_both_engines! {
    async fn a_clean_bundle_verifies_without_a_server(store: TestStore) {
        let (house, file, options) = bundle_of(store).await;
        let report = check(&file, &options);
        assert_eq!((report.verdict, report.verdict.exit_code()), (Verdict::Verified, 0), "{:?}", report.findings);
        assert_eq!(report.proofs.len(), 1);
        assert!(report.findings.is_empty(), "nothing is missing: {:?}", report.findings);
        let nobody = Options { tenant_id: None, ..Options::default() };
        assert_eq!(check(&file, &nobody).verdict, Verdict::Untrusted);
        let stranger = Options { tenant_id: Some(tenant(2)), ..options.clone() };
        assert_eq!(codes(&check(&file, &stranger)), ["FOREIGN_TENANT"]);
        let wrong_purpose = Options {
            trusted: options.trusted.iter().filter(|k| k.purpose != KeyPurpose::Seal).cloned().collect(),
            ..options.clone()
        };
        assert_eq!(codes(&check(&file, &wrong_purpose)), ["UNKNOWN_KEY"]);
        let unanchored = Options {
            trusted: options.trusted.iter().filter(|k| k.purpose != KeyPurpose::Checkpoint).cloned().collect(),
            ..options.clone()
        };
        assert_eq!(codes(&check(&file, &unanchored)), ["UNKNOWN_KEY"]);
        let again = house.bundle(1, false, vec![document("d2"), document("d1")]).await.unwrap();
        let stable = |file: &[u8]| without(file, |line| line.contains(r#""s":"manifest"#));
        assert_eq!(stable(&file), stable(&again), "exporting twice gives the same items");
    }

    /// The ledger entries of a run lead to the checkpoint, and the checkpoint is held against the one that an auditor has.
    async fn entries_lead_to_the_checkpoint(store: TestStore) {
        let (house, file, options) = bundle_of(store).await;
        let own = house.checkpoint().await;
        let against = |note: &str, consistency: &[bytes::Bytes]| {
            let consistency = consistency.iter().map(|hash| Digest::from_slice(hash).unwrap()).collect();
            let against = Some(Against { note: note.to_owned(), consistency });
            codes(&check(&file, &Options { against, ..options.clone() }))
        };
        assert_eq!(against(&own.note, &[]), Vec::<&str>::new());
        assert_eq!(against("no note", &[]), ["CHECKPOINT_FORK"]);
        house.sealed_run(2).await;
        let later = house.checkpoint().await;
        assert_eq!(against(&later.note, &[]), ["CHECKPOINT_UNCOMPARED"]);
        let ask = pb::GetConsistencyProofRequest { from_size: own.tree_size, ..Default::default() };
        let ask = house.ask("LedgerService/GetConsistencyProof", ask);
        let proof = house.ledger.clone().get_consistency_proof(ask).await.unwrap().into_inner();
        assert_eq!(against(&later.note, &proof.hashes), Vec::<&str>::new());
        let forged = later.note.replace(&format!("\n{}\n", later.tree_size), &format!("\n{}\n", later.tree_size + 1));
        assert_eq!(against(&forged, &proof.hashes), ["CHECKPOINT_FORK"]);
        // A bundle that is made before a checkpoint covers its entries says so.
        house.sealed_run(3).await;
        let early = house.bundle(3, false, vec![document("d1"), document("d2")]).await.unwrap();
        let report = check(&early, &options);
        assert_eq!(report.verdict, Verdict::Verified, "{:?}", report.findings);
        assert_eq!(report.findings.iter().map(|f| f.code).collect::<Vec<_>>(), ["MISSING"]);
        let line = |t: &str| format!(r#"{{"s":"ledger","n":{t},"#);
        let found = codes(&check(&without(&file, |l| l.starts_with(&line("1"))), &options));
        assert!(found.contains(&"INCLUSION"), "{found:?}");
        let found = codes(&check(&without(&file, |l| l.starts_with(r#"{"s":"checkpoint""#)), &options));
        assert!(found.contains(&"CHECKPOINT_MISSING"), "{found:?}");
    }

    async fn an_open_trace_is_bundled_only_when_asked(store: TestStore) {
        let house = House::over(store).await;
        assert_eq!(reason(house.bundle(1, false, Vec::new()).await), "TRACE_NOT_FOUND");
        house.begin(1).await;
        house.one(1, decision("d1", 0)).await.unwrap();
        assert_eq!(reason(house.bundle(1, false, Vec::new()).await), "NOT_SEALED");
        let file = house.bundle(1, true, Vec::new()).await.unwrap();
        let options = Options { trusted: trusted(&house).await, ..Options::default() };
        let report = check(&file, &options);
        assert_eq!((report.verdict, report.verdict.exit_code()), (Verdict::Unsealed, 4), "{:?}", report.findings);
        assert!(report.findings.iter().any(|f| f.code == "DECISION_MISSING" && f.warning));
    }

    async fn damage_has_a_name(store: TestStore) {
        let (_house, file, options) = bundle_of(store).await;
        let failed = |file: &[u8]| {
            let report = check(file, &options);
            assert_eq!((report.verdict, report.verdict.exit_code()), (Verdict::Failed, 1));
            codes(&report)
        };
        let record = |n: usize| format!(r#"{{"s":"trace","n":{n},"#);
        let found = failed(&without(&file, |line| line.starts_with(&record(3))));
        assert!(found.contains(&"POSITION_GAP") && found.contains(&"SECTION_DIGEST"), "{found:?}");
        let found = failed(&without(&file, |line| line.starts_with(&record(5))));
        assert!(found.contains(&"SEAL_COUNT"), "{found:?}");
        let found = failed(&without(&file, |line| line.starts_with(r#"{"s":"seal""#)));
        assert!(found.contains(&"SEAL_MISSING") && found.contains(&"SECTION_DIGEST"), "{found:?}");
        let found = failed(&without(&file, |line| line.starts_with(r#"{"s":"end""#)));
        assert_eq!(found, ["TRUNCATED_FILE"]);
        let found = failed(&file[..file.len() / 2]);
        assert!(found.contains(&"TRUNCATED_FILE"), "{found:?}");
        let found = failed(&without(&file, |line| line.starts_with(r#"{"s":"decision","n":0"#)));
        assert!(found.contains(&"DECISION_MISSING"), "{found:?}");
        let found = failed(&without(&file, |line| line.starts_with(r#"{"s":"manifest_signature""#)));
        assert!(found.contains(&"MANIFEST_SIGNATURE"), "{found:?}");
        let doubled = std::str::from_utf8(&file).unwrap().replace(r#""s":"end""#, r#""s":"end","s":"end""#);
        assert!(failed(doubled.as_bytes()).contains(&"MALFORMED"));
        let mut trailing = file.clone();
        trailing.extend_from_slice(b" ");
        assert_eq!(failed(&trailing), ["MALFORMED"]);
    }
}

/// Changes bytes all over a real file, each by one bit; the domain's own suite changes every byte of a small one. The
/// schema is most of the file and is covered by one digest, so few of its bytes are taken.
#[test]
fn no_byte_can_change_unseen() {
    runspine_testkit::on_engine(runspine_testkit::SQLITE, |store| {
        Box::pin(async move {
            let (_house, file, options) = bundle_of(store).await;
            let text = std::str::from_utf8(&file).unwrap();
            let (schema, keys) =
                (text.find(r#"{"s":"schema""#).unwrap(), text.find(r#"{"s":"keys""#).unwrap());
            let body = (0..schema).chain(keys..file.len()).step_by(41);
            let places: Vec<usize> = body.chain((schema..keys).step_by((keys - schema) / 7)).collect();
            assert!(places.len() > 100, "{} bytes are changed", places.len());
            for place in places {
                let mut damaged = file.clone();
                damaged[place] ^= 1 << (place % 7);
                let report = check(&damaged, &options);
                assert_eq!(report.verdict, Verdict::Failed, "byte {place} of {}", file.len());
                assert!(report.findings.iter().any(|f| !f.warning), "byte {place} has no finding");
            }
        })
    });
}
