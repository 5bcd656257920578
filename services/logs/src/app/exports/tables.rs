//! Exports that are tables: which records, a page at a time.

use contracts_logs::v1::{ExportFormat, ExportScope, LlmRunFilter, SystemRecordFilter};
use prost::Message as _;
use runspine_errors::{Fault, mesh};

use super::{
    archive::File,
    content::file,
    records::{self, ENTRY, LLM_RUN, SYSTEM},
    table::Table,
};
use crate::{
    app::App,
    store::{
        exports::ExportRow,
        ledger::{self, Behind, LedgerFilter},
        llm_runs, system,
    },
};

/// Records that are read at a time.
const PAGE: i64 = 1_000;

impl App {
    /// The files of a table, one for each format that is wanted.
    pub(super) async fn table(
        &self,
        row: &ExportRow,
        scope: ExportScope,
        wanted: &[ExportFormat],
    ) -> Result<Vec<File>, Fault> {
        let as_what = (wanted.contains(&ExportFormat::Csv), wanted.contains(&ExportFormat::Json));
        let (csv, json) = match scope {
            ExportScope::LlmRun => {
                self.llm_runs(row, Table::new(LLM_RUN, as_what)).await?.finish(row, "llm_runs")
            }
            ExportScope::System => {
                self.system(row, Table::new(SYSTEM, as_what)).await?.finish(row, "records")
            }
            _ => self.entries(row, Table::new(ENTRY, as_what)).await?.finish(row, "entries"),
        };
        let files = [(ExportFormat::Csv, csv), (ExportFormat::Json, json)];
        Ok(files.into_iter().filter_map(|(format, bytes)| Some(file(format, bytes?))).collect())
    }

    async fn entries(&self, row: &ExportRow, mut out: Table<14>) -> Result<Table<14>, Fault> {
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
            let full = is_full(&page);
            for entry in page {
                after = Some(entry.seq);
                out.push(records::entry(&entry)?)?;
            }
            if !full {
                return Ok(out);
            }
        }
    }

    async fn llm_runs(&self, row: &ExportRow, mut out: Table<18>) -> Result<Table<18>, Fault> {
        let filter = LlmRunFilter::decode(row.filter.clone()).map_err(unreadable)?;
        let filter = llm_runs::LlmRunFilter { up_to: Some(row.up_to), ..filter.into() };
        let mut after = None;
        loop {
            let page = llm_runs::list(self.db.read(), &row.tenant_id, &filter, after, PAGE).await?;
            let full = is_full(&page);
            for found in page {
                after = Some((found.completed_at.0, found.id));
                out.push(records::llm_run(found.record)?)?;
            }
            if !full {
                return Ok(out);
            }
        }
    }

    async fn system(&self, row: &ExportRow, mut out: Table<12>) -> Result<Table<12>, Fault> {
        let filter = SystemRecordFilter::decode(row.filter.clone()).map_err(unreadable)?;
        let filter = system::SystemFilter { up_to: Some(row.up_to), ..filter.into() };
        let mut after = None;
        loop {
            let page = system::list(self.db.read(), &row.tenant_id, &filter, after, PAGE).await?;
            let full = is_full(&page);
            for found in page {
                after = Some((found.occurred_at.0, found.id));
                out.push(records::system(found.record)?)?;
            }
            if !full {
                return Ok(out);
            }
        }
    }
}

fn is_full<T>(page: &[T]) -> bool {
    i64::try_from(page.len()).is_ok_and(|rows| rows == PAGE)
}

fn unreadable(error: prost::DecodeError) -> Fault {
    Fault::new(&mesh::INTERNAL, "the filter of an export can't be read").caused_by(error)
}
