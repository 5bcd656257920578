//! What is read: rules, snapshots, decisions, evaluations, enforcements, evidence.

use bytes::Bytes;
use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::args;
use runspine_errors::Fault;
use runspine_policies_domain::{
    reasons,
    words::{Moment, RuleState},
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Micros, PLATFORM_TENANT};

use super::{App, Who, rules, step::decoded, unreadable};
use crate::store::{
    approvals::{self, ApprovalRow},
    lists::{self, BodyRow, DecisionRow, EnforcementRow, Filter},
    preventions::{self, PreventionRow},
    rules::{HEAD, HeadRow, TRANSITIONS, TransitionRow, VERSION, VERSIONS, VersionRow},
    runs,
    snapshots::SnapshotRow,
};

/// The most that evidence lists of a kind.
const EVIDENCE_ROWS: i64 = 500;

/// Which rows a list wants, and from where.
pub(crate) struct Page {
    /// The key of the last row of the page before; none: from the newest.
    pub before: Option<i64>,
    pub limit: i64,
}

/// A decision with what it was made of.
pub(crate) struct Kept {
    pub id: i64,
    pub decision: pb::Decision,
    pub inputs: Bytes,
    pub inputs_digest: Digest,
}

fn kept(row: DecisionRow) -> Result<Kept, Fault> {
    let decision = if row.moment == Moment::RunStart.code() {
        decoded::<pb::EvaluateRunResponse>(row.answer)?.decision
    } else {
        decoded::<pb::EvaluateStepResponse>(row.answer)?.decision
    };
    let decision = decision.ok_or_else(|| {
        Fault::new(&runspine_errors::mesh::INTERNAL, "a decision was stored without its answer")
    })?;
    let inputs = row.inputs.unwrap_or_default();
    Ok(Kept { id: row.id, decision, inputs, inputs_digest: row.inputs_digest })
}

impl App {
    /// A version by its number, of the tenant only.
    pub(crate) async fn read_version(&self, who: &Who, rule_id: &str, n: u32) -> Result<VersionRow, Fault> {
        let row = self.db.read().fetch_optional(VERSION, args![&who.tenant, rule_id, n]).await?;
        row.ok_or_else(rules::not_found)
    }

    /// The head of a rule of the tenant, or of the mesh layer, with the tenant it belongs to.
    async fn visible(&self, who: &Who, rule_id: &str) -> Result<(String, HeadRow), Fault> {
        let own: Option<HeadRow> = self.db.read().fetch_optional(HEAD, args![&who.tenant, rule_id]).await?;
        if let Some(head) = own {
            return Ok((who.tenant.clone(), head));
        }
        let mesh: Option<HeadRow> =
            self.db.read().fetch_optional(HEAD, args![PLATFORM_TENANT, rule_id]).await?;
        let mesh = mesh.filter(|h| h.mesh).ok_or_else(rules::not_found)?;
        Ok((PLATFORM_TENANT.to_owned(), mesh))
    }

    /// One version with every transition of its rule.
    pub(crate) async fn rule(&self, who: &Who, rule_id: &str, n: u32) -> Result<pb::GetRuleResponse, Fault> {
        let (tenant, head) = self.visible(who, rule_id).await?;
        let n = match (n, head.active_version) {
            (0, 0) => head.last_version,
            (0, active) => active,
            (n, _) => n,
        };
        let row: Option<VersionRow> =
            self.db.read().fetch_optional(VERSION, args![&tenant, rule_id, n]).await?;
        let row = row.ok_or_else(rules::not_found)?;
        let moves: Vec<TransitionRow> =
            self.db.read().fetch_all(TRANSITIONS, args![&tenant, rule_id]).await?;
        Ok(pb::GetRuleResponse {
            rule: Some(rules::present(&row, head.state_of(n), head.revision)?),
            transitions: moves.iter().map(rules::present_transition).collect(),
        })
    }

    /// The versions of a rule, newest first.
    pub(crate) async fn rule_versions(
        &self,
        who: &Who,
        rule_id: &str,
        page: Page,
    ) -> Result<Vec<pb::Rule>, Fault> {
        let (tenant, head) = self.visible(who, rule_id).await?;
        let before = page.before.unwrap_or(i64::MAX);
        let rows: Vec<VersionRow> =
            self.db.read().fetch_all(VERSIONS, args![&tenant, rule_id, before, page.limit]).await?;
        rows.iter().map(|r| rules::present(r, head.state_of(r.version), head.revision)).collect()
    }

    /// Rules of the tenant and of the mesh: the versions that stand for them, with their keys, newest first.
    pub(crate) async fn rules(
        &self,
        who: &Who,
        request: &pb::ListRulesRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Rule)>, Fault> {
        let versions = self.rule_rows(who, request, page).await?;
        let mut out = Vec::with_capacity(versions.len());
        for key in versions {
            let place = args![&key.tenant_id, &key.rule_id, key.version];
            let row: Option<VersionRow> = self.db.read().fetch_optional(VERSION, place).await?;
            let row = row.ok_or_else(rules::not_found)?;
            let state = RuleState::from_code(key.state).unwrap_or(RuleState::Retired);
            out.push((key.id, rules::present(&row, state, key.revision)?));
        }
        Ok(out)
    }

    async fn rule_rows(
        &self,
        who: &Who,
        request: &pb::ListRulesRequest,
        page: Page,
    ) -> Result<Vec<KeyedRule>, Fault> {
        let text = format!("%{}%", request.text.replace(['%', '_'], ""));
        let filter = Filter::tenant("(r.tenant_id", &who.tenant)
            .raw_or_mesh(PLATFORM_TENANT)
            .and_if("v.id <", page.before)
            .any_of("v.mode", &request.modes)
            .any_of("v.scope", &request.scopes)
            .any_of("v.category", &request.categories)
            .any_of("v.source", &request.sources)
            .any_of(STATE, &request.states)
            .and_if("r.slug || ' ' || v.name LIKE", (!request.text.is_empty()).then_some(text));
        Ok(filter.fetch(self.db.read(), RULES, "v.id DESC", page.limit).await?)
    }

    /// The tenant's snapshots, newest first.
    pub(crate) async fn snapshots(
        &self,
        who: &Who,
        request: &pb::ListSnapshotsRequest,
        page: Page,
    ) -> Result<Vec<SnapshotRow>, Fault> {
        let state = "COALESCE((SELECT t.to_state FROM snapshot_transitions t WHERE t.snapshot_key = s.id \
                     ORDER BY t.id DESC LIMIT 1), 0)";
        let filter = Filter::tenant("s.tenant_id", &who.tenant)
            .and_if("s.id <", page.before)
            .and_if("s.created_at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("s.created_at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of(state, &request.states);
        Ok(filter.fetch(self.db.read(), lists::SNAPSHOT, "s.id DESC", page.limit).await?)
    }

    /// One decision.
    pub(crate) async fn decision(&self, who: &Who, decision_id: &str) -> Result<Kept, Fault> {
        let filter = Filter::tenant("r.tenant_id", &who.tenant).and("d.decision_id =", decision_id);
        let rows: Vec<DecisionRow> = filter.fetch(self.db.read(), lists::DECISION, "d.id DESC", 1).await?;
        let row = rows.into_iter().next();
        kept(row.ok_or_else(|| Fault::new(&reasons::DECISION_NOT_FOUND, "there is no such decision"))?)
    }

    /// Decisions, newest first.
    pub(crate) async fn decisions(
        &self,
        who: &Who,
        request: &pb::ListDecisionsRequest,
        page: Page,
    ) -> Result<Vec<Kept>, Fault> {
        let rule = (!request.rule_id.is_empty()).then_some(request.rule_id.as_str());
        let filter = Filter::tenant("r.tenant_id", &who.tenant)
            .and_if("r.run_id =", (!request.run_id.is_empty()).then_some(request.run_id.as_str()))
            .and_if("r.attempt =", (request.attempt > 0).then_some(request.attempt))
            .and_if("d.id <", page.before)
            .and_if("d.decided_at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("d.decided_at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of("d.verdict", &request.verdicts)
            .any_of("d.moment", &request.moments)
            .and_exists(
                "EXISTS (SELECT 1 FROM enforcements e WHERE e.run_key = d.run_key \
                 AND e.decision_id = d.decision_id AND e.rule_id =",
                rule,
            );
        let rows: Vec<DecisionRow> =
            filter.fetch(self.db.read(), lists::DECISION, "d.id DESC", page.limit).await?;
        rows.into_iter().map(kept).collect()
    }

    /// The decisions of an attempt in the order they were made.
    pub(crate) async fn export(
        &self,
        who: &Who,
        run_id: &str,
        attempt: u32,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Kept>, Fault> {
        let filter = Filter::tenant("r.tenant_id", &who.tenant)
            .and("r.run_id =", run_id)
            .and("r.attempt =", attempt)
            .and("d.id >", after);
        let rows: Vec<DecisionRow> = filter.fetch(self.db.read(), lists::DECISION, "d.id", limit).await?;
        rows.into_iter().map(kept).collect()
    }

    /// Enforcements, newest first, with their keys.
    pub(crate) async fn enforcements(
        &self,
        who: &Who,
        request: &pb::ListEnforcementsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Enforcement)>, Fault> {
        let filter = Filter::tenant("r.tenant_id", &who.tenant)
            .and_if("r.run_id =", (!request.run_id.is_empty()).then_some(request.run_id.as_str()))
            .and_if("e.rule_id =", (!request.rule_id.is_empty()).then_some(request.rule_id.as_str()))
            .and_if("e.id <", page.before)
            .and_if("e.at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("e.at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of("e.action", &request.actions);
        let rows: Vec<EnforcementRow> =
            filter.fetch(self.db.read(), lists::ENFORCEMENT, "e.id DESC", page.limit).await?;
        Ok(rows.iter().map(|r| (r.id, enforcement(r))).collect())
    }

    /// Effective evaluations, newest first, with their keys.
    pub(crate) async fn evaluations(
        &self,
        who: &Who,
        request: &pb::ListEvaluationsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Evaluation)>, Fault> {
        let filter = Filter::tenant("e.tenant_id", &who.tenant)
            .raw(" AND s.id IS NULL")
            .and_if("e.id <", page.before)
            .and_if("e.evaluated_at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("e.evaluated_at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of("e.outcome", &request.outcomes);
        let rows: Vec<BodyRow> =
            filter.fetch(self.db.read(), lists::EVALUATION, "e.id DESC", page.limit).await?;
        rows.into_iter().map(|r| Ok((r.id, evaluation(r)?))).collect()
    }

    /// Every revision of an attempt; attempt 0: of the latest attempt that has one.
    pub(crate) async fn evaluation(
        &self,
        who: &Who,
        run_id: &str,
        attempt: u32,
    ) -> Result<pb::GetEvaluationResponse, Fault> {
        let mut history = self.evaluations_of(who, run_id, attempt).await?;
        if let Some(latest) = history.iter().map(|e| e.attempt).max() {
            history.retain(|e| e.attempt == latest);
        }
        if history.is_empty() {
            return Err(Fault::new(&reasons::EVALUATION_NOT_FOUND, "the attempt has no evaluation"));
        }
        let evaluation = history.iter().find(|e| !e.superseded).cloned();
        Ok(pb::GetEvaluationResponse { evaluation, history })
    }

    async fn evaluations_of(
        &self,
        who: &Who,
        run_id: &str,
        attempt: u32,
    ) -> Result<Vec<pb::Evaluation>, Fault> {
        let filter = Filter::tenant("e.tenant_id", &who.tenant)
            .and("e.run_id =", run_id)
            .and_if("e.attempt =", (attempt > 0).then_some(attempt));
        let rows: Vec<BodyRow> =
            filter.fetch(self.db.read(), lists::EVALUATION, "e.attempt, e.revision", EVIDENCE_ROWS).await?;
        rows.into_iter().map(evaluation).collect()
    }

    /// Everything that policy has to say about a run.
    pub(crate) async fn evidence(
        &self,
        who: &Who,
        run_id: &str,
        attempt: u32,
    ) -> Result<pb::GetRunPolicyEvidenceResponse, Fault> {
        let of_run = |tenant: &'static str| {
            Filter::tenant(tenant, &who.tenant)
                .and("r.run_id =", run_id)
                .and_if("r.attempt =", (attempt > 0).then_some(attempt))
        };
        let read = self.db.read();
        let limit = EVIDENCE_ROWS + 1;
        let decisions: Vec<DecisionRow> =
            of_run("r.tenant_id").raw(" AND d.plain = 0").fetch(read, lists::DECISION, "d.id", limit).await?;
        let violations: Vec<BodyRow> =
            of_run("r.tenant_id").fetch(read, lists::VIOLATION, "v.id", limit).await?;
        let enforced: Vec<EnforcementRow> =
            of_run("r.tenant_id").fetch(read, lists::ENFORCEMENT, "e.id", limit).await?;
        let counts: Vec<CountRow> = of_run("r.tenant_id").fetch(read, COUNTS, "1", 1).await?;
        let observed: Vec<(u32,)> = of_run("r.tenant_id").fetch(read, OBSERVED, "1", 1).await?;
        let of_record = |tenant: &'static str, run: &'static str, attempt_is: &'static str| {
            let filter = Filter::tenant(tenant, &who.tenant).and(run, run_id);
            filter.and_if(attempt_is, (attempt > 0).then_some(attempt))
        };
        let prevented: Vec<PreventionRow> = of_record("p.tenant_id", "p.run_id =", "p.attempt =")
            .fetch(read, preventions::PREVENTION, "p.id", limit)
            .await?;
        let approvals: Vec<ApprovalRow> = of_record("a.tenant_id", "a.run_id =", "a.attempt =")
            .fetch(read, approvals::APPROVAL, "a.id", limit)
            .await?;
        let now = self.now();
        let most = usize::try_from(EVIDENCE_ROWS).unwrap_or(usize::MAX);
        let lengths = [decisions.len(), violations.len(), enforced.len(), prevented.len(), approvals.len()];
        let complete = lengths.iter().all(|n| *n <= most);
        let decisions: Result<Vec<_>, Fault> =
            decisions.into_iter().take(most).map(|r| Ok(kept(r)?.decision)).collect();
        let violations: Result<Vec<_>, Fault> = violations
            .into_iter()
            .take(most)
            .map(|r| pb::Violation::decode(r.body).map_err(unreadable))
            .collect();
        Ok(pb::GetRunPolicyEvidenceResponse {
            evaluations: self.evaluations_of(who, run_id, attempt).await?,
            decisions: decisions?,
            violations: violations?,
            enforcements: enforced.iter().take(most).map(enforcement).collect(),
            counts: counts.into_iter().next().map(CountRow::message),
            steps_observed: observed.first().map_or(0, |(n,)| *n),
            complete,
            preventions: prevented.iter().take(most).map(super::preventions::present).collect(),
            approvals: approvals.iter().take(most).map(|r| super::approval::present(r, now)).collect(),
        })
    }

    /// Whether the store answers.
    pub(crate) async fn probe(&self) -> Result<(), Fault> {
        self.db.read().fetch_optional::<(i64,)>(runs::PROBE, args![]).await?;
        Ok(())
    }
}

fn evaluation(row: BodyRow) -> Result<pb::Evaluation, Fault> {
    let mut evaluation = pb::Evaluation::decode(row.body).map_err(unreadable)?;
    evaluation.superseded = row.superseded;
    Ok(evaluation)
}

fn enforcement(r: &EnforcementRow) -> pb::Enforcement {
    pb::Enforcement {
        enforcement_id: r.enforcement_id.clone(),
        run_id: r.run_id.clone(),
        attempt: r.attempt,
        step_index: u32::try_from(r.step_index).ok(),
        decision_id: r.decision_id.clone(),
        rule_id: r.rule_id.clone(),
        version: r.version,
        action: r.action,
        would_outcome: r.would_outcome,
        at: Some(timestamp(Micros(r.at.0))),
    }
}

const STATE: &str =
    "CASE WHEN v.version = r.active_version THEN 2 WHEN v.version = r.draft_version THEN 1 ELSE 3 END";

/// A rule is shown by its version in force and by its draft, or by its last version when it has neither.
const RULES: &str = "SELECT v.id, v.tenant_id, v.rule_id, v.version, r.revision, \
     CASE WHEN v.version = r.active_version THEN 2 WHEN v.version = r.draft_version THEN 1 ELSE 3 END AS state \
     FROM rules r JOIN rule_versions v ON v.tenant_id = r.tenant_id AND v.rule_id = r.rule_id \
     AND (v.version = r.active_version OR v.version = r.draft_version \
     OR (r.active_version = 0 AND r.draft_version = 0 AND v.version = r.last_version))";

const COUNTS: &str = "SELECT \
     CAST(COALESCE(SUM(CASE WHEN d.verdict = 1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS allow, \
     CAST(COALESCE(SUM(CASE WHEN d.verdict = 2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS deny, \
     CAST(COALESCE(SUM(CASE WHEN d.verdict = 3 THEN 1 ELSE 0 END), 0) AS BIGINT) AS modify, \
     CAST(COALESCE(SUM(CASE WHEN d.verdict = 4 THEN 1 ELSE 0 END), 0) AS BIGINT) AS require_approval, \
     CAST(COALESCE(SUM(CASE WHEN d.verdict = 5 THEN 1 ELSE 0 END), 0) AS BIGINT) AS deferred \
     FROM decisions d JOIN run_states r ON r.id = d.run_key";

const OBSERVED: &str = "SELECT COUNT(*) FROM step_facts f JOIN run_states r ON r.id = f.run_key";

runspine_db::row! {
    struct KeyedRule {
        id: i64,
        tenant_id: String,
        rule_id: String,
        version: u32,
        revision: u64,
        state: i32,
    }
}

runspine_db::row! {
    struct CountRow {
        allow: u32,
        deny: u32,
        modify: u32,
        require_approval: u32,
        deferred: u32,
    }
}

impl CountRow {
    const fn message(self) -> pb::VerdictCounts {
        pb::VerdictCounts {
            allow: self.allow,
            deny: self.deny,
            modify: self.modify,
            require_approval: self.require_approval,
            defer: self.deferred,
        }
    }
}
