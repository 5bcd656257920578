//! What the audit tells: outbox events, and the ledger entries that logs writes in the commit of the fact.

use bytes::Bytes;
use contracts_common::common::v1::{Actor, ActorType, CallContext, EventEnvelope};
use contracts_logs::v1::{self as pb, LedgerScope};
use prost::Message;
use runspine_db::{OutboxEvent, Tx};
use runspine_logs_domain::{
    bytes::timestamp,
    contract::{Journal, Judged, Key, RUN_SAGA},
};
use runspine_types::{Digest, Micros, new_id};

use crate::{metrics, store::ledger};

/// Who caused what is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caused {
    /// The actor; nobody named stands for the service itself.
    pub actor: Option<Actor>,
    /// Joins everything that one client call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
}

impl Caused {
    /// Whoever called.
    #[must_use]
    pub fn by(call: &CallContext) -> Self {
        Self {
            actor: call.actor.clone(),
            correlation_id: call.correlation_id.clone(),
            causation_id: call.causation_id.clone(),
        }
    }

    /// Id of the actor.
    #[must_use]
    pub fn actor_id(&self) -> &str {
        self.actor.as_ref().map_or("logs", |actor| &actor.id)
    }
}

/// An event of the audit, before it gets its envelope.
pub struct Told<'a, M> {
    /// The message's name.
    pub name: &'static str,
    /// The data.
    pub data: &'a M,
    /// The tenant.
    pub tenant_id: &'a str,
    /// The run; empty for none.
    pub run_id: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// The step.
    pub step_index: Option<u32>,
    /// What kind of thing it is about, and which one.
    pub entity: (&'static str, String),
    /// Why.
    pub reason: &'a str,
}

/// Publishes an event with the commit of `tx`; gives its id.
pub fn emit<M: Message>(tx: &mut Tx, told: Told<'_, M>, caused: &Caused, now: Micros) -> String {
    let id = new_id();
    let kind = format!("logs.{}", told.name);
    let service = || Actor { r#type: ActorType::System.into(), id: "logs".to_owned() };
    let subject = if told.run_id.is_empty() { &told.entity.1 } else { told.run_id };
    let envelope = EventEnvelope {
        id: id.clone(),
        r#type: kind.clone(),
        source: "logs".to_owned(),
        subject: subject.to_owned(),
        time: Some(timestamp(now)),
        schema_version: "1.0.0".to_owned(),
        tenant_id: told.tenant_id.to_owned(),
        run_id: told.run_id.to_owned(),
        attempt: told.attempt,
        step_index: told.step_index,
        actor: Some(caused.actor.clone().unwrap_or_else(service)),
        entity_type: told.entity.0.to_owned(),
        entity_id: told.entity.1,
        reason: told.reason.to_owned(),
        correlation_id: caused.correlation_id.clone(),
        causation_id: caused.causation_id.clone(),
        data_type: format!("runspine.logs.v1.{}", told.name),
        data: Bytes::from(told.data.encode_to_vec()),
        ..Default::default()
    };
    tx.emit_raw(OutboxEvent { id: id.clone(), kind, envelope: envelope.encode_to_vec().into(), at: now });
    id
}

/// The name of a contract as it travels.
#[must_use]
pub fn key_of(key: &Key) -> pb::ContractKey {
    pb::ContractKey { saga: key.saga.clone(), subject_id: key.subject_id.clone(), attempt: key.attempt }
}

/// The run that a contract belongs to; empty for other sagas.
#[must_use]
pub fn run_of(key: &Key) -> &str {
    if key.saga == RUN_SAGA { &key.subject_id } else { "" }
}

/// The entity id of a contract in events and on the ledger.
#[must_use]
pub fn entity_of(key: &Key) -> String {
    format!("{}/{}/{}", key.saga, key.subject_id, key.attempt)
}

/// Publishes every verdict that was added to `journal`, and gives the ledger entries to be appended in the same commit.
/// The entry's digest is the link of the verdict: the ledger witnesses the contract.
pub fn verdicts(tx: &mut Tx, journal: &Journal, caused: &Caused, now: Micros) -> Vec<ledger::Event> {
    let first = journal.added().first().map_or(u64::MAX, |added| added.seq);
    let news = journal.contract().judged.iter().filter(|judged| judged.seq >= first);
    news.map(|judged| verdict(tx, journal, judged, caused, now)).collect()
}

fn verdict(tx: &mut Tx, journal: &Journal, judged: &Judged, caused: &Caused, now: Micros) -> ledger::Event {
    let word = judged.verdict.as_str_name().trim_start_matches("CONTRACT_VERDICT_");
    metrics::RECONCILIATIONS.increment(&[("verdict", word)]);
    for finding in &judged.findings {
        metrics::FINDINGS.increment(&[("code", finding.code.as_str())]);
    }
    let key = journal.key();
    let data = pb::ContractReconciled {
        key: Some(key_of(key)),
        pass: judged.pass.into(),
        verdict: judged.verdict.into(),
        findings: judged.findings.iter().map(crate::rpc::audit::present_contract::finding).collect(),
        seq: judged.seq,
        closed: journal.contract().closed,
    };
    let told = Told {
        name: "ContractReconciled",
        data: &data,
        tenant_id: &key.tenant_id,
        run_id: run_of(key),
        attempt: key.attempt,
        step_index: None,
        entity: ("audit_contract", entity_of(key)),
        reason: judged.verdict.as_str_name(),
    };
    let event_id = emit(tx, told, caused, now);
    let link = journal.added().iter().find(|added| added.seq == judged.seq).map(|added| added.link);
    entry(key, "logs.ContractReconciled", event_id, judged.verdict.as_str_name(), link, caused, now)
}

/// A ledger entry about a contract.
#[must_use]
pub fn entry(
    key: &Key,
    event_type: &str,
    event_id: String,
    reason: &str,
    after_digest: Option<Digest>,
    caused: &Caused,
    now: Micros,
) -> ledger::Event {
    let run_id = run_of(key).to_owned();
    let scope = if run_id.is_empty() { LedgerScope::Admin } else { LedgerScope::Run };
    let actor_type = caused.actor.as_ref().and_then(|a| ActorType::try_from(a.r#type).ok());
    ledger::Event {
        tenant_id: key.tenant_id.clone(),
        event_id,
        event_type: event_type.to_owned(),
        scope,
        attempt: if run_id.is_empty() { 0 } else { key.attempt },
        run_id,
        step_index: None,
        correlation_id: caused.correlation_id.clone(),
        causation_id: caused.causation_id.clone(),
        entity_type: "audit_contract".to_owned(),
        entity_id: entity_of(key),
        actor_type: actor_type.unwrap_or(ActorType::System),
        actor_id: caused.actor_id().to_owned(),
        reason: reason.to_owned(),
        before_state: String::new(),
        after_state: String::new(),
        after_digest,
        occurred_at: now,
        entry_id: new_id(),
        // There is no state, so nothing is salted.
        state_salt: [0; 32],
    }
}
