//! Puts a decision on the trace and lets the answer leave.

use contracts_common::common::v1::{DecisionSource, Directive, Verdict};
use contracts_logs::v1::{self as logs, ControlAction, RecordItem, record_item};
use contracts_policies::v1::EvaluateStepResponse;
use contracts_spine::v1::{
    AuthorizeStepRequest, AuthorizeStepResponse, CheckResult, Decision, KeptDecision, WouldBlock,
};
use prost::Message;
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::{Digest, Hasher, Micros, new_id};

use super::{
    Kernel,
    authorize::Judged,
    combine::{Check, Combined},
    freeze::frozen,
    replay::{decision_key, freeze_over, receipt, revocation_key},
    session::{Calls, Step},
    sessions::Slot,
    state::Attempt,
    step_check,
    trace::{control_item, not_recorded},
};

impl Kernel {
    /// Appends the decision, asks the freezes once more, writes the directive, and gives the answer.
    #[expect(clippy::too_many_arguments, reason = "what a decision is made of")]
    pub(crate) async fn commit_decision(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &mut Slot,
        judged: Judged,
        combined: Combined,
        digest: Digest,
    ) -> Outcome<AuthorizeStepResponse> {
        let now = self.now();
        let hold = judged.admitted.as_ref().and_then(|a| a.hold.as_ref());
        let mut hold_id = hold.map(|h| h.hold_id.clone()).unwrap_or_default();
        let estimate = step_check::estimate_of(hold, ask.estimate.as_ref());
        if !combined.permits() {
            self.release_hold(context, &hold_id, ask).await;
            hold_id.clear();
        }
        let mut answer = self.answer(ask, &judged, &combined, &hold_id, now);
        let decision = answer.decision.clone().unwrap_or_default();
        let index = answer.step_index;
        let kept = KeptDecision {
            answer: Some(answer.clone()),
            resource: step_check::resource_id(ask),
            estimate: Some(estimate),
            arguments_digest: ask.arguments_digest.clone(),
            provider: ask.provider.clone(),
            model: ask.model.clone(),
            tool: ask.tool.clone(),
        };
        let item = RecordItem {
            idempotency_key: decision_key(index, ask.ask),
            occurred_at: Some(timestamp(now)),
            step_index: Some(index),
            causation_id: decision.decision_id.clone(),
            request_digest: digest.to_vec().into(),
            answer: kept.encode_to_vec().into(),
            body: Some(record_item::Body::Decision(record(
                ask, attempt, slot, &judged, &combined, &decision, &hold_id,
            ))),
            ..RecordItem::default()
        };
        let stored = match self.append(context, &ask.run_id, ask.attempt, item).await {
            Ok(stored) => stored,
            Err(miss) => {
                slot.forget();
                // Known not to be stored: nobody will settle the hold. Otherwise it lives until the lease ends.
                if miss.is_refusal() {
                    self.release_hold(context, &hold_id, ask).await;
                }
                return Err(not_recorded(miss));
            }
        };
        self.remember(slot, ask, &combined, &decision, &hold_id, estimate, stored.position, index);
        answer.receipt = Some(receipt(&stored));
        self.freeze_before_leaving(context, ask, attempt, slot, &mut answer, &hold_id).await?;
        self.enforce(context, ask, attempt, slot, &answer).await?;
        self.keep_alive(context, attempt, slot).await;
        Ok(answer)
    }

    fn answer(
        &self,
        ask: &AuthorizeStepRequest,
        judged: &Judged,
        combined: &Combined,
        hold_id: &str,
        now: Micros,
    ) -> AuthorizeStepResponse {
        let decided = judged.evaluated.as_ref().and_then(|e| e.decision.as_ref());
        let decision_id = decided.map_or_else(new_id, |d| d.decision_id.clone());
        let checks = judged.asked.iter().map(|asked| {
            let found = judged.findings.iter().find(|f| f.check == asked.check);
            CheckResult {
                check: asked.check.name().to_owned(),
                verdict: found.map_or(Verdict::Unspecified, |f| f.verdict).into(),
                directive: found.map_or(Directive::Unspecified, |f| f.directive).into(),
                status: asked.status.into(),
                latency_us: u64::try_from(asked.latency.as_micros()).unwrap_or(u64::MAX),
            }
        });
        AuthorizeStepResponse {
            step_index: ask.step_index.unwrap_or(0),
            decision: Some(Decision {
                approval_id: decided.map(|d| d.approval_id.clone()).unwrap_or_default(),
                bypass: judged.bypassed.clone(),
                ..present(combined, decision_id, ask.ask)
            }),
            hold_id: hold_id.to_owned(),
            not_after: combined.permits().then(|| timestamp(now.plus_millis(self.config.step_not_after_ms))),
            checks: checks.collect(),
            freeze_epoch: self.freezes.epoch(),
            receipt: None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a session remembers of a decision")]
    fn remember(
        &self,
        slot: &mut Slot,
        ask: &AuthorizeStepRequest,
        combined: &Combined,
        decision: &Decision,
        hold_id: &str,
        estimate: contracts_common::common::v1::Amounts,
        position: u64,
        index: u32,
    ) {
        let session = slot.session.get_or_insert_default();
        if position != session.head + 1 {
            // Somebody else wrote to this trace: what is in memory is behind.
            slot.forget();
            return;
        }
        let verdict = combined.effective_verdict;
        let step = Step {
            ask: ask.ask,
            decision_id: decision.decision_id.clone(),
            permitted: combined.permits(),
            may_ask_again: matches!(verdict, Verdict::Defer | Verdict::RequireApproval),
            kind: ask.kind(),
            name: ask.name.clone(),
            resource: step_check::resource_id(ask),
            arguments_digest: ask.arguments_digest.clone(),
            calls: Calls { provider: ask.provider.clone(), model: ask.model.clone(), tool: ask.tool.clone() },
            estimate,
            hold_id: hold_id.to_owned(),
            last_try: None,
        };
        session.degraded |= combined.degraded;
        session.decided(position, index, step);
    }

    /// A freeze that came since the checks turns the answer into a denial, and says so on the trace.
    async fn freeze_before_leaving(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &mut Slot,
        answer: &mut AuthorizeStepResponse,
        hold_id: &str,
    ) -> Outcome<()> {
        let permitted = answer
            .decision
            .as_ref()
            .is_some_and(|d| matches!(d.effective_verdict(), Verdict::Allow | Verdict::Modify));
        if !permitted || self.freezes.epoch() == answer.freeze_epoch {
            return Ok(());
        }
        let Some(freeze) = self.freezes.covering(Self::subject(context, attempt), self.now()) else {
            return Ok(());
        };
        let directive = frozen(&freeze).directive;
        let index = answer.step_index;
        let mut item = control_item(
            revocation_key(index, ask.ask),
            Some(index),
            ControlAction::FreezeSeen,
            "FROZEN",
            &freeze.freeze_id,
        );
        if let Some(record_item::Body::Control(control)) = &mut item.body {
            control.authority = directive.as_str_name().trim_start_matches("DIRECTIVE_").to_owned();
        }
        item.occurred_at = Some(timestamp(self.now()));
        item.causation_id = answer.decision.as_ref().map(|d| d.decision_id.clone()).unwrap_or_default();
        let stored = self.append(context, &ask.run_id, ask.attempt, item).await.map_err(not_recorded)?;
        if let Some(session) = &mut slot.session {
            session.revoked(stored.position, index);
        }
        self.release_hold(context, hold_id, ask).await;
        freeze_over(answer, directive);
        Ok(())
    }
}

/// A combined decision as the agent gets it.
#[must_use]
pub(crate) fn present(combined: &Combined, decision_id: String, ask: u32) -> Decision {
    let would_block = combined.would_block().then(|| WouldBlock {
        verdict: combined.verdict.into(),
        directive: combined.would_directive.into(),
        check: combined.source.name().to_owned(),
        reasons: combined.reasons.iter().map(|r| r.code.clone()).collect(),
    });
    Decision {
        decision_id,
        ask,
        verdict: combined.verdict.into(),
        effective_verdict: combined.effective_verdict.into(),
        directive: combined.directive.into(),
        reasons: combined.reasons.clone(),
        obligations: combined.obligations.clone(),
        warnings: combined.warnings.clone(),
        approval_id: String::new(),
        retry_after_ms: combined.retry_after_ms,
        degraded: combined.degraded,
        would_block,
        bypass: None,
    }
}

/// The decision as it stands on the trace.
fn record(
    ask: &AuthorizeStepRequest,
    attempt: &Attempt,
    slot: &Slot,
    judged: &Judged,
    combined: &Combined,
    decision: &Decision,
    hold_id: &str,
) -> logs::Decision {
    let before = slot.session.as_ref().and_then(|s| s.step(ask.step_index.unwrap_or(0)));
    logs::Decision {
        decision_id: decision.decision_id.clone(),
        verdict: combined.effective_verdict.into(),
        directive: combined.directive.into(),
        kind: ask.kind,
        name: ask.name.clone(),
        input_digest: ask.arguments_digest.clone(),
        parameters_digest: ask.parameters_digest.clone(),
        source: source_of(combined).into(),
        reason: combined.reasons.first().map(|r| r.code.clone()).unwrap_or_default(),
        rule_ids: rule_ids(combined),
        policy_snapshot_digest: attempt.state.snapshot.as_ref().map(|s| s.digest.clone()).unwrap_or_default(),
        hold_id: hold_id.to_owned(),
        obligations_digest: obligations_digest(combined),
        would_verdict: match &judged.bypassed {
            Some(bypass) => bypass.verdict,
            None if combined.would_block() => combined.verdict.into(),
            None => 0,
        },
        degraded: combined.degraded,
        approval_id: decision.approval_id.clone(),
        supersedes_decision_id: before.map(|s| s.decision_id.clone()).unwrap_or_default(),
        facts_digest: facts_digest(judged.evaluated.as_ref()),
        ask: ask.ask,
    }
}

/// Digest of the inputs that policies decided on.
pub(crate) fn facts_digest(evaluated: Option<&EvaluateStepResponse>) -> bytes::Bytes {
    evaluated.and_then(|e| e.decision.as_ref()).map(|d| d.inputs_digest.clone()).unwrap_or_default()
}

/// Digest of the merged obligations; empty without any.
pub(crate) fn obligations_digest(combined: &Combined) -> bytes::Bytes {
    if combined.obligations.is_empty() {
        return bytes::Bytes::new();
    }
    let hasher = combined.obligations.iter().fold(Hasher::new("runspine.obligations.v1"), |h, o| {
        o.args.iter().fold(h.sized(o.name.as_bytes()), |h, arg| h.sized(arg.as_bytes()))
    });
    hasher.finish().to_vec().into()
}

/// What the reasons come from, for the record.
pub(crate) fn rule_ids(combined: &Combined) -> Vec<String> {
    combined.reasons.iter().map(|r| r.source_id.clone()).filter(|id| !id.is_empty()).collect()
}

/// What decided, for the record.
pub(crate) fn source_of(combined: &Combined) -> DecisionSource {
    if combined.would_block() || (combined.degraded && combined.verdict == Verdict::Allow) {
        return DecisionSource::Profile;
    }
    match combined.source {
        Check::Freeze => DecisionSource::Freeze,
        Check::Run => DecisionSource::RunState,
        Check::Lease => DecisionSource::Lease,
        Check::Limits => DecisionSource::Limit,
        Check::Policy => DecisionSource::Policy,
    }
}
