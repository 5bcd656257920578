//! Makes exports that were ordered. What a process left undone another picks up when its claim is over.

use std::time::Duration;

use bytes::Bytes;
use contracts_common::common::v1::Actor;
use contracts_logs::v1::{ExportCompleted, ExportScope, IncidentOrder, KeyPurpose};
use runspine_errors::{Fault, Kind as FaultKind};
use runspine_logs_domain::{keys::Signed, reasons};
use runspine_types::hash;

use super::{
    content::{Made, scope_of},
    incident::order_of,
};
use crate::{
    app::{
        App,
        announce::announce,
        audit::told::{Caused, Told},
    },
    metrics,
    store::{
        export_parts,
        exports::{self, EventRow, ExportRow, Kind, stored},
    },
};

/// How long a worker has for one export before another takes it.
const CLAIM: Duration = Duration::from_secs(60);
/// Workers that may fail at an export before it is given up.
const TRIES: i64 = 3;
/// How long content is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

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
            self.give_up(&row, tries, "ABANDONED".to_owned()).await?;
            return Ok(true);
        }
        match self.content(&row).await {
            Ok(made) => self.complete(row, tries, made).await?,
            // What is not there now may be there later; anything else stays as it is.
            Err(fault) if matches!(fault.kind(), FaultKind::Unavailable | FaultKind::Exhausted) => {
                tracing::warn!(export_id = row.export_id, %fault, "an export is tried again");
            }
            Err(fault) => self.give_up(&row, tries, why(&fault)).await?,
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

    async fn complete(&self, row: ExportRow, tries: i64, made: Made) -> Result<(), Fault> {
        let incident =
            if scope_of(&row) == ExportScope::Incident { order_of(&row)? } else { IncidentOrder::default() };
        let signer = self.keyring.signer(KeyPurpose::Export)?;
        let now = self.clock.now();
        #[allow(clippy::cast_precision_loss, reason = "a time")]
        metrics::EXPORT.record(now.millis_since(row.created_at).max(0) as f64 / 1e3, &[]);
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
                    export_parts::forget(tx, &row.export_id).await?;
                    exports::keep(tx, &row.export_id, &made.content, now + KEPT).await?;
                    exports::event(tx, &event).await?;
                    let data = ExportCompleted {
                        export_id: row.export_id.clone(),
                        scope: row.scope,
                        run_id: row.run_id.clone(),
                        size: event.size,
                        content_digest: event.digest.clone(),
                        incident_export_id: incident.incident_export_id,
                    };
                    let (told, caused) = (about("ExportCompleted", &data, &row), ordered_by(&row));
                    announce(tx, told, Some(digest), &caused, now).await
                })
            })
            .await
    }

    async fn give_up(&self, row: &ExportRow, tries: i64, reason: String) -> Result<(), Fault> {
        let (export_id, now) = (row.export_id.clone(), self.clock.now());
        tracing::warn!(export_id, reason, "an export failed");
        self.db
            .write("fail_export", move |tx| {
                Box::pin(async move {
                    if exports::finish(tx, &export_id, tries).await? {
                        export_parts::forget(tx, &export_id).await?;
                        exports::event(tx, &EventRow::of(&export_id, Kind::Failed, now, &reason)).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// Why an export failed, as its event says it: the reason, then what it lacked.
fn why(fault: &Fault) -> String {
    let name = fault.reason().name;
    if !fault.is(&reasons::EXPORT_INCOMPLETE) {
        return name.to_owned();
    }
    let lacks: Vec<&str> = fault.preconditions().iter().map(|lacked| lacked.subject.as_str()).collect();
    format!("{name} {}", lacks.join(","))
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
