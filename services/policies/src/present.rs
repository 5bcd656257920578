//! Domain values as messages.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use runspine_policies_domain::{
    SEMANTICS_VERSION,
    approval::Defaults,
    compile::CompiledRule,
    decide::{Match, Reason, Ruling},
    facts::{Principal, Question},
    obligation::Obligation,
    sandbox::explain::Explained,
    schema,
    settings::{Selected, Settings, ToolArguments},
    text::Finding,
    words::{self, Directive, Moment},
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Micros};

use crate::app::judge::Judged;

/// The identity of a decision.
pub(crate) struct Identity<'a> {
    pub decision_id: String,
    pub run_id: &'a str,
    pub attempt: u32,
    pub ask: u32,
    pub moment: Moment,
    pub snapshot: Digest,
    pub profile: i32,
    pub config_digest: bytes::Bytes,
    pub principal: &'a Principal,
    pub resource: &'a str,
    pub at: Micros,
}

/// A decision with its identity.
pub(crate) fn decision(id: Identity<'_>, judged: &Judged) -> pb::Decision {
    let r = &judged.ruling;
    let (step_index, kind, name) = match &judged.question {
        Question::Step(q) => (Some(q.step_index), q.kind.code(), q.name.clone()),
        _ => (None, 0, String::new()),
    };
    pb::Decision {
        decision_id: id.decision_id,
        run_id: id.run_id.to_owned(),
        attempt: id.attempt,
        step_index,
        ask: id.ask,
        moment: id.moment.code(),
        snapshot_digest: id.snapshot.to_vec().into(),
        schema_digest: schema::digest().to_vec().into(),
        semantics_version: SEMANTICS_VERSION,
        profile: id.profile,
        config_digest: id.config_digest,
        kind,
        resource: id.resource.to_owned(),
        name,
        principal: id.principal.agent.id.clone(),
        scope_tuple: Some(scope_tuple(id.principal)),
        inputs_digest: judged.inputs_digest.to_vec().into(),
        verdict: r.verdict.code(),
        effective_verdict: r.effective_verdict.code(),
        verdict_without_bypass: r.verdict_without_bypass.code(),
        directive: r.directive.code(),
        effective_directive: r.effective_directive.code(),
        degraded: r.failure.is_some(),
        failure: r.failure.map_or(0, |f| f.code()),
        obligations: r.obligations.iter().map(obligation).collect(),
        reasons: r.reasons.iter().map(reason).collect(),
        warnings: r.warnings.iter().map(reason).collect(),
        retry_after_ms: r.retry_after_ms,
        needs: r.needs.clone(),
        approval_id: r.approval.as_ref().map(|a| a.approval_id.clone()).unwrap_or_default(),
        approval_unusable: r.approval.as_ref().and_then(|a| a.unusable).map_or(0, words::Unusable::code),
        bypass_id: r.bypass_id.clone(),
        matches: r.matches.iter().map(matched).collect(),
        grants: r.grants.clone(),
        candidates: r.candidates,
        evaluate_ns: judged.evaluate_ns,
        decided_at: Some(timestamp(id.at)),
        taints_added: r.taints_added.clone(),
    }
}

fn scope_tuple(p: &Principal) -> pb::ScopeTuple {
    pb::ScopeTuple {
        project_id: p.project.id.clone(),
        agent_id: p.agent.id.clone(),
        agent_groups: p.agent.groups.clone(),
        api_key_id: p.api_key.as_ref().map(|k| k.id.clone()).unwrap_or_default(),
        human_actor_id: p.human.as_ref().map(|h| h.id.clone()).unwrap_or_default(),
        teams: p.human.as_ref().map(|h| h.teams.clone()).unwrap_or_default(),
    }
}

/// Code of the primary reason; empty: none.
pub(crate) fn primary_code(ruling: &Ruling) -> String {
    let first = ruling.reasons.first().or_else(|| ruling.warnings.first());
    first.map(|r| r.code.clone()).unwrap_or_default()
}

fn obligation(o: &Obligation) -> common::Obligation {
    common::Obligation { name: o.name.clone(), args: o.args.clone() }
}

fn reason(r: &Reason) -> common::Reason {
    common::Reason {
        check: "POLICY".to_owned(),
        code: r.code.clone(),
        source_id: r.rule_id.clone(),
        version: r.version,
        outcome: r.outcome.verdict().code(),
        precedence: i32::try_from(r.precedence).unwrap_or(i32::MAX),
        message: r.message.clone(),
        ..common::Reason::default()
    }
}

/// A match in full.
pub(crate) fn matched(m: &Match) -> pb::Match {
    pb::Match {
        rule_id: m.rule_id.clone(),
        version: m.version,
        code: m.code.clone(),
        outcome: m.outcome.code(),
        mode: m.mode.code(),
        precedence: m.precedence,
        action: m.action.code(),
        directive: m.directive.code(),
        message: m.message.clone(),
    }
}

/// What rules said about a finished step; `None` when they said nothing.
pub(crate) fn step_finding(seq: u64, step_index: u32, ruling: &Ruling) -> Option<pb::StepFinding> {
    if ruling.matches.is_empty() && ruling.effective_directive == Directive::Continue {
        return None;
    }
    let matches = ruling.matches.iter().map(matched).collect();
    Some(pb::StepFinding { seq, step_index, matches, directive: ruling.effective_directive.code() })
}

/// A finding on a text.
pub(crate) fn finding(f: &Finding, rule_id: &str, version: u32) -> pb::Finding {
    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    pb::Finding {
        kind: f.kind.code(),
        severity: f.severity.code(),
        rule_id: rule_id.to_owned(),
        version,
        start_byte: place(f.start_byte),
        end_byte: place(f.end_byte),
        line: f.line,
        column: f.column,
        message: f.message.clone(),
        hint: f.hint.clone(),
    }
}

/// Settings with their version.
pub(crate) fn settings(version: u64, s: &Settings) -> pb::PolicySettings {
    pb::PolicySettings {
        version,
        baseline_grant: s.baseline_grant,
        default_rule_mode: s.default_rule_mode.code(),
        inspection: Some(inspection(s)),
        monitored_metrics: s.monitored_metrics.clone(),
        intents: s.intents.clone(),
        require_proposal: s.require_proposal,
        selected_arguments: s.selected_arguments.iter().map(tool_arguments).collect(),
        approval_defaults: Some(approval_defaults(&s.approval_defaults)),
    }
}

fn approval_defaults(set: &Defaults) -> pb::ApprovalDefaults {
    pb::ApprovalDefaults {
        level: set.level.code(),
        quorum: set.quorum,
        expires_s: set.expires_s,
        use_within_s: set.use_within_s,
        escalates_s: set.escalates_s,
    }
}

fn tool_arguments((tool, by): (&String, &ToolArguments)) -> pb::ToolArguments {
    let one = |(key, s): (&String, &Selected)| pb::SelectedArgument {
        key: key.clone(),
        r#type: s.kind.code(),
        redact: s.redact,
    };
    pb::ToolArguments { tool_id: tool.clone(), arguments: by.iter().map(one).collect() }
}

/// What may be done with payloads.
pub(crate) fn inspection(s: &Settings) -> pb::InspectionConstraints {
    pb::InspectionConstraints {
        log_prompt: s.inspection.log_prompt,
        log_response: s.inspection.log_response,
        capture_pii: s.inspection.capture_pii,
        access_secret: s.inspection.access_secret,
    }
}

/// What a rule said about one question.
pub(crate) fn explanation(e: &Explained) -> pb::RuleExplanation {
    let m = &e.rule.meaning;
    pb::RuleExplanation {
        rule_id: m.rule_id.clone(),
        version: m.version,
        slug: m.slug.clone(),
        outcome: e.rule.notes.outcome.code(),
        mode: m.mode.code(),
        matched: e.matched,
        failed: e.failed,
        inactive_time: e.inactive_time,
        cedar: m.cedar.clone(),
        candidate: e.candidate,
        clause_start_byte: e.clause.map_or(0, |(start, _)| place(start)),
        clause_end_byte: e.clause.map_or(0, |(_, end)| place(end)),
    }
}

/// A byte of a text.
fn place(byte: usize) -> u32 {
    u32::try_from(byte).unwrap_or(u32::MAX)
}

/// A rule as a snapshot shows it.
pub(crate) fn snapshot_rule(rule: &CompiledRule, include_text: bool) -> pb::SnapshotRule {
    let m = &rule.meaning;
    pb::SnapshotRule {
        rule_id: m.rule_id.clone(),
        slug: m.slug.clone(),
        version: m.version,
        rule_digest: rule.digest.to_vec().into(),
        mode: m.mode.code(),
        outcome: rule.notes.outcome.code(),
        scope: m.scope.code(),
        scope_id: m.scope_id.clone(),
        precedence: m.precedence,
        mesh_layer: m.is_mesh(),
        cedar: if include_text { m.cedar.clone() } else { String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_numbers_of_the_contract() {
        macro_rules! same {
            ($($word:ty, $message:ty, $prefix:literal;)*) => {$(
                for w in <$word>::ALL {
                    let name = format!(concat!($prefix, "_{}"), w.as_str().to_uppercase());
                    let message = <$message>::from_str_name(&name);
                    assert_eq!(message.map(|m| m as i32), Some(w.code()), "{name}");
                }
            )*};
        }
        same! {
            words::RuleState, pb::RuleState, "RULE_STATE"; words::Mode, pb::RuleMode, "RULE_MODE";
            words::Scope, pb::RuleScope, "RULE_SCOPE"; words::Category, pb::RuleCategory, "RULE_CATEGORY";
            words::RuleType, pb::RuleType, "RULE_TYPE"; words::Source, pb::RuleSource, "RULE_SOURCE";
            words::Outcome, pb::RuleOutcome, "RULE_OUTCOME"; words::Severity, pb::Severity, "SEVERITY";
            words::Verdict, common::Verdict, "VERDICT"; words::Directive, common::Directive, "DIRECTIVE";
            words::Profile, common::GovernanceProfile, "GOVERNANCE_PROFILE"; words::Moment, pb::Moment, "MOMENT";
            words::Failure, pb::Failure, "FAILURE"; words::ActionTaken, pb::ActionTaken, "ACTION_TAKEN";
            words::FindingKind, pb::FindingKind, "FINDING_KIND";
            words::FindingSeverity, pb::FindingSeverity, "FINDING_SEVERITY";
            words::ViolationKind, pb::ViolationKind, "VIOLATION_KIND";
            words::ViolationSource, pb::ViolationSource, "VIOLATION_SOURCE";
            words::EvaluationOutcome, pb::EvaluationOutcome, "EVALUATION_OUTCOME";
            words::SnapshotState, pb::SnapshotState, "SNAPSHOT_STATE";
            words::StepOutcome, common::StepOutcome, "STEP_OUTCOME";
            words::StepKind, common::StepKind, "STEP_KIND";
            words::BacktestState, pb::BacktestState, "BACKTEST_STATE";
            words::NotReplayable, pb::NotReplayable, "NOT_REPLAYABLE";
            words::ChangeDimension, pb::ChangeDimension, "CHANGE_DIMENSION";
            words::ApprovalState, pb::ApprovalState, "APPROVAL_STATE";
            words::ApprovalLevel, pb::ApprovalLevel, "APPROVAL_LEVEL";
            words::Unusable, pb::ApprovalUnusable, "APPROVAL_UNUSABLE";
            words::ShadowState, pb::ShadowState, "SHADOW_STATE";
            words::LessonType, pb::LessonType, "LESSON_TYPE"; words::LessonState, pb::LessonState, "LESSON_STATE";
            words::Band, pb::Band, "BAND"; words::EmitResult, pb::EmitResult, "EMIT_RESULT";
            words::LessonSource, pb::LessonSource, "LESSON_SOURCE";
            words::ProposalKind, pb::ProposalKind, "PROPOSAL_KIND";
            words::ProposalState, pb::ProposalState, "PROPOSAL_STATE";
            words::PreventionOutcome, pb::PreventionOutcome, "PREVENTION_OUTCOME";
            words::SequenceKind, pb::SequenceKind, "SEQUENCE_KIND";
            words::ArgumentType, pb::ArgumentType, "ARGUMENT_TYPE";
            words::DependencyKind, pb::DependencyKind, "DEPENDENCY_KIND";
            words::StateScope, pb::StateScope, "STATE_SCOPE";
        }
    }
}
