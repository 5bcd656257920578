//! What an attempt used of language models.

use std::{cmp::Reverse, collections::BTreeMap};

use contracts_common::common::v1::{RunSource, RunStatus, StepKind, TerminationReason};
use contracts_logs::v1::{LlmExecutionStatus, LlmModelUse, LlmRunSource, Step};
use runspine_types::{Digest, Hasher};

/// The calls read so far, in the order of positions.
#[derive(Clone, Default)]
pub struct LlmCalls {
    /// By provider and model.
    models: BTreeMap<String, BTreeMap<String, LlmModelUse>>,
    digests: Option<(Hasher, Hasher)>,
}

impl std::fmt::Debug for LlmCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlmCalls").field("models", &self.models).finish_non_exhaustive()
    }
}

impl LlmCalls {
    /// Takes a try of a step; only calls of models count.
    pub fn take(&mut self, step: &Step) {
        if step.kind != StepKind::LlmCall as i32 {
            return;
        }
        // Looked up first, because an entry wants a key of its own for each call.
        match self.models.get_mut(&step.provider).and_then(|models| models.get_mut(&step.model)) {
            Some(model) => add(model, step),
            None => {
                let (provider, name) = (step.provider.clone(), step.model.clone());
                let models = self.models.entry(provider.clone()).or_default();
                let new = LlmModelUse { provider, model: name.clone(), ..LlmModelUse::default() };
                add(models.entry(name).or_insert(new), step);
            }
        }
        let start = || (Hasher::new("runspine.prompts.v1"), Hasher::new("runspine.responses.v1"));
        let (prompts, responses) = self.digests.take().unwrap_or_else(start);
        self.digests =
            Some((prompts.fixed(&whole(&step.input_digest)), responses.fixed(&whole(&step.output_digest))));
    }

    /// Every model, the greatest cost first; ties by tokens, then by name.
    #[must_use]
    pub fn models(&self) -> Vec<LlmModelUse> {
        let mut models: Vec<LlmModelUse> = self.models.values().flat_map(BTreeMap::values).cloned().collect();
        models.sort_by_key(|m| Reverse((m.cost_microusd, m.input_tokens.saturating_add(m.output_tokens))));
        models
    }

    /// Digests of all prompts and of all responses; `None` without calls.
    #[must_use]
    pub fn digests(&self) -> Option<(Digest, Digest)> {
        let (prompts, responses) = self.digests.clone()?;
        Some((prompts.finish(), responses.finish()))
    }
}

fn add(model: &mut LlmModelUse, step: &Step) {
    model.calls += 1;
    model.input_tokens = model.input_tokens.saturating_add(step.input_tokens);
    model.output_tokens = model.output_tokens.saturating_add(step.output_tokens);
    model.cost_microusd = model.cost_microusd.saturating_add(step.cost_microusd);
}

/// The digest, or zeros where there is none.
fn whole(digest: &[u8]) -> [u8; 32] {
    digest.try_into().unwrap_or_default()
}

/// How the attempt ended, as far as its models are concerned.
#[must_use]
pub fn execution_status(status: RunStatus, reason: TerminationReason) -> LlmExecutionStatus {
    use TerminationReason::{BudgetExceeded, Frozen, RateLimited, Timeout};
    match (status, reason) {
        (RunStatus::Succeeded, _) => LlmExecutionStatus::Succeeded,
        (_, Timeout) => LlmExecutionStatus::Timeout,
        (RunStatus::Cancelled | RunStatus::FailedPolicy, _) | (_, Frozen | BudgetExceeded | RateLimited) => {
            LlmExecutionStatus::Aborted
        }
        _ => LlmExecutionStatus::Failed,
    }
}

/// Where the record of a run comes from.
#[must_use]
pub fn source(source: RunSource, synthetic: bool) -> LlmRunSource {
    match source {
        _ if synthetic => LlmRunSource::Synthetic,
        RunSource::Agent => LlmRunSource::Worker,
        RunSource::Human => LlmRunSource::Api,
        RunSource::Sdk => LlmRunSource::Sdk,
        RunSource::Schedule | RunSource::Replay => LlmRunSource::System,
        RunSource::Otlp => LlmRunSource::Otlp,
        RunSource::Unspecified => LlmRunSource::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of status and reason.
    #[test]
    fn the_status_follows_from_status_and_reason() {
        let mut counts = BTreeMap::new();
        for (status, reason) in (1..=9).flat_map(|s| (1..=9).map(move |r| (s, r))) {
            let (Ok(status), Ok(reason)) = (RunStatus::try_from(status), TerminationReason::try_from(reason))
            else {
                continue;
            };
            let found = execution_status(status, reason);
            let name = (status.as_str_name(), reason.as_str_name());
            let aborted = [RunStatus::Cancelled, RunStatus::FailedPolicy].contains(&status)
                || ["BUDGET", "RATE", "FROZEN"].iter().any(|word| name.1.contains(word));
            let expected = match () {
                () if status == RunStatus::Succeeded => LlmExecutionStatus::Succeeded,
                () if reason == TerminationReason::Timeout => LlmExecutionStatus::Timeout,
                () if aborted => LlmExecutionStatus::Aborted,
                () => LlmExecutionStatus::Failed,
            };
            assert_eq!(found, expected, "{name:?}");
            *counts.entry(found as i32).or_insert(0) += 1;
        }
        assert_eq!(counts.values().sum::<i32>(), 81, "every pair");
        assert_eq!(counts.len(), 4, "every status");
    }

    #[test]
    fn the_dearest_model_comes_first() {
        let call = |provider: &str, model: &str, cost, tokens| Step {
            kind: StepKind::LlmCall.into(),
            provider: provider.into(),
            model: model.into(),
            cost_microusd: cost,
            input_tokens: tokens,
            ..Step::default()
        };
        let mut calls = LlmCalls::default();
        assert!(calls.digests().is_none() && calls.models().is_empty());
        calls.take(&Step { kind: StepKind::ToolCall.into(), cost_microusd: 99, ..Step::default() });
        assert!(calls.models().is_empty(), "a tool is no model");
        for step in [call("b", "m", 5, 1), call("a", "z", 5, 1), call("a", "y", 2, 9), call("a", "y", 3, 9)] {
            calls.take(&step);
        }
        let order: Vec<_> = calls.models().into_iter().map(|m| (m.model, m.calls)).collect();
        assert_eq!(order, [("y".into(), 2), ("z".into(), 1), ("m".into(), 1)], "cost, tokens, then the name");
    }
}
