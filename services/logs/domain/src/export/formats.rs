//! How each scope can be written.

use contracts_logs::v1::{ExportFormat, ExportScope};

/// The formats of a scope, its default first. Each can be had alone; an archive holds all the others.
#[must_use]
pub const fn formats(scope: ExportScope) -> &'static [ExportFormat] {
    use ExportFormat::{Bundle, Csv, Json, Pdf, Zip};
    match scope {
        ExportScope::LlmRun | ExportScope::System | ExportScope::Audit => &[Json, Csv, Zip],
        ExportScope::Compliance | ExportScope::Executive | ExportScope::Incident => &[Json, Pdf, Zip],
        ExportScope::Evidence => &[Json, Zip],
        ExportScope::Bundle => &[Bundle, Zip],
        ExportScope::Unspecified => &[],
    }
}

/// The name of a content in an archive.
#[must_use]
pub const fn file_name(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Csv => "content.csv",
        ExportFormat::Bundle => "content.bundle",
        ExportFormat::Pdf => "content.pdf",
        ExportFormat::Zip => "content.zip",
        ExportFormat::Json | ExportFormat::Unspecified => "content.json",
    }
}
