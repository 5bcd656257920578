//! What a query must be.

use contracts_activity::v1::{
    CountRunsRequest, EvidenceHealth, GetRunViewRequest, LatencyBucket, LifeState, ListRunsRequest,
    ObservabilityStatus, RiskLevel, RunFilter, RunSort, SyntheticFilter,
};
use contracts_common::common::v1::{
    AuditStatus, IntegrityStatus, RunPhase, RunSource, RunStatus, TerminationReason,
};
use runspine_activity_domain::reasons;
use runspine_errors::Outcome;

use crate::rpc::checks::Checks;

/// Most values of one field of a filter.
const MOST: usize = 50;

pub(crate) fn list_runs(r: ListRunsRequest) -> Outcome<ListRunsRequest> {
    let mut checks = Checks::default();
    filter(&mut checks, r.filter.as_ref());
    if RunSort::try_from(r.sort).is_err() {
        checks.fail(&reasons::SORT_KEY_UNKNOWN, "sort", "there is no such order of runs");
    }
    checks.require(r.page_size >= 0, "page_size", "must not be negative");
    checks.require(r.page_token.len() <= 512, "page_token", "is too long");
    checks.done().map(|()| r)
}

pub(crate) fn count_runs(r: CountRunsRequest) -> Outcome<CountRunsRequest> {
    let mut checks = Checks::default();
    filter(&mut checks, r.filter.as_ref());
    checks.done().map(|()| r)
}

pub(crate) fn get_run_view(r: GetRunViewRequest) -> Outcome<GetRunViewRequest> {
    let mut checks = Checks::default();
    checks.id("run_id", &r.run_id);
    checks.done().map(|()| r)
}

fn filter(checks: &mut Checks, found: Option<&RunFilter>) {
    let Some(f) = found else { return };
    checks.known_or_zero::<LifeState>("filter.state", f.state);
    checks.known_or_zero::<SyntheticFilter>("filter.synthetic", f.synthetic);
    checks.all_known::<RunPhase>("filter.phases", &f.phases);
    checks.all_known::<RunStatus>("filter.statuses", &f.statuses);
    checks.all_known::<RiskLevel>("filter.risk_levels", &f.risk_levels);
    checks.all_known::<LatencyBucket>("filter.latency_buckets", &f.latency_buckets);
    checks.all_known::<EvidenceHealth>("filter.evidence_health", &f.evidence_health);
    checks.all_known::<IntegrityStatus>("filter.integrity_status", &f.integrity_status);
    checks.all_known::<AuditStatus>("filter.audit_status", &f.audit_status);
    checks.all_known::<ObservabilityStatus>("filter.observability_status", &f.observability_status);
    checks.all_known::<RunSource>("filter.sources", &f.sources);
    checks.all_known::<TerminationReason>("filter.termination_reasons", &f.termination_reasons);
    for (field, values) in [
        ("filter.provider_types", &f.provider_types),
        ("filter.agent_ids", &f.agent_ids),
        ("filter.project_ids", &f.project_ids),
    ] {
        checks.require(values.len() <= MOST, field, "must be at most 50");
        values.iter().for_each(|value| checks.text(field, value, 1, 128));
    }
    if !f.parent_run_id.is_empty() {
        checks.id("filter.parent_run_id", &f.parent_run_id);
    }
    if !f.text.is_empty() {
        checks.text("filter.text", &f.text, 4, 128);
    }
    for (field, time) in [
        ("filter.started_from", &f.started_from),
        ("filter.started_to", &f.started_to),
        ("filter.completed_from", &f.completed_from),
        ("filter.completed_to", &f.completed_to),
    ] {
        checks.time(field, time.as_ref());
    }
}
