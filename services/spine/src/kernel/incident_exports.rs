//! An export of an incident that somebody orders at the spine's door.

use contracts_incidents::v1::GetIncidentRequest;
use contracts_logs::v1::ExportFormat;
use contracts_spine::v1::{
    ExportIncidentRequest, ExportIncidentResponse, IncidentExportPromise, IncidentReport,
    IncidentReportFormat,
};
use runspine_errors::{Outcome, Violations, mesh};
use runspine_rpc::Context;
use runspine_types::{Hasher, derived_id, is_uuid, is_uuid_v7};

use super::{Kernel, refuse::as_callers_fault};
use crate::reasons;

impl Kernel {
    /// Promises an export of an incident, and does as much about it as can be done while the caller waits.
    ///
    /// # Errors
    /// What is wrong with the request, an unknown incident, another order under the same key, or an outage before
    /// anything was promised.
    pub async fn export_incident(
        &self,
        context: &Context,
        r: ExportIncidentRequest,
    ) -> Outcome<ExportIncidentResponse> {
        let order = parsed(context, r)?;
        let get = GetIncidentRequest { incident_id: order.incident_id.clone() };
        self.bridges.incident_ends.get(context, get).await.map_err(|miss| {
            if miss.is_refusal() {
                as_callers_fault(miss)
            } else {
                miss.into_fault(&reasons::RECORD_UNAVAILABLE)
            }
        })?;
        self.incident_export_ordered(context, &order).await?;
        let refusal_reason = self.incident_export_refused(context, &order.export_id).await?;
        Ok(ExportIncidentResponse { export_id: order.export_id, refusal_reason })
    }
}

/// The order, under an id that the same request has for ever.
fn parsed(context: &Context, r: ExportIncidentRequest) -> Outcome<IncidentExportPromise> {
    let mut v = Violations::new();
    let named = is_uuid(&r.request_id);
    v.require(named, "request_id", mesh::REQUEST_ID_REQUIRED.name, "a UUID in hyphenated lower-case form");
    v.require(is_uuid_v7(&r.incident_id), "incident_id", "FIELD_INVALID", "a UUIDv7");
    let report = IncidentReport::try_from(r.report).ok();
    let stated = report.is_some_and(|report| report != IncidentReport::Unspecified);
    v.require(stated, "report", "ENUM_UNKNOWN", "EVIDENCE, SOC2 or EXECUTIVE");
    let format = IncidentReportFormat::try_from(r.format).ok();
    v.require(format.is_some(), "format", "ENUM_UNKNOWN", "JSON, ZIP or PDF");
    let bare = format == Some(IncidentReportFormat::Pdf) && report == Some(IncidentReport::Evidence);
    v.require(!bare, "format", "FIELD_INVALID", "evidence does not fit on pages: JSON or ZIP");
    let fits = r.reason.chars().count() <= 500;
    v.require(fits, "reason", "FIELD_INVALID", "up to 500 characters");
    v.into_result(&mesh::FIELD_INVALID)?;
    let format = match format.unwrap_or_default() {
        IncidentReportFormat::Zip => ExportFormat::Zip,
        IncidentReportFormat::Pdf => ExportFormat::Pdf,
        IncidentReportFormat::Json | IncidentReportFormat::Unspecified => ExportFormat::Json,
    };
    let key = Hasher::new("runspine.incidentexport.v1")
        .sized(context.tenant_id.as_bytes())
        .sized(r.request_id.as_bytes())
        .finish();
    Ok(IncidentExportPromise {
        export_id: derived_id(key),
        incident_id: r.incident_id,
        kind: r.report,
        format: format.into(),
        reason: r.reason,
        actor: context.actor.clone(),
    })
}

#[cfg(test)]
mod tests {
    use contracts_incidents::v1::IncidentExportKind;
    use contracts_logs::v1::ExportIncidentKind;

    use super::*;

    /// The promise says a kind by a number that three contracts give the same name.
    #[test]
    fn the_kinds_have_the_same_numbers_everywhere() {
        for number in 1..=4 {
            let word =
                |name: Option<&str>, prefix: &str| name.map(|n| n.trim_start_matches(prefix).to_owned());
            let of_spine = IncidentReport::try_from(number).ok().map(|k| k.as_str_name());
            let of_logs = ExportIncidentKind::try_from(number).ok().map(|k| k.as_str_name());
            let of_incidents = IncidentExportKind::try_from(number).ok().map(|k| k.as_str_name());
            let name = word(of_spine, "INCIDENT_REPORT_");
            assert_eq!(name, word(of_logs, "EXPORT_INCIDENT_KIND_"), "{number}");
            assert_eq!(name, word(of_incidents, "INCIDENT_EXPORT_KIND_"), "{number}");
            assert_eq!(name.is_some(), number < 4);
        }
    }
}
