//! Records as a table: lines of cells, or one document.

use runspine_errors::Fault;
use runspine_logs_domain::export;
use serde_json::{Map, Value, json};

use super::content::within;
use crate::store::exports::ExportRow;

/// One record: a cell for each column, and what a document says in its own way or beside them.
pub(super) struct Record<const N: usize> {
    pub cells: [String; N],
    pub nested: Vec<(&'static str, Value)>,
}

/// Records as they are exported.
pub(super) struct Table<const N: usize> {
    columns: [&'static str; N],
    csv: Option<String>,
    json: Option<(Vec<Value>, usize)>,
}

impl<const N: usize> Table<N> {
    /// A table that is written as lines, as a document, or as both.
    pub(super) fn new(columns: [&'static str; N], (csv, json): (bool, bool)) -> Self {
        let csv = csv.then(|| export::line(columns));
        Self { columns, csv, json: json.then(|| (Vec::new(), 0)) }
    }

    pub(super) fn push(&mut self, record: Record<N>) -> Result<(), Fault> {
        if let Some(text) = &mut self.csv {
            text.push_str(&export::line(record.cells.iter().map(String::as_str)));
            within(text.len())?;
        }
        if let Some((records, size)) = &mut self.json {
            let pairs = self.columns.iter().zip(record.cells);
            let mut object: Map<String, Value> =
                pairs.map(|(name, cell)| ((*name).to_owned(), cell.into())).collect();
            object.extend(record.nested.into_iter().map(|(name, value)| (name.to_owned(), value)));
            let object = Value::Object(object);
            *size += object.to_string().len();
            within(*size)?;
            records.push(object);
        }
        Ok(())
    }

    /// The lines and the document, where they were asked for; `name` is what the document calls its records.
    pub(super) fn finish(self, row: &ExportRow, name: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let document = self.json.map(|(records, _)| {
            json!({
                "export_id": row.export_id,
                "tenant_id": row.tenant_id,
                "run_id": row.run_id,
                "created_at_us": row.created_at.0,
                "exported_by": row.requested_by,
                name: records,
            })
            .to_string()
            .into_bytes()
        });
        (self.csv.map(String::into_bytes), document)
    }
}
