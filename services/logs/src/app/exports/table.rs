//! Ledger entries as a table.

use contracts_common::common::v1::ActorType;
use contracts_logs::v1::{LedgerEntry, LedgerScope};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{bytes::micros, export};
use runspine_types::Digest;
use serde_json::{Value, json};

use super::content::within;
use crate::store::{exports::ExportRow, ledger::EntryRow};

/// Ledger entries as they are exported.
pub(super) enum Table {
    Csv(String),
    Json(Vec<Value>, usize),
}

const HEAD: [&str; 14] = [
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

impl Table {
    pub(super) fn new(csv: bool) -> Self {
        if csv { Self::Csv(export::line(HEAD)) } else { Self::Json(Vec::new(), 0) }
    }

    pub(super) fn push(&mut self, row: &EntryRow) -> Result<(), Fault> {
        let entry = LedgerEntry::decode(row.entry.clone())
            .map_err(|error| Fault::new(&mesh::INTERNAL, "a ledger entry can't be read").caused_by(error))?;
        let cells = cells(&entry, row.link);
        let size = match self {
            Self::Csv(text) => {
                text.push_str(&export::line(cells.iter().map(String::as_str)));
                text.len()
            }
            Self::Json(entries, size) => {
                let state = |text: &Option<String>| {
                    text.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
                };
                let pairs = HEAD.iter().zip(&cells).map(|(name, cell)| ((*name).to_owned(), json!(cell)));
                let mut object: serde_json::Map<String, Value> = pairs.collect();
                object.insert("before_state".to_owned(), state(&row.before_state));
                object.insert("after_state".to_owned(), state(&row.after_state));
                let object = Value::Object(object);
                *size += object.to_string().len();
                entries.push(object);
                *size
            }
        };
        within(size)
    }

    pub(super) fn finish(self, row: &ExportRow) -> Vec<u8> {
        match self {
            Self::Csv(text) => text.into_bytes(),
            Self::Json(entries, _) => json!({
                "export_id": row.export_id,
                "tenant_id": row.tenant_id,
                "run_id": row.run_id,
                "created_at_us": row.created_at.0,
                "exported_by": row.requested_by,
                "entries": entries,
            })
            .to_string()
            .into_bytes(),
        }
    }
}

fn cells(entry: &LedgerEntry, link: Digest) -> [String; 14] {
    let scope = LedgerScope::try_from(entry.scope).map(|s| s.as_str_name()).unwrap_or_default();
    let actor = ActorType::try_from(entry.actor_type).map(|a| a.as_str_name()).unwrap_or_default();
    [
        entry.seq.to_string(),
        entry.event_type.clone(),
        scope.trim_start_matches("LEDGER_SCOPE_").to_owned(),
        entry.run_id.clone(),
        entry.attempt.to_string(),
        entry.step_index.map(|step| step.to_string()).unwrap_or_default(),
        entry.entity_type.clone(),
        entry.entity_id.clone(),
        actor.trim_start_matches("ACTOR_TYPE_").to_owned(),
        entry.actor_id.clone(),
        entry.reason.clone(),
        micros(entry.occurred_at.as_ref()).0.to_string(),
        entry.entry_id.clone(),
        link.to_hex(),
    ]
}
