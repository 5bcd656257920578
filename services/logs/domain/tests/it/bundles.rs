//! A small bundle, every byte of it changed.

use bytes::Bytes;
use contracts_common::common::v1::{ContractVerdict, RunStatus, TerminationReason};
use contracts_logs::v1::{self as pb, KeyPurpose, contract_entry};
use ed25519_dalek::SigningKey;
use runspine_logs_domain::{
    behaviour::Behaviour,
    bundle::{Builder, Head, Item, Options, Verdict, verify_bundle},
    bytes::encode,
    chain,
    keys::{self, Signed, TrustedKey, key_id},
};
use runspine_types::{Digest, Micros};

use crate::vector::{contract_entries, decision_record, header, id, signing_key, step_record};

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn trusted(key: &SigningKey, purpose: KeyPurpose) -> TrustedKey {
    let public_key = key.verifying_key().to_bytes();
    TrustedKey { purpose, key_id: key_id(&public_key), public_key }
}

fn item(t: &str, attempt: Option<u32>, addendum: Option<u32>, bytes: Vec<u8>, link: Option<Digest>) -> Item {
    Item { t: t.to_owned(), attempt, addendum, bytes: bytes.into(), link }
}

/// The contract of the vector with a FINAL verdict, entry by entry with links.
fn contract() -> Vec<(Vec<u8>, Digest)> {
    let [first, second] = contract_entries();
    let verdict = pb::ContractEntry {
        seq: 3,
        recorded_at: second.recorded_at,
        entry_id: id("c3"),
        actor_id: "logs".into(),
        body: Some(contract_entry::Body::Verdict(pb::ContractJudgement {
            pass: pb::ReconcilePass::Final.into(),
            status: ContractVerdict::Complete.into(),
            findings: Vec::new(),
        })),
    };
    let mut last = chain::contract_start(&id("1"), "run", &id("aa"), 1);
    let linked = |entry: pb::ContractEntry| {
        let bytes = encode(&entry);
        last = chain::contract_link(&last, &bytes);
        (bytes, last)
    };
    [first, second, verdict].into_iter().map(linked).collect()
}

fn small() -> (Vec<u8>, Options) {
    let (seal_key, export_key) = (signing_key(), SigningKey::from_bytes(&[9; 32]));
    let mut builder = Builder::new(Head {
        bundle_id: id("b1"),
        tenant_id: id("1"),
        run_id: id("aa"),
        created_at: Micros(1_767_323_047_000_000),
        created_by: "auditor".into(),
        exporter: "test".into(),
        reason: String::new(),
    });
    builder.push("schema", item("descriptor_set", None, None, vec![1, 2, 3], None));
    for (key, purpose) in [(&seal_key, KeyPurpose::Seal), (&export_key, KeyPurpose::Export)] {
        let key = trusted(key, purpose);
        let public_key = Bytes::copy_from_slice(&key.public_key);
        let message = pb::SigningKey {
            key_id: key.key_id.clone(),
            purpose: purpose.into(),
            public_key,
            ..Default::default()
        };
        builder.push("keys", item(&key.key_id, None, None, encode(&message), None));
    }
    let (head, first, second) = (encode(&header()), encode(&decision_record()), encode(&step_record()));
    let link_0 = chain::trace_start(&head);
    let link_1 = chain::trace_link(&link_0, &first);
    let link_2 = chain::trace_link(&link_1, &second);
    builder.push("trace", item("header", Some(1), Some(0), head, Some(link_0)));
    builder.push("trace", item("record", Some(1), Some(0), first, Some(link_1)));
    builder.push("trace", item("record", Some(1), Some(0), second, Some(link_2)));
    let entries = contract();
    let seal = encode(&seal(link_2, entries[2].1, &seal_key));
    let signature = keys::sign(&seal_key, Signed::Seal, &seal).to_vec();
    builder.push("seal", item("seal", Some(1), Some(0), seal, None));
    builder.push("seal", item("signature", Some(1), Some(0), signature, None));
    let row = format!(r#"{{"decision_id":"{}","verdict":"ALLOW"}}"#, id("d1"));
    builder.push("decision", item(&id("d1"), None, None, row.into_bytes(), None));
    for (bytes, link) in entries {
        builder.push("contract", item("entry", Some(1), None, bytes, Some(link)));
    }
    let sign = |manifest: &[u8]| {
        let signature = keys::sign(&export_key, Signed::Bundle, manifest);
        Ok::<_, ()>((key_id(export_key.verifying_key().as_bytes()), signature))
    };
    let file = builder.finish(sign).unwrap().flatten().collect();
    let trusted = vec![trusted(&seal_key, KeyPurpose::Seal), trusted(&export_key, KeyPurpose::Export)];
    (file, Options { trusted, tenant_id: None })
}

fn seal(last_link: Digest, contract_link: Digest, key: &SigningKey) -> pb::TraceSeal {
    let mut behaviour = Behaviour::new();
    if let Some(pb::trace_record::Body::Step(step)) = &step_record().body {
        behaviour.step(0, 2, step);
    }
    pb::TraceSeal {
        format: 1,
        tenant_id: id("1"),
        run_id: id("aa"),
        attempt: 1,
        trace_id: id("bb"),
        record_count: 2,
        last_link: raw(last_link),
        run_status: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        key_id: key_id(key.verifying_key().as_bytes()),
        behaviour_signature: raw(behaviour.signature()),
        contract_entry_count: 3,
        contract_link: raw(contract_link),
        contract_status: ContractVerdict::Complete.into(),
        step_count: 1,
        decision_count: 1,
        cost_microusd: 1_500,
        ..Default::default()
    }
}

#[test]
fn a_bundle_is_verified_and_no_byte_of_it_can_change() {
    let (file, options) = small();
    let clean = verify_bundle(file.as_slice(), &options).unwrap();
    assert_eq!(clean.verdict, Verdict::Verified, "{:?}", clean.findings);
    let mut inside = false;
    for place in 0..file.len() {
        // Inside base64 every byte is covered by the same digest: every 31st is changed, outside every one.
        if file[place..].starts_with(br#""b":""#) {
            inside = true;
        } else if file[place..].starts_with(br#"","l""#) || file[place..].starts_with(b"\"}") {
            inside = false;
        }
        if inside && place % 31 != 0 {
            continue;
        }
        let mut damaged = file.clone();
        damaged[place] ^= 1 << (place % 7);
        let report = verify_bundle(damaged.as_slice(), &options).unwrap();
        let line = file[..place].iter().filter(|b| **b == b'\n').count() + 1;
        assert_eq!(report.verdict, Verdict::Failed, "byte {place}, line {line}");
        assert!(report.findings.iter().any(|f| !f.warning));
    }
}
