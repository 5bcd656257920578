//! What stands in the tables: entries of the ledger, what attempts used of models, what the mesh itself did.

use contracts_common::common::v1::ActorType;
use contracts_logs::v1::{LedgerEntry, LedgerScope, LlmRun, SystemRecord};
use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::bytes::micros;
use serde_json::{Value, json};

use super::table::Record;
use crate::store::ledger::EntryRow;

/// Columns of the ledger.
pub(super) const ENTRY: [&str; 14] = [
    "seq",
    "event_type",
    "scope",
    "run_id",
    "attempt",
    "step_index",
    "entity_type",
    "entity_id",
    "actor_type",
    "actor_id",
    "reason",
    "occurred_at_us",
    "entry_id",
    "link",
];

/// Columns of what attempts used of models.
pub(super) const LLM_RUN: [&str; 18] = [
    "id",
    "run_id",
    "attempt",
    "trace_id",
    "agent_id",
    "provider",
    "model",
    "models",
    "prompt_digest",
    "response_digest",
    "input_tokens",
    "output_tokens",
    "cost_microusd",
    "execution_status",
    "started_at_us",
    "completed_at_us",
    "source",
    "synthetic_scenario_id",
];

/// Columns of what the mesh itself did.
pub(super) const SYSTEM: [&str; 12] = [
    "id",
    "component",
    "event_type",
    "severity",
    "caused_by",
    "instance",
    "version",
    "config_digest",
    "summary",
    "correlation_id",
    "occurred_at_us",
    "recorded_at_us",
];

/// An entry of the ledger; a document has its states, too.
pub(super) fn entry(row: &EntryRow) -> Result<Record<14>, Fault> {
    let entry: LedgerEntry = decoded(row.entry.clone())?;
    let scope = LedgerScope::try_from(entry.scope).map(|s| s.as_str_name()).unwrap_or_default();
    let actor = ActorType::try_from(entry.actor_type).map(|a| a.as_str_name()).unwrap_or_default();
    let state = |text: &Option<String>| {
        text.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    let cells = [
        entry.seq.to_string(),
        entry.event_type,
        scope.trim_start_matches("LEDGER_SCOPE_").to_owned(),
        entry.run_id,
        entry.attempt.to_string(),
        entry.step_index.map(|step| step.to_string()).unwrap_or_default(),
        entry.entity_type,
        entry.entity_id,
        actor.trim_start_matches("ACTOR_TYPE_").to_owned(),
        entry.actor_id,
        entry.reason,
        micros(entry.occurred_at.as_ref()).0.to_string(),
        entry.entry_id,
        row.link.to_hex(),
    ];
    let nested = vec![("before_state", state(&row.before_state)), ("after_state", state(&row.after_state))];
    Ok(Record { cells, nested })
}

/// What an attempt used of models; a document lists each of them.
pub(super) fn llm_run(record: bytes::Bytes) -> Result<Record<18>, Fault> {
    let run: LlmRun = decoded(record)?;
    let (status, source) = (run.execution_status().as_str_name(), run.source().as_str_name());
    let models: Vec<Value> = run
        .models
        .iter()
        .map(|m| {
            json!({
                "provider": m.provider,
                "model": m.model,
                "calls": m.calls,
                "input_tokens": m.input_tokens,
                "output_tokens": m.output_tokens,
                "cost_microusd": m.cost_microusd,
            })
        })
        .collect();
    let models = Value::Array(models);
    let cells = [
        run.id,
        run.run_id,
        run.attempt.to_string(),
        run.trace_id,
        run.agent_id,
        run.provider,
        run.model,
        models.to_string(),
        hex::encode(&run.prompt_digest),
        hex::encode(&run.response_digest),
        run.input_tokens.to_string(),
        run.output_tokens.to_string(),
        run.cost_microusd.to_string(),
        status.trim_start_matches("LLM_EXECUTION_STATUS_").to_owned(),
        micros(run.started_at.as_ref()).0.to_string(),
        micros(run.completed_at.as_ref()).0.to_string(),
        source.trim_start_matches("LLM_RUN_SOURCE_").to_owned(),
        run.synthetic_scenario_id,
    ];
    Ok(Record { cells, nested: vec![("models", models)] })
}

/// What the mesh itself did.
pub(super) fn system(record: bytes::Bytes) -> Result<Record<12>, Fault> {
    let record: SystemRecord = decoded(record)?;
    let word = |name: &'static str, prefix: &str| name.trim_start_matches(prefix).to_owned();
    let cells = [
        word(record.component().as_str_name(), "SYSTEM_COMPONENT_"),
        word(record.event_type().as_str_name(), "SYSTEM_EVENT_TYPE_"),
        word(record.severity().as_str_name(), "SYSTEM_SEVERITY_"),
        word(record.caused_by().as_str_name(), "SYSTEM_CAUSE_"),
    ];
    let [component, event_type, severity, caused_by] = cells;
    let cells = [
        record.id,
        component,
        event_type,
        severity,
        caused_by,
        record.instance,
        record.version,
        hex::encode(&record.config_digest),
        record.summary,
        record.correlation_id,
        micros(record.occurred_at.as_ref()).0.to_string(),
        micros(record.recorded_at.as_ref()).0.to_string(),
    ];
    Ok(Record { cells, nested: Vec::new() })
}

fn decoded<M: Message + Default>(record: bytes::Bytes) -> Result<M, Fault> {
    M::decode(record)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a record of an export can't be read").caused_by(error))
}
