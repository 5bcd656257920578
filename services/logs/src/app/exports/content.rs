//! What an export contains, scope by scope.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts_logs::v1::{
    BundleHead, BundleMissing, BundleMissingStatus, Completeness, ExportFormat, ExportPartStatus,
    ExportScope, add_export_part_request::Piece,
};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    export::{self, Part, check},
    reasons,
};
use serde_json::Value;

use super::table::Table;
use crate::{
    app::{App, build_bundle::Gathered},
    store::{
        exports::ExportRow,
        ledger::{self, Behind, LedgerFilter},
    },
};

/// Entries that are read at a time.
const PAGE: i64 = 1_000;
/// Most bytes of a content.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A content that was made.
pub(super) struct Made {
    pub content: Bytes,
    /// What a PARTIAL report lacks, separated by commas.
    pub lacks: String,
}

impl Made {
    fn whole(content: Vec<u8>) -> Result<Self, Fault> {
        within(content.len())?;
        Ok(Self { content: content.into(), lacks: String::new() })
    }
}

/// Refuses what is too large to be kept.
pub(super) fn within(size: usize) -> Result<(), Fault> {
    if size > MAX_BYTES {
        return Err(Fault::new(&mesh::MESSAGE_TOO_LARGE, "the export would be larger than 64 MiB"));
    }
    Ok(())
}

/// What a row exports.
pub(super) fn scope_of(row: &ExportRow) -> ExportScope {
    ExportScope::try_from(row.scope).unwrap_or_default()
}

/// What a report lacks of what it should have; one that lacks what it must have is refused.
pub(super) fn judged(soc2: bool, fields: &BTreeMap<String, Value>, strict: bool) -> Result<String, Fault> {
    let checked = check(soc2, fields, strict);
    if checked.result != Completeness::Incomplete {
        return Ok(checked.missing_recommended.join(","));
    }
    let recommended = if strict { checked.missing_recommended } else { Vec::new() };
    let lacks = checked.missing_required.into_iter().chain(recommended).map(str::to_owned);
    Err(incomplete(lacks).with("completeness_permille", checked.permille))
}

/// Something that must be there is not.
pub(super) fn incomplete(lacks: impl Iterator<Item = String>) -> Fault {
    let fault = Fault::new(&reasons::EXPORT_INCOMPLETE, "the export would lack what it must have");
    lacks.fold(fault, |fault, name| fault.precondition(name, "is present"))
}

impl App {
    /// Makes the content of an export.
    pub(super) async fn content(&self, row: &ExportRow) -> Result<Made, Fault> {
        let scope = scope_of(row);
        match scope {
            ExportScope::Audit | ExportScope::Unspecified => self.ledger_table(row).await,
            ExportScope::Compliance => {
                let fields = self.report_fields(row).await?;
                let lacks = judged(true, &fields, self.strict)?;
                Ok(Made { lacks, ..Made::whole(pretty(&fields)?)? })
            }
            ExportScope::Bundle => self.bundle_of(row, self.parts_of(row, scope).await?).await,
            ExportScope::Evidence => {
                let parts = self.parts_of(row, scope).await?;
                let mut fields = self.report_fields(row).await?;
                export::complete_with(&mut fields, &parts);
                let mut failed = export::failed(&parts).peekable();
                if failed.peek().is_some() {
                    return Err(incomplete(failed));
                }
                let lacks = judged(false, &fields, self.strict)?;
                Ok(Made { lacks, ..Made::whole(pretty(&export::evidence(fields, &parts))?)? })
            }
            ExportScope::Executive => {
                let parts = self.parts_of(row, scope).await?;
                let page = export::executive(&self.report_fields(row).await?, &parts);
                Made::whole(pretty(&page)?)
            }
        }
    }

    async fn ledger_table(&self, row: &ExportRow) -> Result<Made, Fault> {
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
                return Made::whole(out.finish(row));
            }
        }
    }

    /// The bundle of the run. What policies could not give is named in its manifest.
    async fn bundle_of(&self, row: &ExportRow, parts: Vec<Part>) -> Result<Made, Fault> {
        let head = BundleHead {
            run_id: row.run_id.clone(),
            bundle_id: row.export_id.clone(),
            created_by: row.requested_by.clone(),
            reason: row.reason.clone(),
            allow_open: false,
        };
        let mut gathered = Gathered { head, ..Gathered::default() };
        for part in parts {
            gathered.missing.extend(missing(&part));
            for piece in part.pieces {
                if let Piece::Decision(document) = piece {
                    gathered.decisions.insert(document.decision_id.clone(), document);
                }
            }
        }
        let mut content = Vec::new();
        for chunk in self.build_bundle(&row.tenant_id, gathered).await? {
            within(content.len() + chunk.len())?;
            content.extend_from_slice(&chunk);
        }
        Made::whole(content)
    }
}

fn missing(part: &Part) -> Option<BundleMissing> {
    let status = match part.status {
        ExportPartStatus::Ok => return None,
        ExportPartStatus::Timeout => BundleMissingStatus::Timeout,
        ExportPartStatus::Denied => BundleMissingStatus::Denied,
        ExportPartStatus::Error | ExportPartStatus::Unspecified => BundleMissingStatus::Error,
    };
    Some(BundleMissing { section: "decision".to_owned(), status: status.into(), reason: part.reason.clone() })
}

fn pretty(document: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec_pretty(document)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "the document can't be written").caused_by(error))
}
