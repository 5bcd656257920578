//! What is asked of exports.

use contracts_incidents::v1 as pb;
use runspine_errors::{Outcome, mesh};
use runspine_incidents_domain::export::ExportKind;
use runspine_types::{PageSize, is_uuid};

use super::Checks;
use crate::{
    app::{Ending, NewExport},
    rpc::digest_of,
    store::exports::End,
};

const COMPLETE: &str = "runspine.incidents.v1.IncidentExportService/CompleteExport";
const FAIL: &str = "runspine.incidents.v1.IncidentExportService/FailExport";

/// What is to be frozen.
///
/// # Errors
/// With every field that is wrong.
pub fn prepare(r: pb::PrepareExportRequest) -> Outcome<NewExport> {
    let mut c = Checks::default();
    let digest = digest_of(&r);
    named(&mut c, "export_id", &r.export_id);
    c.id("incident_id", &r.incident_id);
    let kind = c.word("kind", r.kind, ExportKind::of);
    c.text("reason", &r.reason, 500);
    let pb::PrepareExportRequest { export_id, incident_id, reason, .. } = r;
    c.done(kind.map(|kind| NewExport { export_id, incident_id, kind, reason, digest }))
}

/// Which content an export has.
///
/// # Errors
/// With every field that is wrong.
pub fn complete(r: pb::CompleteExportRequest) -> Outcome<Ending> {
    let mut c = Checks::default();
    let digest = digest_of(&r);
    named(&mut c, "export_id", &r.export_id);
    named(&mut c, "content_export_id", &r.content_export_id);
    c.require(r.content_digest.len() == 32, &mesh::FIELD_INVALID, "content_digest", "must be 32 bytes");
    c.require(r.content_size > 0, &mesh::FIELD_INVALID, "content_size", "counts from 1");
    let end = End {
        state: pb::IncidentExportState::Completed.into(),
        content_export_id: r.content_export_id,
        content_digest: r.content_digest,
        content_size: r.content_size,
        ..End::default()
    };
    c.done(Some(Ending { export_id: r.export_id, operation: COMPLETE, end, digest }))
}

/// Why an export can't be made.
///
/// # Errors
/// With every field that is wrong.
pub fn fail(r: pb::FailExportRequest) -> Outcome<Ending> {
    let mut c = Checks::default();
    let digest = digest_of(&r);
    named(&mut c, "export_id", &r.export_id);
    c.code("reason", &r.reason);
    let listed = r.missing.len() <= 500 && r.missing.iter().all(|name| is_name(name));
    c.require(listed, &mesh::FIELD_INVALID, "missing", "has at most 500 names of 1 to 128 bytes");
    let end = End {
        state: pb::IncidentExportState::Failed.into(),
        reason: r.reason,
        missing: r.missing.join("\n"),
        ..End::default()
    };
    c.done(Some(Ending { export_id: r.export_id, operation: FAIL, end, digest }))
}

/// The id of one export.
///
/// # Errors
/// When it is none.
pub fn export_id(export_id: String) -> Outcome<String> {
    let mut c = Checks::default();
    named(&mut c, "export_id", &export_id);
    c.done(Some(export_id))
}

/// How many exports, of which incident.
///
/// # Errors
/// With every field that is wrong.
pub fn exports(r: &pb::ListIncidentExportsRequest) -> Outcome<PageSize> {
    let mut c = Checks::default();
    c.optional_id("incident_id", &r.incident_id);
    let size = c.page_size(r.page_size);
    c.done(size)
}

fn named(c: &mut Checks, field: &str, id: &str) {
    c.require(is_uuid(id), &mesh::FIELD_INVALID, field, "must be a UUID in lower case");
}

fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.contains('\n')
}
