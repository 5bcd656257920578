//! What people ask for.

use contracts_incidents::v1 as pb;
use prost::Message;
use runspine_errors::{Outcome, mesh};
use runspine_incidents_domain::{
    Category, CauseType, CloseReason, ResolutionMethod, ResolutionType, Severity, Source, Trigger,
    outcome::Subject, reasons,
};
use runspine_types::Micros;

use super::{Checks, evidence};
use crate::{
    app::{Command, NewIncident, Order},
    rpc::digest_of,
};

/// Characters of a note, reason or summary.
const MAX_NOTE: usize = 2_000;

/// The cause code of what a person opens.
const REPORTED_BY_HAND: &str = "REPORTED_BY_HAND";

/// The fields that every order has.
struct Target {
    incident_id: String,
    expected_version: i64,
    request_id: String,
}

fn order<M: Message>(mut c: Checks, request: &M, target: Target, command: Option<Command>) -> Outcome<Order> {
    c.id("incident_id", &target.incident_id);
    let stated = target.expected_version >= 1;
    c.require(stated, &mesh::FIELD_INVALID, "expected_version", "counts from 1");
    c.request_id(&target.request_id);
    let digest = digest_of(request);
    let Target { incident_id, expected_version, request_id } = target;
    c.done(command.map(|command| Order { incident_id, expected_version, request_id, digest, command }))
}

macro_rules! target {
    ($r:expr) => {
        Target {
            incident_id: $r.incident_id.clone(),
            expected_version: $r.expected_version,
            request_id: $r.request_id.clone(),
        }
    };
}

/// Take it.
///
/// # Errors
/// With every field that is wrong.
pub fn acknowledge(r: &pb::AcknowledgeIncidentRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    c.text("note", &r.note, MAX_NOTE);
    order(c, r, target!(r), Some(Command::Acknowledge { note: r.note.clone() }))
}

/// End it with a resolution; `by_mesh`: nobody orders it.
///
/// # Errors
/// With every field that is wrong.
pub fn resolve(r: &pb::ResolveIncidentRequest, by_mesh: bool) -> Outcome<Order> {
    let mut c = Checks::default();
    let method = c.word("resolution_method", r.resolution_method, ResolutionMethod::of);
    let fits = by_mesh || method != Some(ResolutionMethod::Auto);
    c.require(fits, &mesh::FIELD_INVALID, "resolution_method", "AUTO is the mesh's own");
    let kind = c.word("resolution_type", r.resolution_type, ResolutionType::of);
    c.required(&reasons::REASON_REQUIRED, "summary", &r.summary, MAX_NOTE);
    let summary = r.summary.clone();
    let command = method.zip(kind).map(|resolution| Command::Resolve { resolution, summary });
    order(c, r, target!(r), command)
}

/// End it without a resolution.
///
/// # Errors
/// With every field that is wrong.
pub fn close(r: &pb::CloseIncidentRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    c.require(r.reason != 0, &reasons::REASON_REQUIRED, "reason", "is required");
    let reason = c.optional_word("reason", r.reason, CloseReason::of);
    if reason == Some(CloseReason::Other) {
        c.required(&reasons::REASON_REQUIRED, "note", &r.note, MAX_NOTE);
    } else {
        c.text("note", &r.note, MAX_NOTE);
    }
    let note = r.note.clone();
    order(c, r, target!(r), reason.map(|reason| Command::Close { reason, note }))
}

/// Make it active again.
///
/// # Errors
/// With every field that is wrong.
pub fn reopen(r: &pb::ReopenIncidentRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    c.required(&reasons::REASON_REQUIRED, "reason", &r.reason, MAX_NOTE);
    order(c, r, target!(r), Some(Command::Reopen { reason: r.reason.clone() }))
}

/// Raise its severity.
///
/// # Errors
/// With every field that is wrong.
pub fn raise(r: &pb::RaiseSeverityRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    let severity = c.word("severity", r.severity, Severity::of);
    c.required(&reasons::REASON_REQUIRED, "reason", &r.reason, MAX_NOTE);
    let reason = r.reason.clone();
    order(c, r, target!(r), severity.map(|severity| Command::Raise { severity, reason }))
}

/// Give it to somebody.
///
/// # Errors
/// With every field that is wrong.
pub fn assign(r: &pb::AssignIncidentRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    c.text("assignee", &r.assignee, 128);
    order(c, r, target!(r), Some(Command::Assign { assignee: r.assignee.clone() }))
}

/// Add a note.
///
/// # Errors
/// With every field that is wrong.
pub fn add_note(r: &pb::AddNoteRequest) -> Outcome<Order> {
    let mut c = Checks::default();
    c.required(&mesh::FIELD_INVALID, "text", &r.text, MAX_NOTE);
    order(c, r, target!(r), Some(Command::Note { text: r.text.clone() }))
}

/// A new incident by hand.
///
/// # Errors
/// With every field that is wrong.
pub fn create(r: pb::CreateIncidentRequest, tenant: &str, now: Micros) -> Outcome<NewIncident> {
    let mut c = Checks::default();
    let digest = digest_of(&r);
    c.required(&mesh::FIELD_INVALID, "title", &r.title, 200);
    c.text("description", &r.description, 4_000);
    let severity = c.word("severity", r.severity, Severity::of);
    let category = c.word("category", r.category, Category::of);
    runs(&mut c, &r.run_ids);
    c.text("project_id", &r.project_id, 128);
    c.text("agent_id", &r.agent_id, 128);
    c.request_id(&r.request_id);
    let aware_at = c.time("aware_at", r.aware_at.as_ref()).unwrap_or(now);
    c.require(aware_at <= now, &reasons::AWARE_IN_FUTURE, "aware_at", "is later than now");
    let evidence = evidence(&mut c, r.evidence);
    let parsed = severity.zip(category).map(|(severity, category)| NewIncident {
        subject: Subject {
            tenant_id: tenant.to_owned(),
            project_id: r.project_id,
            trigger: Trigger::Human,
            source: Source::Human,
            cause_type: CauseType::Human,
            category,
            severity,
            cause_code: REPORTED_BY_HAND.to_owned(),
            title: r.title,
            description: r.description,
            error_message: String::new(),
            agent_id: r.agent_id,
            rule_id: String::new(),
            scope_id: String::new(),
            tool_name: String::new(),
            synthetic: false,
            synthetic_scenario_id: String::new(),
            aware_at: Some(aware_at),
        },
        run_ids: r.run_ids,
        evidence,
        request_id: r.request_id,
        digest,
    });
    c.done(parsed)
}

fn runs(c: &mut Checks, run_ids: &[String]) {
    c.require(run_ids.len() <= 100, &mesh::FIELD_INVALID, "run_ids", "has more than 100 runs");
    for (n, run_id) in run_ids.iter().enumerate() {
        c.id(&format!("run_ids[{n}]"), run_id);
        let first = !run_ids[..n].contains(run_id);
        c.require(first, &mesh::FIELD_INVALID, &format!("run_ids[{n}]"), "is named twice");
    }
}

/// The id of an incident.
///
/// # Errors
/// When it is none.
pub fn incident_id(id: String) -> Outcome<String> {
    let mut c = Checks::default();
    c.id("incident_id", &id);
    c.done(Some(id))
}
