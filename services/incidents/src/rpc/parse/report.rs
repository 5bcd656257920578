//! Reports of the spine.

use contracts_incidents::v1 as pb;
use runspine_errors::{Outcome, mesh};
use runspine_incidents_domain::{
    Category, CauseType, RunStatus, Severity, Source, Termination, Trigger,
    outcome::{Occurrence, RunReport, Subject},
    reasons, redact,
    suppression::Suppression,
};
use runspine_types::{Digest, Micros, new_id};

use super::{Checks, evidence};
use crate::app::{FactReport, ViolationReport, VoidOrder};

/// Characters of a description.
const MAX_DESCRIPTION: usize = 4_000;

/// The cause of every violation incident.
const VIOLATION_CAUSE: &str = "POLICY_VIOLATION";

/// How a run attempt ended.
///
/// # Errors
/// With every field that is wrong.
pub fn run_outcome(r: pb::ReportRunOutcomeRequest, now: Micros) -> Outcome<RunReport> {
    let mut c = Checks::default();
    run_and_attempt(&mut c, &r.run_id, r.attempt);
    let status = c.word("status", r.status, RunStatus::of);
    let termination = c.word("termination_reason", r.termination_reason, Termination::of);
    for (field, value) in [
        ("agent_id", &r.agent_id),
        ("project_id", &r.project_id),
        ("tool_name", &r.tool_name),
        ("synthetic_scenario_id", &r.synthetic_scenario_id),
        ("violation_policy_id", &r.violation_policy_id),
    ] {
        c.text(field, value, 128);
    }
    let usage = r.usage.unwrap_or_default();
    c.require(usage.cost_microusd >= 0, &mesh::FIELD_INVALID, "usage.cost_microusd", "must not be negative");
    let occurred_at = c.time("occurred_at", r.occurred_at.as_ref()).unwrap_or(now);
    let suppression = suppression(&mut c, r.suppression);
    let parsed = status.zip(termination).map(|(status, termination)| RunReport {
        run_id: r.run_id,
        attempt: r.attempt,
        status,
        termination,
        error_code: r.error_code,
        error_message: r.error_message,
        agent_id: r.agent_id,
        project_id: r.project_id,
        step_index: r.step_index,
        tool_name: r.tool_name,
        cost_microusd: usage.cost_microusd,
        occurred_at,
        suppression,
        synthetic: r.synthetic,
        synthetic_scenario_id: r.synthetic_scenario_id,
        violation_policy_id: r.violation_policy_id,
    });
    c.done(parsed)
}

/// A fact that is not the outcome of a run.
///
/// # Errors
/// With every field that is wrong.
pub fn fact(r: pb::ReportIncidentRequest, tenant: &str, now: Micros) -> Outcome<FactReport> {
    let mut c = Checks::default();
    let source = c.word("source", r.source, Source::of);
    let trigger = c.word("trigger_type", r.trigger_type, Trigger::of);
    let category = c.word("category", r.category, Category::of);
    let severity = c.word("severity", r.severity, Severity::of);
    if let Some((source, trigger)) = source.zip(trigger) {
        let known = trigger.rule().sources.contains(&source);
        c.require(known, &mesh::FIELD_INVALID, "trigger_type", "is not reported by this source");
    }
    if let Some((trigger, severity)) = trigger.zip(severity) {
        let enough = severity >= trigger.rule().at_least;
        c.require(enough, &mesh::FIELD_INVALID, "severity", "is too low for this trigger to be reported");
    }
    fact_texts(&mut c, &r);
    let occurred_at = c.time("occurred_at", r.occurred_at.as_ref()).unwrap_or(now);
    let suppression = suppression(&mut c, r.suppression.clone());
    let evidence = evidence(&mut c, r.evidence.clone());
    let occurrence = fact_occurrence(&r, occurred_at, now);
    let words = source.zip(trigger).zip(category.zip(severity));
    let parsed = words.map(|((source, trigger), (category, severity))| {
        let severity = trigger.opening_severity(severity);
        let fact_id = r.fact_id.clone();
        let subject = fact_subject(r, tenant, (source, trigger, category, severity));
        FactReport { fact_id, subject, occurrence, evidence, suppression }
    });
    c.done(parsed)
}

/// A violation of a rule in a run.
///
/// # Errors
/// With every field that is wrong: VIOLATION_REQUIRED, EVIDENCE_REQUIRED, FIELD_INVALID.
pub fn violation(r: pb::OpenViolationIncidentRequest, tenant: &str, now: Micros) -> Outcome<ViolationReport> {
    let mut c = Checks::default();
    run_and_attempt(&mut c, &r.run_id, r.attempt);
    c.required(&reasons::VIOLATION_REQUIRED, "violation_id", &r.violation_id, 128);
    c.required(&mesh::FIELD_INVALID, "rule_id", &r.rule_id, 128);
    c.code("rule_code", &r.rule_code);
    for (field, value, most) in [
        ("kind", &r.kind, 64),
        ("rule_slug", &r.rule_slug, 128),
        ("value", &r.value, 256),
        ("threshold", &r.threshold, 256),
        ("reason", &r.reason, 500),
        ("agent_id", &r.agent_id, 128),
        ("project_id", &r.project_id, 128),
        ("synthetic_scenario_id", &r.synthetic_scenario_id, 128),
    ] {
        c.text(field, value, most);
    }
    let severity = c.word("severity", r.severity, Severity::of);
    let proved = !r.evidence.is_empty();
    c.require(proved, &reasons::EVIDENCE_REQUIRED, "evidence", "has at least one piece");
    let evidence = evidence(&mut c, r.evidence.clone());
    let occurred_at = c.time("occurred_at", r.occurred_at.as_ref()).unwrap_or(now);
    let occurrence = Occurrence {
        id: new_id(),
        run_id: r.run_id.clone(),
        attempt: r.attempt,
        cause_code: VIOLATION_CAUSE.to_owned(),
        fact_id: r.violation_id.clone(),
        step_index: r.step_index,
        tool_name: String::new(),
        occurred_at,
        recorded_at: now,
        cost_microusd: 0,
        overflow: false,
    };
    let violation_id = r.violation_id.clone();
    let parsed = severity.map(|severity| ViolationReport {
        violation_id,
        subject: violation_subject(r, tenant, severity),
        occurrence,
        evidence,
    });
    c.done(parsed)
}

fn violation_subject(r: pb::OpenViolationIncidentRequest, tenant: &str, severity: Severity) -> Subject {
    let found = format!("{} {}: {} (allowed: {})", r.rule_code, r.kind, r.value, r.threshold);
    let text = if r.reason.is_empty() { found } else { format!("{found}. {}", r.reason) };
    let rule = if r.rule_slug.is_empty() { &r.rule_id } else { &r.rule_slug };
    Subject {
        tenant_id: tenant.to_owned(),
        project_id: r.project_id,
        trigger: Trigger::PolicyViolation,
        source: Source::Run,
        cause_type: CauseType::Run,
        category: Category::PolicyViolation,
        severity,
        // One incident for a rule and run, whichever of the rule's codes was raised.
        cause_code: VIOLATION_CAUSE.to_owned(),
        title: format!("A run violated the rule {rule}"),
        description: redact::text(&text, MAX_DESCRIPTION),
        error_message: String::new(),
        agent_id: r.agent_id,
        rule_id: r.rule_id,
        scope_id: r.run_id,
        tool_name: String::new(),
        synthetic: r.synthetic,
        synthetic_scenario_id: r.synthetic_scenario_id,
        aware_at: None,
    }
}

/// Which report to undo.
///
/// # Errors
/// With every field that is wrong.
pub fn void(r: pb::VoidIncidentRequest) -> Outcome<VoidOrder> {
    let mut c = Checks::default();
    run_and_attempt(&mut c, &r.run_id, r.attempt);
    let one = r.cause.is_empty() != r.incident_id.is_empty();
    c.require(one, &mesh::FIELD_INVALID, "cause", "exactly one of cause and incident_id is given");
    c.optional_id("incident_id", &r.incident_id);
    if !r.cause.is_empty() {
        c.code("cause", &r.cause);
    }
    c.required(&mesh::FIELD_INVALID, "reason", &r.reason, 500);
    c.done(Some(VoidOrder {
        run_id: r.run_id,
        attempt: r.attempt,
        cause: r.cause,
        incident_id: r.incident_id,
        reason: r.reason,
    }))
}

fn run_and_attempt(c: &mut Checks, run_id: &str, attempt: u32) {
    c.id("run_id", run_id);
    c.require(attempt >= 1, &mesh::FIELD_INVALID, "attempt", "counts from 1");
}

fn suppression(c: &mut Checks, given: Option<pb::Suppression>) -> Option<Suppression> {
    let given = given?;
    c.required(&mesh::FIELD_INVALID, "suppression.rule_id", &given.rule_id, 128);
    c.required(&mesh::FIELD_INVALID, "suppression.prevention_id", &given.prevention_id, 128);
    c.text("suppression.signature", &given.signature, 64);
    let digest = Digest::from_slice(&given.snapshot_digest);
    c.require(digest.is_some(), &mesh::FIELD_INVALID, "suppression.snapshot_digest", "must be 32 bytes");
    Some(Suppression {
        rule_id: given.rule_id,
        snapshot_digest: digest?,
        prevention_id: given.prevention_id,
        signature: given.signature,
    })
}

fn fact_texts(c: &mut Checks, r: &pb::ReportIncidentRequest) {
    c.code("cause_code", &r.cause_code);
    c.required(&mesh::FIELD_INVALID, "title", &r.title, 200);
    c.text("description", &r.description, MAX_DESCRIPTION);
    c.text("scope_id", &r.scope_id, 255);
    c.required(&mesh::FIELD_INVALID, "fact_id", &r.fact_id, 128);
    c.optional_id("run_id", &r.run_id);
    let paired = r.run_id.is_empty() == (r.attempt == 0);
    c.require(paired, &mesh::FIELD_INVALID, "attempt", "is given with a run, and only with one");
    for (field, value) in [
        ("agent_id", &r.agent_id),
        ("project_id", &r.project_id),
        ("rule_id", &r.rule_id),
        ("tool_name", &r.tool_name),
        ("synthetic_scenario_id", &r.synthetic_scenario_id),
    ] {
        c.text(field, value, 128);
    }
}

fn fact_occurrence(r: &pb::ReportIncidentRequest, occurred_at: Micros, now: Micros) -> Occurrence {
    Occurrence {
        id: new_id(),
        run_id: r.run_id.clone(),
        attempt: r.attempt,
        cause_code: r.cause_code.clone(),
        fact_id: r.fact_id.clone(),
        step_index: r.step_index,
        tool_name: r.tool_name.clone(),
        occurred_at,
        recorded_at: now,
        cost_microusd: 0,
        overflow: false,
    }
}

fn fact_subject(
    r: pb::ReportIncidentRequest,
    tenant: &str,
    (source, trigger, category, severity): (Source, Trigger, Category, Severity),
) -> Subject {
    Subject {
        tenant_id: tenant.to_owned(),
        project_id: r.project_id,
        trigger,
        source,
        cause_type: CauseType::System,
        category,
        severity,
        cause_code: r.cause_code,
        title: r.title,
        description: redact::text(&r.description, MAX_DESCRIPTION),
        error_message: String::new(),
        agent_id: r.agent_id,
        rule_id: r.rule_id,
        scope_id: r.scope_id,
        tool_name: r.tool_name,
        synthetic: r.synthetic,
        synthetic_scenario_id: r.synthetic_scenario_id,
        aware_at: None,
    }
}
