//! Makes exports that were ordered. What a process left undone another picks up when its claim is over.

use std::time::Duration;

use bytes::Bytes;
use contracts_common::common::v1::{Actor, ActorType};
use contracts_logs::v1::{ExportCompleted, ExportFormat, ExportScope, KeyPurpose, LedgerEntry, LedgerScope};
use prost::Message as _;
use runspine_errors::{Fault, Kind as FaultKind, mesh};
use runspine_logs_domain::{bytes::micros, export, keys::Signed};
use runspine_types::{Digest, hash};
use serde_json::{Value, json};

use crate::{
    app::{
        App,
        announce::announce,
        audit::told::{Caused, Told},
    },
    store::{
        exports::{self, EventRow, ExportRow, Kind, stored},
        ledger::{self, Behind, EntryRow, LedgerFilter},
    },
};

/// How long a worker has for one export before another takes it.
const CLAIM: Duration = Duration::from_secs(60);
/// Workers that may fail at an export before it is given up.
const TRIES: i64 = 3;
/// How long content is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries that are read at a time.
const PAGE: i64 = 1_000;
/// Most bytes of a content.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A content that was made.
struct Made {
    content: Bytes,
    /// What a PARTIAL report lacks, separated by commas.
    lacks: String,
}

impl App {
    /// Makes every export that nobody makes.
    pub async fn make_exports(&self) {
        loop {
            match self.make_export().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => {
                    tracing::warn!(%fault, "an export could not be made; it is tried again");
                    return;
                }
            }
        }
    }

    /// Makes one export that waits; says whether there was one. When the store fails it is tried again as soon as its
    /// claim is over.
    async fn make_export(&self) -> Result<bool, Fault> {
        let now = self.clock.now();
        let claimed = self
            .db
            .write("claim_export", move |tx| {
                Box::pin(async move { Ok(exports::claim(tx, now, now + CLAIM).await?) })
            })
            .await?;
        let Some((row, tries)) = claimed else { return Ok(false) };
        if tries > TRIES {
            self.give_up(&row, tries, "ABANDONED").await?;
            return Ok(true);
        }
        match self.content(&row).await {
            Ok(made) => self.complete(row, tries, made).await?,
            // What is not there now may be there later; anything else stays as it is.
            Err(fault) if matches!(fault.kind(), FaultKind::Unavailable | FaultKind::Exhausted) => {
                tracing::warn!(export_id = row.export_id, %fault, "an export is tried again");
            }
            Err(fault) => self.give_up(&row, tries, fault.reason().name).await?,
        }
        Ok(true)
    }

    /// Forgets contents whose time is over.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn forget_exports(&self) -> Result<u64, Fault> {
        let now = self.clock.now();
        self.db
            .write("forget_exports", move |tx| Box::pin(async move { Ok(exports::forget(tx, now).await?) }))
            .await
    }

    async fn content(&self, row: &ExportRow) -> Result<Made, Fault> {
        if row.scope == ExportScope::Compliance as i32 {
            let fields = self.report_fields(row).await?.named;
            let checked = export::check(true, &fields, self.strict);
            let content = serde_json::to_vec_pretty(&fields).map_err(|error| {
                Fault::new(&mesh::INTERNAL, "the report can't be written").caused_by(error)
            })?;
            return Ok(Made { content: content.into(), lacks: checked.missing_recommended.join(",") });
        }
        let mut out = Table::new(row.format == ExportFormat::Csv as i32);
        let filter = LedgerFilter {
            run_id: (!row.run_id.is_empty()).then(|| row.run_id.clone()),
            occurred_from: row.since,
            occurred_to: row.until,
            ..LedgerFilter::default()
        };
        let mut after = None;
        loop {
            let page =
                ledger::list(self.db.read(), &row.tenant_id, &filter, Behind::Place(after), PAGE).await?;
            let full = i64::try_from(page.len()).is_ok_and(|n| n == PAGE);
            for entry in page {
                after = Some(entry.seq);
                out.push(&entry)?;
            }
            if !full {
                return Ok(Made { content: out.finish(row).into(), lacks: String::new() });
            }
        }
    }

    async fn complete(&self, row: ExportRow, tries: i64, made: Made) -> Result<(), Fault> {
        let signer = self.keyring.signer(KeyPurpose::Export)?;
        let now = self.clock.now();
        let digest = hash(&made.content);
        let event = EventRow {
            size: made.content.len() as u64,
            digest: stored(digest),
            signature: Bytes::copy_from_slice(&signer.sign(Signed::Export, &made.content)),
            key_id: signer.key_id,
            expires_at: Some(now + KEPT),
            ..EventRow::of(&row.export_id, Kind::Completed, now, &made.lacks)
        };
        self.db
            .write("complete_export", move |tx| {
                Box::pin(async move {
                    // Whoever took it since makes it again.
                    if !exports::finish(tx, &row.export_id, tries).await? {
                        return Ok(());
                    }
                    exports::keep(tx, &row.export_id, &made.content, now + KEPT).await?;
                    exports::event(tx, &event).await?;
                    let data = ExportCompleted {
                        export_id: row.export_id.clone(),
                        scope: row.scope,
                        run_id: row.run_id.clone(),
                        size: event.size,
                        content_digest: event.digest.clone(),
                    };
                    let (told, caused) = (about("ExportCompleted", &data, &row), ordered_by(&row));
                    announce(tx, told, Some(digest), &caused, now).await
                })
            })
            .await
    }

    async fn give_up(&self, row: &ExportRow, tries: i64, reason: &str) -> Result<(), Fault> {
        let (export_id, now, reason) = (row.export_id.clone(), self.clock.now(), reason.to_owned());
        tracing::warn!(export_id, reason, "an export failed");
        self.db
            .write("fail_export", move |tx| {
                Box::pin(async move {
                    if exports::finish(tx, &export_id, tries).await? {
                        exports::event(tx, &EventRow::of(&export_id, Kind::Failed, now, &reason)).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// An event about an export.
pub fn about<'a, M>(name: &'static str, data: &'a M, row: &'a ExportRow) -> Told<'a, M> {
    Told {
        name,
        data,
        tenant_id: &row.tenant_id,
        run_id: &row.run_id,
        attempt: row.attempt,
        step_index: None,
        entity: ("export", row.export_id.clone()),
        reason: &row.reason,
    }
}

fn ordered_by(row: &ExportRow) -> Caused {
    Caused {
        actor: Some(Actor { r#type: row.actor_type, id: row.requested_by.clone() }),
        correlation_id: row.correlation.clone(),
        causation_id: row.export_id.clone(),
    }
}

/// Ledger entries as they are exported.
enum Table {
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
    fn new(csv: bool) -> Self {
        if csv { Self::Csv(export::line(HEAD)) } else { Self::Json(Vec::new(), 0) }
    }

    fn push(&mut self, row: &EntryRow) -> Result<(), Fault> {
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
        if size > MAX_BYTES {
            return Err(Fault::new(&mesh::MESSAGE_TOO_LARGE, "the export would be larger than 64 MiB"));
        }
        Ok(())
    }

    fn finish(self, row: &ExportRow) -> Vec<u8> {
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
