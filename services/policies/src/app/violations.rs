//! Violations that somebody reports, and all of them as they are read.

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_errors::Fault;
use runspine_policies_domain::{reasons, words::ViolationSource};
use runspine_rpc::{micros, timestamp};
use runspine_types::Micros;

use super::{
    App, Keyed, Who,
    observe::{Attempt, Under, raised},
    read::Page,
    unreadable,
};
use crate::store::{
    hot,
    lists::{self, BodyRow, Filter},
    violations,
};

impl App {
    /// Stores a violation that somebody found, or says which one is stored.
    pub(crate) async fn report_violation(
        &self,
        who: &Who,
        request: &pb::ReportViolationRequest,
    ) -> Result<pb::ReportViolationResponse, Fault> {
        let attempt = Attempt { run_id: request.run_id.clone(), attempt: request.attempt };
        let handle = self.handle(who, &attempt).await?;
        let named = self.rule_of(who, &handle, &request.rule_id).await?;
        let now = self.now();
        let snapshot = self.cache.snapshot(&self.db, &who.tenant, handle.digest).await;
        let run = runspine_policies_domain::facts::Run::default();
        let under = Under {
            who,
            attempt: &attempt,
            handle: &handle,
            snapshot: &snapshot,
            profile: who.profile,
            run: &run,
            now,
        };
        let violation = found(&under, request, named);
        let fact = raised(&under, violation.clone());
        let key = Keyed::by_request_id("policies.ReportViolation", &request.request_id, request);
        let run_key = handle.run_key;
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                hot::raise(tx, vec![(run_key, fact)]).await?;
                let stored = violations::stored(tx, run_key, &violation).await?;
                let stored = pb::Violation::decode(stored).map_err(unreadable)?;
                let first = stored.violation_id == violation.violation_id;
                Ok(pb::ReportViolationResponse { violation: Some(stored), first })
            })
        })
        .await
    }

    /// Version and slug of a rule that binds the attempt, or is in force for the tenant.
    async fn rule_of(
        &self,
        who: &Who,
        handle: &super::cache::RunHandle,
        rule_id: &str,
    ) -> Result<(u32, String), Fault> {
        let bound = self.cache.snapshot(&self.db, &who.tenant, handle.digest).await;
        let in_force = self.active(who).await?.compiled;
        let rules = bound.iter().flat_map(|s| s.rules.iter()).chain(in_force.rules.iter());
        let mut named = rules.filter(|r| r.meaning.rule_id == rule_id);
        let rule = named.next().map(|r| (r.meaning.version, r.meaning.slug.clone()));
        rule.ok_or_else(|| {
            let text = "the rule neither binds the attempt nor is in force";
            Fault::new(&reasons::RULE_NOT_FOUND, text).field("rule_id", "RULE_NOT_FOUND", text)
        })
    }

    /// One violation.
    pub(crate) async fn violation(&self, who: &Who, id: &str) -> Result<pb::Violation, Fault> {
        let filter = Filter::tenant("r.tenant_id", &who.tenant).and("v.violation_id =", id);
        let rows: Vec<BodyRow> = filter.fetch(self.db.read(), lists::VIOLATION, "v.id DESC", 1).await?;
        let row = rows.into_iter().next();
        let row =
            row.ok_or_else(|| Fault::new(&reasons::VIOLATION_NOT_FOUND, "there is no such violation"))?;
        pb::Violation::decode(row.body).map_err(unreadable)
    }

    /// Violations, newest first, with their keys.
    pub(crate) async fn violations(
        &self,
        who: &Who,
        request: &pb::ListViolationsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Violation)>, Fault> {
        let some = |text: &'_ String| (!text.is_empty()).then(|| text.clone());
        let filter = Filter::tenant("r.tenant_id", &who.tenant)
            .and_if("r.run_id =", some(&request.run_id))
            .and_if("v.rule_id =", some(&request.rule_id))
            .and_if("v.id <", page.before)
            .and_if("v.recorded_at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("v.recorded_at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of("v.kind", &request.kinds)
            .any_of("v.severity", &request.severities);
        let rows: Vec<BodyRow> =
            filter.fetch(self.db.read(), lists::VIOLATION, "v.id DESC", page.limit).await?;
        rows.into_iter().map(|r| Ok((r.id, pb::Violation::decode(r.body).map_err(unreadable)?))).collect()
    }
}

fn found(
    under: &Under<'_>,
    r: &pb::ReportViolationRequest,
    (version, rule_slug): (u32, String),
) -> pb::Violation {
    let detected = r.detected_at.as_ref().map_or(under.now, micros);
    pb::Violation {
        version,
        rule_slug,
        rule_id: r.rule_id.clone(),
        rule_code: r.rule_code.clone(),
        kind: r.kind,
        severity: r.severity,
        source: ViolationSource::Reported.code(),
        value: r.value.clone(),
        threshold: r.threshold.clone(),
        reason: r.reason.clone(),
        evidence: r.evidence.clone(),
        reporter: Some(under.who.actor.clone()),
        detected_at: Some(timestamp(Micros(detected.0.min(under.now.0)))),
        ..super::observe::identity(under, r.step_index, &r.rule_id)
    }
}
