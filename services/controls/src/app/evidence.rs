//! The evidence of an admission: what it has read, and what it has answered.

use bytes::Bytes;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    admission::{self, RESOLVER_VERSION},
    freeze::FreezeState,
    hold::Line,
    words::{Category, Verdict},
};
use runspine_types::Hasher;

use super::{
    accounts::Out,
    admit::{Case, Decided},
    gates::Takings,
    records::Evidence,
};
use crate::store::{desk::Desk, envelopes::Applicable};

impl Desk<'_> {
    /// Records an admission with everything that it has read.
    pub(super) fn record_evidence(
        &mut self,
        case: &Case<'_>,
        Decided { answer, lines, takings, .. }: &Decided,
        out: &Out,
        evidence_id: String,
    ) {
        let mut inputs = case.inputs.clone();
        inputs.envelopes = self.envelope_numbers(case, lines.as_deref(), takings);
        inputs.lapsed = case.lapsed();
        if case.ask.full {
            let found = self.freezes.iter().filter(|f| f.state(case.now) == FreezeState::Active);
            let met = found.filter(|f| f.covers(&case.scope));
            inputs.freezes =
                met.map(|f| pb::FreezeMet { freeze_id: f.id.clone(), effect: f.effect.code() }).collect();
            // Where a check could not be made they are those that were read before.
            if !case.inputs.failed {
                inputs.thresholds = thresholds(case);
            }
        }
        inputs.gates.clone_from(&takings.numbers);
        inputs.breakers.clone_from(&takings.breakers);
        inputs.overrides = self.overrides_of(case);
        if !case.inputs.failed && self.confirms_bypass(case) {
            inputs.bypass_id.clone_from(&case.ask.bypass_id);
        }
        let freezes = answer.reasons.iter().filter(|r| r.code == admission::FROZEN);
        inputs.freeze_ids = freezes.map(|r| r.source_id.clone()).collect();
        let inputs = inputs.encode_to_vec();
        let bytes = match out {
            Out::Step(step) => step.encode_to_vec(),
            Out::Run(run) => run.encode_to_vec(),
            _ => Vec::new(),
        };
        let silent = answer.reasons.is_empty() && answer.would_block.is_empty() && answer.warnings.is_empty();
        let plain = answer.verdict == Verdict::Allow && silent;
        let evidence = Evidence {
            key: case.key,
            evidence_id,
            decision_id: case.ask.decision_id.clone(),
            fence: case.ask.fence,
            verdict: answer.verdict.code(),
            plain,
            resolver_version: RESOLVER_VERSION,
            inputs_digest: Hasher::new("runspine.controlinput.v1").sized(&inputs).finish(),
            inputs,
            request_digest: case.ask.digest,
            answer: Bytes::from(bytes),
            evaluated_at: case.now,
            freeze_epoch: self.epoch,
            hold_id: match out {
                Out::Step(step) => step.hold.as_ref().map(|hold| hold.hold_id.clone()),
                _ => None,
            },
        };
        self.put_evidence(evidence);
    }

    /// The numbers of every envelope as the answer found them, the hold of the step itself not counted.
    fn envelope_numbers(
        &self,
        case: &Case<'_>,
        lines: Option<&[Line]>,
        takings: &Takings,
    ) -> Vec<pb::EnvelopeNumbers> {
        let set = self.set(&case.scope.tenant_id);
        let row = |(limit, envelope): &Applicable| {
            let key = envelope.envelope_key;
            let line = lines.and_then(|l| l.iter().find(|l| l.envelope == key));
            let held_now = if case.ask.step.is_some() { line.map_or(0, |l| l.amount) } else { 0 };
            let short = takings.shorts.iter().find(|s| s.0 == key);
            let allocation = self.book.allocations_of(case.key.0).filter(|a| a.key.1 == key).last();
            pb::EnvelopeNumbers {
                limit_id: limit.id.clone(),
                limit_version: limit.version,
                envelope_id: envelope.envelope_id.clone(),
                need: case.amounts.of(limit.spec.unit),
                granted: allocation.map_or(0, |a| a.granted),
                held: allocation.map_or(0, |a| a.held) - held_now,
                spent: allocation.map_or(0, |a| a.spent),
                reservable: allocation.and_then(|a| self.book.period(a.period())).map(|p| p.available(limit)),
                scope_id: envelope.scope_id.clone(),
                could: short.map(|s| s.1),
                in_debt: short.is_some_and(|s| s.2),
                suspended: set.suspended.contains(&key),
            }
        };
        case.budgets().map(row).collect()
    }
}

/// The thresholds that a step is compared with.
fn thresholds(case: &Case<'_>) -> Vec<pb::ThresholdRead> {
    let stated = case.limits.iter().filter(|(l, _)| l.spec.category == Category::Threshold);
    let read = |(limit, row): &Applicable| pb::ThresholdRead {
        limit_id: limit.id.clone(),
        limit_version: limit.version,
        scope_id: row.scope_id.clone(),
    };
    stated.filter(|_| case.ask.step.is_some()).map(read).collect()
}
