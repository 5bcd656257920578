//! Parts of exports: what other domains own of them, brought by the spine.

use std::sync::Arc;

use bytes::Bytes;
use contracts_logs::v1::{
    AddExportPartRequest, AddExportPartResponse, ExportPartHead, ExportPartStatus, ExportScope,
    add_export_part_request::Piece,
};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    export::{self, Part},
    reasons,
};
use runspine_types::Digest;

use super::{content::incomplete, view::missing};
use crate::{
    app::{App, once::Once},
    store::{
        export_parts::{self, PartRow},
        exports::{self, ExportRow, stored},
    },
};

impl App {
    /// Adds a part to an export that waits for it, and gives the answer as it is kept. The last part has it made.
    ///
    /// # Errors
    /// EXPORT_NOT_FOUND, EXPORT_CLOSED, IDEMPOTENCY_MISMATCH, FIELD_INVALID for a domain that it does not wait for, or
    /// when the store can't be written.
    pub async fn add_export_part(
        self: &Arc<Self>,
        once: Once,
        head: ExportPartHead,
        (pieces, digest): (Vec<Bytes>, Digest),
    ) -> Result<Bytes, Fault> {
        let row = PartRow {
            export_id: head.export_id,
            source: head.source,
            status: head.status,
            reason: head.reason,
            items: u32::try_from(pieces.len()).unwrap_or(u32::MAX),
            digest: stored(digest),
            added_at: self.clock.now(),
        };
        let tenant = once.tenant_id.clone();
        let answer = self
            .once(once, move |tx| {
                Box::pin(async move {
                    let state = export_parts::lock(tx, &tenant, &row.export_id).await?;
                    let state = state.ok_or_else(missing)?;
                    let scope = export_parts::scope(tx, &row.export_id).await?;
                    let sources = export::sources(ExportScope::try_from(scope).unwrap_or_default());
                    if !sources.contains(&row.source.as_str()) {
                        let what = "is a domain that the export waits for";
                        return Err(Fault::new(&mesh::FIELD_INVALID, "the export needs no such part").field(
                            "head.source",
                            mesh::FIELD_INVALID.name,
                            what,
                        ));
                    }
                    if state != exports::WAITS {
                        return Err(Fault::new(&reasons::EXPORT_CLOSED, "the export waits for no part")
                            .precondition(format!("exports/{}", row.export_id), "is PENDING"));
                    }
                    export_parts::insert(tx, &row, &pieces).await?;
                    let given = export_parts::given(tx, &row.export_id).await?;
                    let waits_for = without(sources, &given);
                    if waits_for.is_empty() {
                        export_parts::ready(tx, &row.export_id).await?;
                    }
                    Ok(AddExportPartResponse { waits_for })
                })
            })
            .await?;
        let app = Arc::clone(self);
        tokio::spawn(async move { app.make_exports().await });
        Ok(answer)
    }

    /// Everything that an export waited for, by source.
    pub(super) async fn parts_of(&self, row: &ExportRow, scope: ExportScope) -> Result<Vec<Part>, Fault> {
        let mut rows = export_parts::of(self.db.read(), &[&row.export_id]).await?;
        let given: Vec<String> = rows.iter().map(|row| row.source.clone()).collect();
        let late = without(export::sources(scope), &given);
        if !late.is_empty() {
            return Err(incomplete(late.into_iter().map(|source| format!("sources.{source}"))));
        }
        rows.sort_by(|a, b| a.source.cmp(&b.source));
        let mut parts = Vec::with_capacity(rows.len());
        for row in rows {
            let stored = export_parts::pieces(self.db.read(), &row.export_id, &row.source).await?;
            let pieces: Result<Vec<Option<Piece>>, _> = stored
                .into_iter()
                .map(|piece| AddExportPartRequest::decode(piece).map(|r| r.piece))
                .collect();
            let pieces = pieces
                .map_err(|error| Fault::new(&mesh::INTERNAL, "a part can't be read").caused_by(error))?;
            parts.push(Part {
                source: row.source,
                status: ExportPartStatus::try_from(row.status).unwrap_or_default(),
                reason: row.reason,
                pieces: pieces.into_iter().flatten().collect(),
            });
        }
        Ok(parts)
    }
}

/// The domains that gave nothing yet.
fn without(sources: &[&str], given: &[String]) -> Vec<String> {
    let open = sources.iter().filter(|source| !given.iter().any(|g| g == *source));
    open.map(|source| (*source).to_owned()).collect()
}
