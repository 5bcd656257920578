//! The worked vector of the trace format: every byte string, digest, link and signature of it.

use std::collections::HashMap;

use bytes::Bytes;
use contracts_common::common::v1::{
    AckStatus, ActorType, ContractVerdict, DecisionSource, Directive, GovernanceProfile, RunPhase, RunSource,
    RunStatus, StepKind, StepOutcome, TerminationReason, Verdict,
};
use contracts_logs::v1::{self as pb, contract_entry, trace_record};
use ed25519_dalek::SigningKey;
use prost::Message;
use prost_types::Timestamp;
use runspine_logs_domain::{behaviour::Behaviour, bundle, bytes::encode, chain, keys, merkle};
use runspine_types::{Digest, hash};

const START: i64 = 1_767_323_045;
const INPUT: &[u8] = br#"{"city":"Lisbon"}"#;
const OUTPUT: &[u8] = br#"{"celsius":21}"#;

pub(crate) fn expected() -> HashMap<&'static str, Vec<u8>> {
    let text = include_str!("vector.txt");
    text.lines().map(|l| l.split_once(' ').unwrap()).map(|(k, v)| (k, hex::decode(v).unwrap())).collect()
}

pub(crate) fn id(suffix: &str) -> String {
    format!("0190c3a0-0000-7000-8000-{suffix:0>12}")
}

fn at(seconds: i64, micros: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: micros * 1_000 })
}

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

pub(crate) fn salt() -> Vec<u8> {
    (0..32).collect()
}

pub(crate) fn parameter_key() -> Vec<u8> {
    (32..64).collect()
}

pub(crate) fn header() -> pb::TraceHeader {
    pb::TraceHeader {
        format: 1,
        tenant_id: id("1"),
        run_id: id("aa"),
        attempt: 1,
        trace_id: id("bb"),
        agent_id: "agent-7".into(),
        profile: GovernanceProfile::Strict as i32,
        policy_snapshot_id: "ps-7".into(),
        policy_snapshot_digest: raw(hash(b"policy snapshot 7")),
        governance_config_version: "3".into(),
        governance_config_digest: raw(hash(b"governance config 3")),
        seed: 42,
        started_at: at(START, 0),
        salt_commitment: raw(chain::salt_commitment(&salt())),
        source: RunSource::Agent as i32,
        ..Default::default()
    }
}

pub(crate) fn decision_record() -> pb::TraceRecord {
    pb::TraceRecord {
        position: 1,
        record_id: id("e1"),
        step_index: Some(0),
        occurred_at: at(START, 6),
        recorded_at: at(START, 9),
        actor_type: ActorType::Agent as i32,
        actor_id: "agent-7".into(),
        idempotency_key: "req-1".into(),
        body: Some(trace_record::Body::Decision(pb::Decision {
            decision_id: id("d1"),
            verdict: Verdict::Allow as i32,
            directive: Directive::Continue as i32,
            kind: StepKind::ToolCall as i32,
            name: "weather.get".into(),
            input_digest: raw(chain::payload_digest(&salt(), INPUT)),
            parameters_digest: raw(chain::parameters_digest(&parameter_key(), INPUT)),
            source: DecisionSource::Policy as i32,
            reason: "RULE_ALLOW".into(),
            rule_ids: vec!["rule-1".into()],
            policy_snapshot_digest: raw(hash(b"policy snapshot 7")),
            hold_id: id("f1"),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub(crate) fn step_record() -> pb::TraceRecord {
    pb::TraceRecord {
        position: 2,
        record_id: id("e2"),
        step_index: Some(0),
        occurred_at: at(START, 250_010),
        recorded_at: at(START, 250_020),
        actor_type: ActorType::Agent as i32,
        actor_id: "agent-7".into(),
        idempotency_key: "req-2".into(),
        body: Some(trace_record::Body::Step(pb::Step {
            kind: StepKind::ToolCall as i32,
            name: "weather.get".into(),
            decision_id: id("d1"),
            verdict: Verdict::Allow as i32,
            outcome: StepOutcome::Success as i32,
            input_digest: raw(chain::payload_digest(&salt(), INPUT)),
            output_digest: raw(chain::payload_digest(&salt(), OUTPUT)),
            parameters_digest: raw(chain::parameters_digest(&parameter_key(), INPUT)),
            cost_microusd: 1_500,
            duration_us: 250_000,
            started_at: at(START, 10),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn entry(seq: u64, seconds: i64, suffix: &str, body: contract_entry::Body) -> pb::ContractEntry {
    pb::ContractEntry {
        seq,
        recorded_at: at(seconds, 0),
        entry_id: id(suffix),
        actor_id: "spine".into(),
        body: Some(body),
    }
}

pub(crate) fn contract_entries() -> [pb::ContractEntry; 2] {
    let expectation = pb::ContractExpectation {
        domain: "orchestrator".into(),
        action: "finalize_run".into(),
        due_phase: RunPhase::Created as i32,
        deadline_ms: 35_000,
        input: Bytes::new(),
    };
    let ack = pb::ContractAck {
        domain: "orchestrator".into(),
        action: "finalize_run".into(),
        status: AckStatus::Success as i32,
        result_id: id("bb"),
        idempotency_key: format!("{}/1/finalize_run", id("aa")),
        ..Default::default()
    };
    [
        entry(1, START, "c1", contract_entry::Body::Expectation(expectation)),
        entry(2, START + 1, "c2", contract_entry::Body::Ack(ack)),
    ]
}

pub(crate) fn signing_key() -> SigningKey {
    let secret = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    SigningKey::from_bytes(&secret.try_into().unwrap())
}

fn seal(behaviour: Digest, last_link: Digest, contract_link: Digest) -> pb::TraceSeal {
    pb::TraceSeal {
        format: 1,
        tenant_id: id("1"),
        run_id: id("aa"),
        attempt: 1,
        trace_id: id("bb"),
        record_count: 2,
        last_link: raw(last_link),
        sealed_at: at(START + 1, 0),
        run_status: RunStatus::Succeeded as i32,
        termination_reason: TerminationReason::Completed as i32,
        key_id: keys::key_id(signing_key().verifying_key().as_bytes()),
        behaviour_signature: raw(behaviour),
        contract_entry_count: 2,
        contract_link: raw(contract_link),
        contract_status: ContractVerdict::Complete as i32,
        step_count: 1,
        decision_count: 1,
        cost_microusd: 1_500,
        ..Default::default()
    }
}

fn limit_created() -> pb::LedgerEntry {
    let state_salt: Vec<u8> = (64..96).collect();
    pb::LedgerEntry {
        seq: 1,
        entry_id: id("a1"),
        event_id: id("b1"),
        tenant_id: id("1"),
        event_type: "controls.LimitCreated".into(),
        scope: pb::LedgerScope::Admin as i32,
        entity_type: "limit".into(),
        entity_id: "lim-1".into(),
        actor_type: ActorType::Human as i32,
        actor_id: "alice".into(),
        reason: "new limit".into(),
        after_digest: raw(chain::state_digest(&state_salt, br#"{"max":500}"#)),
        occurred_at: at(START, 0),
        recorded_at: at(START, 1),
        ..Default::default()
    }
}

fn trace_sealed(seal_digest: Digest) -> pb::LedgerEntry {
    pb::LedgerEntry {
        seq: 2,
        entry_id: id("a2"),
        event_id: id("b2"),
        tenant_id: id("1"),
        event_type: "logs.TraceSealed".into(),
        scope: pb::LedgerScope::Run as i32,
        run_id: id("aa"),
        attempt: 1,
        entity_type: "trace".into(),
        entity_id: id("bb"),
        actor_type: ActorType::System as i32,
        actor_id: "spine".into(),
        after_digest: raw(seal_digest),
        occurred_at: at(START + 1, 0),
        recorded_at: at(START + 1, 1),
        ..Default::default()
    }
}

/// Checks one value of the vector.
struct Check(HashMap<&'static str, Vec<u8>>);

impl Check {
    fn bytes(&mut self, name: &str, found: &[u8]) {
        let want = self.0.remove(name).unwrap_or_else(|| panic!("{name} is not in the vector"));
        assert_eq!(hex::encode(found), hex::encode(want), "{name}");
    }

    fn digest(&mut self, name: &str, found: Digest) {
        self.bytes(name, found.as_bytes());
    }
}

#[test]
fn every_value_of_the_worked_vector() {
    let mut check = Check(expected());
    let step = step_record();
    let Some(trace_record::Body::Step(body)) = &step.body else { panic!("a step") };
    check.digest("salt_commitment", chain::salt_commitment(&salt()));
    check.bytes("input_digest", &body.input_digest);
    check.bytes("output_digest", &body.output_digest);
    check.bytes("parameters_digest", &body.parameters_digest);

    let (header, first, second) = (encode(&header()), encode(&decision_record()), encode(&step));
    let link_0 = chain::trace_start(&header);
    let link_1 = chain::trace_link(&link_0, &first);
    let link_2 = chain::trace_link(&link_1, &second);
    check.bytes("header", &header);
    check.digest("link_0", link_0);
    check.bytes("record_1", &first);
    check.digest("link_1", link_1);
    check.bytes("record_2", &second);
    check.digest("link_2", link_2);
    check.digest("trace_section_digest", bundle::section_digest([&header, &first, &second]));

    let mut behaviour = Behaviour::new();
    check.digest("behaviour_0", behaviour.signature());
    behaviour.step(0, 2, body);
    check.digest("behaviour_1", behaviour.signature());

    let contract_2 = contract_values(&mut check);
    let seal_digest = seal_values(&mut check, &seal(behaviour.signature(), link_2, contract_2));
    ledger_values(&mut check, seal_digest);
    assert!(check.0.is_empty(), "values that were not checked: {:?}", check.0.keys());
}

fn contract_values(check: &mut Check) -> Digest {
    let [first, second] = contract_entries().map(|e| encode(&e));
    let contract_0 = chain::contract_start(&id("1"), "run", &id("aa"), 1);
    let contract_1 = chain::contract_link(&contract_0, &first);
    let contract_2 = chain::contract_link(&contract_1, &second);
    check.digest("contract_0", contract_0);
    check.bytes("entry_1", &first);
    check.digest("contract_1", contract_1);
    check.bytes("entry_2", &second);
    check.digest("contract_2", contract_2);
    contract_2
}

fn seal_values(check: &mut Check, seal: &pb::TraceSeal) -> Digest {
    let (bytes, key) = (encode(seal), signing_key());
    let public = key.verifying_key().to_bytes();
    let signature = keys::sign(&key, keys::Signed::Seal, &bytes);
    check.bytes("public_key", &public);
    check.bytes("key_id", &hex::decode(keys::key_id(&public)).unwrap());
    check.bytes("seal", &bytes);
    check.bytes("signature", &signature);
    check.digest("seal_digest", keys::seal_digest(&bytes));
    assert!(keys::verify(&public, keys::Signed::Seal, &bytes, &signature));
    assert!(!keys::verify(&public, keys::Signed::Bundle, &bytes, &signature), "one key, one purpose");
    keys::seal_digest(&bytes)
}

fn ledger_values(check: &mut Check, seal_digest: Digest) {
    let (first, second) = (encode(&limit_created()), encode(&trace_sealed(seal_digest)));
    let ledger_0 = chain::ledger_start(&id("1"));
    let ledger_1 = chain::ledger_link(&ledger_0, &first);
    let ledger_2 = chain::ledger_link(&ledger_1, &second);
    check.digest("ledger_0", ledger_0);
    check.bytes("after_digest", &limit_created().after_digest);
    check.bytes("ledger_entry_1", &first);
    check.digest("ledger_1", ledger_1);
    check.bytes("ledger_entry_2", &second);
    check.digest("ledger_2", ledger_2);
    check.digest("merkle_root", merkle::root_of(&[merkle::leaf(&ledger_1), merkle::leaf(&ledger_2)]));
}

#[test]
fn what_is_read_is_what_was_written() {
    for record in [decision_record(), step_record()] {
        let bytes = encode(&record);
        assert_eq!(pb::TraceRecord::decode(bytes.as_slice()).unwrap(), record);
    }
}
