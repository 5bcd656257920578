//! Exports of incidents: every attempt that one struck is proved while the report is written.

use std::collections::BTreeMap;

use contracts_logs::v1::{ExportFormat, ExportIncidentKind, IncidentOrder};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    export::{self, Part, Struck},
    reasons,
};
use serde_json::{Value, json};

use super::content::{Files, incomplete, judged};
use crate::{
    app::App,
    store::{
        certificates::{self, Filter},
        exports::ExportRow,
    },
};

/// Certificates that are named of one run.
const CERTIFICATES: i64 = 100;

/// What was ordered, as it was kept.
pub(super) fn order_of(row: &ExportRow) -> Result<IncidentOrder, Fault> {
    IncidentOrder::decode(row.filter.clone())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "the order of an export can't be read").caused_by(error))
}

impl App {
    /// Refuses a report that would lack fields which nobody can bring any more.
    pub(super) async fn refuse_incident(&self, row: &ExportRow) -> Result<(), Fault> {
        let order = order_of(row)?;
        let (struck, _) = self.struck(row, &order).await?;
        if order.kind() == ExportIncidentKind::Executive {
            return Ok(());
        }
        let mut fields = export::incident_fields(&order, base(row), &struck, &[]);
        fields.insert("violation_step_index".to_owned(), "brought by incidents".into());
        judged(order.kind() == ExportIncidentKind::Soc2, &fields, self.strict).map(drop)
    }

    /// The files of an export of an incident.
    pub(super) async fn incident_files(
        &self,
        row: &ExportRow,
        parts: &[Part],
        wanted: &[ExportFormat],
    ) -> Result<Files, Fault> {
        let order = order_of(row)?;
        if !export::agrees(&order, parts) {
            return Err(incomplete(["sources.incidents".to_owned()].into_iter()));
        }
        let (struck, open) = self.struck(row, &order).await?;
        let fields = export::incident_fields(&order, base(row), &struck, parts);
        if order.kind() == ExportIncidentKind::Executive {
            let mut page = export::executive(&fields, parts);
            page["summary"] = export::incident_summary(&order, &fields, parts).into();
            page["open_attempts"] = json!(open);
            return Files::of(wanted, &page, || export::executive_paper(&page))?.beside(parts);
        }
        let mut failed = export::failed(parts).peekable();
        if failed.peek().is_some() {
            return Err(incomplete(failed));
        }
        let soc2 = order.kind() == ExportIncidentKind::Soc2;
        let lacks = judged(soc2, &fields, self.strict)?;
        let fields = if soc2 { fields } else { export::without_soc2(fields) };
        let document = export::bundled(fields.clone(), parts);
        let files = Files::of(wanted, &document, || export::report_paper(&fields))?;
        Ok(Files { lacks, ..files.beside(parts)? })
    }

    /// What is known of each attempt. A page names those that are not over; evidence waits for no one.
    async fn struck(
        &self,
        row: &ExportRow,
        order: &IncidentOrder,
    ) -> Result<(Vec<Struck>, Vec<String>), Fault> {
        let page = order.kind() == ExportIncidentKind::Executive;
        let (mut struck, mut open) = (Vec::with_capacity(order.attempts.len()), Vec::new());
        for attempt in &order.attempts {
            let of = ExportRow { run_id: attempt.run_id.clone(), attempt: attempt.attempt, ..row.clone() };
            match self.struck_one(&of).await {
                Ok(one) => struck.push(one),
                Err(fault)
                    if page && (fault.is(&reasons::NOT_SEALED) || fault.is(&reasons::TRACE_NOT_FOUND)) =>
                {
                    open.push(format!("{}/{}", attempt.run_id, attempt.attempt));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok((struck, open))
    }

    async fn struck_one(&self, row: &ExportRow) -> Result<Struck, Fault> {
        let proved = self.proved(row).await?;
        let filter = Filter { run_id: Some(row.run_id.clone()), revoked: Some(false), ..Filter::default() };
        let found = certificates::list(self.db.read(), &row.tenant_id, &filter, None, CERTIFICATES).await?;
        Ok(Struck {
            fields: proved.fields(row),
            proof: proved.proof_word(),
            verdict: proved.verdict_word(),
            certificates: found.into_iter().map(|row| row.certificate_id).collect(),
            facts: proved.facts,
        })
    }
}

/// The fields that depend on no attempt.
fn base(row: &ExportRow) -> BTreeMap<String, Value> {
    let fields = [
        ("bundle_id", json!(row.export_id)),
        ("tenant_id", json!(row.tenant_id)),
        ("exported_by", json!(row.requested_by)),
        ("export_reason", json!(row.reason)),
        ("created_at", json!(row.created_at.0)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
