//! A small bundle, every byte of it changed.

use bytes::Bytes;
use contracts_common::common::v1::{ContractVerdict, RunStatus, TerminationReason};
use contracts_logs::v1::{self as pb, KeyPurpose, contract_entry, trace_record};
use ed25519_dalek::SigningKey;
use runspine_logs_domain::{
    behaviour::Behaviour,
    bundle::{Against, Builder, Head, Item, Options, Verdict, verify_bundle},
    bytes::encode,
    chain,
    keys::{self, Signed, TrustedKey, key_id, seal_digest},
    merkle::Tree,
    note::Checkpoint,
};
use runspine_types::{Digest, Micros};

use crate::vector::{contract_entries, decision_record, header, id, signing_key, step_record};

/// The keys of a mesh.
pub(crate) struct Keys {
    pub seal: SigningKey,
    pub checkpoint: SigningKey,
    pub export: SigningKey,
}

pub(crate) fn mesh_keys() -> Keys {
    Keys {
        seal: signing_key(),
        checkpoint: SigningKey::from_bytes(&[8; 32]),
        export: SigningKey::from_bytes(&[9; 32]),
    }
}

impl Keys {
    pub fn trusted(&self) -> Vec<TrustedKey> {
        let all = [
            (&self.seal, KeyPurpose::Seal),
            (&self.checkpoint, KeyPurpose::Checkpoint),
            (&self.export, KeyPurpose::Export),
        ];
        let trust = |(key, purpose): (&SigningKey, _)| {
            let public_key = key.verifying_key().to_bytes();
            TrustedKey { purpose, key_id: key_id(&public_key), public_key, revoked: false }
        };
        all.into_iter().map(trust).collect()
    }
}

/// An item with its section.
pub(crate) type Part = (&'static str, Item);

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn item(t: &str, attempt: Option<u32>, addendum: Option<u32>, bytes: Vec<u8>, link: Option<Digest>) -> Item {
    Item { t: t.to_owned(), attempt, addendum, bytes: bytes.into(), link }
}

/// The contract of the vector with a FINAL verdict, entry by entry with links.
fn contract(tenant: &str) -> Vec<(Vec<u8>, Digest)> {
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
    let mut last = chain::contract_start(tenant, "run", &id("aa"), 1);
    let linked = |entry: pb::ContractEntry| {
        let bytes = encode(&entry);
        last = chain::contract_link(&last, &bytes);
        (bytes, last)
    };
    [first, second, verdict].into_iter().map(linked).collect()
}

/// The parts of the bundle of a run with `steps` steps.
pub(crate) fn parts(tenant: &str, steps: u32, keys: &Keys) -> Vec<Part> {
    let mut parts = vec![("schema", item("descriptor_set", None, None, vec![1, 2, 3], None))];
    for key in keys.trusted() {
        let message = pb::SigningKey {
            key_id: key.key_id.clone(),
            purpose: key.purpose.into(),
            public_key: Bytes::copy_from_slice(&key.public_key),
            ..Default::default()
        };
        parts.push(("keys", item(&key.key_id, None, None, encode(&message), None)));
    }
    let head = encode(&pb::TraceHeader { tenant_id: tenant.to_owned(), ..header() });
    let (mut link, mut behaviour, mut documents) = (chain::trace_start(&head), Behaviour::new(), Vec::new());
    parts.push(("trace", item("header", Some(1), Some(0), head, Some(link))));
    for record in (0..steps).flat_map(records) {
        if let Some(trace_record::Body::Step(step)) = &record.body {
            behaviour.step(record.step_index.unwrap_or(0), record.position, step);
        }
        if let Some(trace_record::Body::Decision(decision)) = &record.body {
            let row = format!(r#"{{"decision_id":"{}","verdict":"ALLOW"}}"#, decision.decision_id);
            documents.push(("decision", item(&decision.decision_id, None, None, row.into_bytes(), None)));
            let inputs = format!("{}.inputs", decision.decision_id);
            documents.push(("decision", item(&inputs, None, None, b"what was asked".to_vec(), None)));
        }
        let bytes = encode(&record);
        link = chain::trace_link(&link, &bytes);
        parts.push(("trace", item("record", Some(1), Some(0), bytes, Some(link))));
    }
    let (entries, evidence) = (contract(tenant), evidence(tenant));
    let seal = encode(&pb::TraceSeal {
        tenant_id: tenant.to_owned(),
        behaviour_signature: raw(behaviour.signature()),
        contract_link: raw(entries[2].1),
        evidence_count: 2,
        evidence_link: raw(evidence[1].1),
        ..seal(steps, link, &keys.seal)
    });
    let (signature, digest) = (keys::sign(&keys.seal, Signed::Seal, &seal).to_vec(), seal_digest(&seal));
    parts.push(("seal", item("seal", Some(1), Some(0), seal, None)));
    parts.push(("seal", item("signature", Some(1), Some(0), signature, None)));
    parts.extend(documents);
    let chained = |(bytes, link): (Vec<u8>, Digest), t: &str| item(t, Some(1), None, bytes, Some(link));
    parts.extend(entries.into_iter().map(|entry| ("contract", chained(entry, "entry"))));
    parts.extend(evidence.into_iter().map(|entry| ("evidence", chained(entry, "item"))));
    parts.extend(Ledger::of(tenant, digest).parts(keys));
    parts
}

/// A decision and its step: those of the vector, further on.
fn records(n: u32) -> [pb::TraceRecord; 2] {
    let (mut decision, mut step) = (decision_record(), step_record());
    for (record, position) in [(&mut decision, 2 * n + 1), (&mut step, 2 * n + 2)] {
        record.position = position.into();
        record.record_id = id(&format!("e{position:x}"));
        record.step_index = Some(n);
        record.idempotency_key = format!("req-{position}");
    }
    let name = id(&format!("d{n:x}"));
    if let Some(trace_record::Body::Decision(decision)) = &mut decision.body {
        decision.decision_id.clone_from(&name);
    }
    if let Some(trace_record::Body::Step(step)) = &mut step.body {
        step.decision_id = name;
    }
    [decision, step]
}

fn evidence(tenant: &str) -> Vec<(Vec<u8>, Digest)> {
    let mut last = chain::evidence_start(tenant, &id("aa"), 1);
    let linked = |bytes: &[u8]| {
        last = chain::evidence_link(&last, bytes);
        (bytes.to_vec(), last)
    };
    [b"what the machine was".as_slice(), b"what the provider said"].into_iter().map(linked).collect()
}

/// The ledger of a tenant: six entries, of which the second and the fifth are the run's, and the fifth tells of its seal.
pub(crate) struct Ledger {
    tenant: String,
    entries: Vec<Vec<u8>>,
    links: Vec<Digest>,
    tree: Tree,
}

impl Ledger {
    pub fn of(tenant: &str, seal: Digest) -> Self {
        let (mut links, mut entries, mut tree) =
            (vec![chain::ledger_start(tenant)], Vec::new(), Tree::default());
        for seq in 1..=6_u64 {
            let entry = encode(&pb::LedgerEntry {
                seq,
                tenant_id: tenant.to_owned(),
                run_id: if seq % 3 == 2 { id("aa") } else { id("ab") },
                event_type: "logs.TraceSealed".into(),
                after_digest: if seq == 5 { raw(seal) } else { Bytes::new() },
                ..Default::default()
            });
            links.push(chain::ledger_link(&links[links.len() - 1], &entry));
            entries.push(entry);
        }
        tree.leaves(0, &links[1..]);
        Self { tenant: tenant.to_owned(), entries, links, tree }
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: format!("mesh.example/{}", self.tenant),
            size,
            root: self.tree.root(size).unwrap(),
        }
    }

    /// The checkpoint over the first `size` entries, as somebody holds it who got it when there were no more.
    pub fn held(&self, size: u64, keys: &Keys) -> Against {
        let consistency = if size == 6 { Vec::new() } else { self.tree.consistency(size, 6).unwrap() };
        Against { note: self.checkpoint(size).sign(&keys.checkpoint), consistency }
    }

    /// The entries of the run with their paths, and the checkpoint over all.
    fn parts(&self, keys: &Keys) -> Vec<Part> {
        let mut parts = Vec::new();
        for seq in [2_u64, 5] {
            let place = usize::try_from(seq).unwrap();
            let path = encode(&pb::LedgerInclusion {
                seq,
                tree_size: 6,
                previous_link: raw(self.links[place - 1]),
                hashes: self.tree.inclusion(seq - 1, 6).unwrap().into_iter().map(raw).collect(),
            });
            let entry = self.entries[place - 1].clone();
            parts.push(("ledger", item("entry", None, None, entry, Some(self.links[place]))));
            parts.push(("ledger", item("path", None, None, path, None)));
        }
        let note = self.checkpoint(6).sign(&keys.checkpoint).into_bytes();
        parts.push(("checkpoint", item("note", None, None, note, None)));
        parts
    }
}

/// The file of some parts, signed by `export`.
pub(crate) fn file(tenant: &str, parts: &[Part], export: &SigningKey) -> Vec<u8> {
    let mut builder = Builder::new(Head {
        bundle_id: id("b1"),
        tenant_id: tenant.to_owned(),
        run_id: id("aa"),
        created_at: Micros(1_767_323_047_000_000),
        created_by: "auditor".into(),
        exporter: "test".into(),
        reason: String::new(),
    });
    for (section, item) in parts {
        builder.push(section, item.clone());
    }
    let sign = |manifest: &[u8]| {
        let signature = keys::sign(export, Signed::Bundle, manifest);
        Ok::<_, ()>((key_id(export.verifying_key().as_bytes()), signature))
    };
    builder.finish(sign).unwrap().flatten().collect()
}

fn small() -> (Vec<u8>, Options) {
    let keys = mesh_keys();
    let file = file(&id("1"), &parts(&id("1"), 1, &keys), &keys.export);
    (file, Options { trusted: keys.trusted(), ..Options::default() })
}

/// The seal of a run with `steps` steps, without what its contract and evidence are.
fn seal(steps: u32, last_link: Digest, key: &SigningKey) -> pb::TraceSeal {
    pb::TraceSeal {
        format: 1,
        run_id: id("aa"),
        attempt: 1,
        trace_id: id("bb"),
        record_count: u64::from(steps) * 2,
        last_link: raw(last_link),
        run_status: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        key_id: key_id(key.verifying_key().as_bytes()),
        contract_entry_count: 3,
        contract_status: ContractVerdict::Complete.into(),
        step_count: steps.into(),
        decision_count: steps.into(),
        cost_microusd: i64::from(steps) * 1_500,
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
