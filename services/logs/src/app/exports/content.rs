//! What an export contains, scope by scope and format by format.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts_logs::v1::{
    BundleHead, BundleMissing, BundleMissingStatus, Completeness, ExportFormat, ExportPartStatus,
    ExportScope, add_export_part_request::Piece,
};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    export::{self, Paper, Part, check},
    reasons,
};
use serde_json::{Value, json};

use super::archive::{File, archive};
use crate::{
    app::{App, build_bundle::Gathered},
    store::exports::ExportRow,
};

/// Most bytes of a content, and of each file in an archive.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A content that was made.
pub(super) struct Made {
    pub content: Bytes,
    /// What a PARTIAL report lacks, separated by commas.
    pub lacks: String,
}

/// The files of an export, one for each format that is wanted, and what lies beside them in an archive.
#[derive(Default)]
pub(super) struct Files {
    pub files: Vec<File>,
    pub beside: Vec<File>,
    /// What a PARTIAL report lacks, separated by commas.
    pub lacks: String,
}

impl Files {
    /// A document in JSON, and as pages when they are wanted.
    pub(super) fn of(
        wanted: &[ExportFormat],
        document: &impl serde::Serialize,
        paper: impl FnOnce() -> Paper,
    ) -> Result<Self, Fault> {
        let mut files = Vec::new();
        if wanted.contains(&ExportFormat::Json) {
            files.push(file(ExportFormat::Json, pretty(document)?));
        }
        if wanted.contains(&ExportFormat::Pdf) {
            files.push(file(ExportFormat::Pdf, export::pdf(&paper())));
        }
        Ok(Self { files, ..Self::default() })
    }

    /// With a file for each domain that gave something.
    pub(super) fn beside(mut self, parts: &[Part]) -> Result<Self, Fault> {
        for part in parts {
            let name = format!("parts/{}.json", part.source);
            self.beside.push(File { name, bytes: pretty(&export::given(part))? });
        }
        Ok(self)
    }
}

/// The content of an export in one format.
pub(super) fn file(format: ExportFormat, bytes: Vec<u8>) -> File {
    File { name: export::file_name(format).to_owned(), bytes }
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
        let format = ExportFormat::try_from(row.format).unwrap_or_default();
        let all: Vec<ExportFormat> =
            export::formats(scope).iter().copied().filter(|format| *format != ExportFormat::Zip).collect();
        let wanted = if format == ExportFormat::Zip { all.as_slice() } else { &[format] };
        let Files { mut files, beside, lacks } = self.files(row, scope, wanted).await?;
        for file in files.iter().chain(&beside) {
            within(file.bytes.len())?;
        }
        let content = if format == ExportFormat::Zip {
            files.extend(beside);
            archive(files, about(row, scope))?
        } else {
            let nothing = || Fault::new(&mesh::INTERNAL, "the scope has no such format");
            files.pop().ok_or_else(nothing)?.bytes
        };
        within(content.len())?;
        Ok(Made { content: content.into(), lacks })
    }

    async fn files(
        &self,
        row: &ExportRow,
        scope: ExportScope,
        wanted: &[ExportFormat],
    ) -> Result<Files, Fault> {
        match scope {
            ExportScope::LlmRun | ExportScope::System | ExportScope::Audit | ExportScope::Unspecified => {
                Ok(Files { files: self.table(row, scope, wanted).await?, ..Files::default() })
            }
            ExportScope::Compliance => {
                let fields = self.report_fields(row).await?;
                let lacks = judged(true, &fields, self.strict)?;
                Ok(Files { lacks, ..Files::of(wanted, &fields, || export::report_paper(&fields))? })
            }
            ExportScope::Bundle => {
                let bundle = self.bundle_of(row, self.parts_of(row, scope).await?).await?;
                Ok(Files { files: vec![file(ExportFormat::Bundle, bundle)], ..Files::default() })
            }
            ExportScope::Evidence => {
                let parts = self.parts_of(row, scope).await?;
                let mut fields = self.report_fields(row).await?;
                export::complete_with(&mut fields, &parts);
                let mut failed = export::failed(&parts).peekable();
                if failed.peek().is_some() {
                    return Err(incomplete(failed));
                }
                let lacks = judged(false, &fields, self.strict)?;
                let files = Files::of(wanted, &export::evidence(fields, &parts), Paper::default)?;
                Ok(Files { lacks, ..files.beside(&parts)? })
            }
            ExportScope::Incident => {
                let parts = self.parts_of(row, scope).await?;
                self.incident_files(row, &parts, wanted).await
            }
            ExportScope::Executive => {
                let parts = self.parts_of(row, scope).await?;
                let page = export::executive(&self.report_fields(row).await?, &parts);
                Files::of(wanted, &page, || export::executive_paper(&page))?.beside(&parts)
            }
        }
    }

    /// The bundle of the run. What policies could not give is named in its manifest.
    async fn bundle_of(&self, row: &ExportRow, parts: Vec<Part>) -> Result<Vec<u8>, Fault> {
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
        Ok(content)
    }
}

/// What an archive says of itself.
fn about(row: &ExportRow, scope: ExportScope) -> Value {
    json!({
        "export_id": row.export_id,
        "tenant_id": row.tenant_id,
        "scope": scope.as_str_name().trim_start_matches("EXPORT_SCOPE_"),
        "run_id": row.run_id,
        "attempt": row.attempt,
        "created_at_us": row.created_at.0,
        "exported_by": row.requested_by,
        "reason": row.reason,
    })
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

pub(super) fn pretty(document: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec_pretty(document)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "the document can't be written").caused_by(error))
}
