//! Settings under `controls.guardrails.…`.

use runspine_controls_domain::guardrail::{Defaults, Guardrail};
use serde::{Deserialize, Serialize};

/// Values of new tenants' guardrails, each within the range that `ListGuardrails` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guardrails {
    /// `g.run.cost`, micro-USD. Default 5,000,000.
    pub run_cost: i64,
    /// `g.step.cost`, micro-USD. Default 1,000,000.
    pub step_cost: i64,
    /// `g.run.tokens`. Default 100,000.
    pub run_tokens: i64,
    /// `g.step.tokens`. Default 10,000.
    pub step_tokens: i64,
    /// `g.agent.day.cost`, micro-USD. Default 100,000,000.
    pub agent_day_cost: i64,
    /// `g.tenant.day.requests`, steps. Default 10,000.
    pub tenant_day_requests: i64,
    /// `g.key.minute.requests`, steps. Default 600.
    pub key_minute_requests: i64,
    /// `g.agent.failures`, failed steps in 300 s. Default 20.
    pub agent_failures: i64,
    /// `g.run.loop`, equal steps of a run. Default 20.
    pub run_loop: i64,
}

impl Default for Guardrails {
    fn default() -> Self {
        let of = |guardrail| Defaults::default().of(guardrail);
        Self {
            run_cost: of(Guardrail::RunCost),
            step_cost: of(Guardrail::StepCost),
            run_tokens: of(Guardrail::RunTokens),
            step_tokens: of(Guardrail::StepTokens),
            agent_day_cost: of(Guardrail::AgentDayCost),
            tenant_day_requests: of(Guardrail::TenantDayRequests),
            key_minute_requests: of(Guardrail::KeyMinuteRequests),
            agent_failures: of(Guardrail::AgentFailures),
            run_loop: of(Guardrail::RunLoop),
        }
    }
}

impl Guardrails {
    /// Each value with its key and its guardrail.
    fn all(&self) -> [(&'static str, Guardrail, i64); 9] {
        [
            ("run_cost", Guardrail::RunCost, self.run_cost),
            ("step_cost", Guardrail::StepCost, self.step_cost),
            ("run_tokens", Guardrail::RunTokens, self.run_tokens),
            ("step_tokens", Guardrail::StepTokens, self.step_tokens),
            ("agent_day_cost", Guardrail::AgentDayCost, self.agent_day_cost),
            ("tenant_day_requests", Guardrail::TenantDayRequests, self.tenant_day_requests),
            ("key_minute_requests", Guardrail::KeyMinuteRequests, self.key_minute_requests),
            ("agent_failures", Guardrail::AgentFailures, self.agent_failures),
            ("run_loop", Guardrail::RunLoop, self.run_loop),
        ]
    }

    /// As the rules want them.
    #[must_use]
    pub fn defaults(&self) -> Defaults {
        let all = self.all().into_iter();
        all.fold(Defaults::default(), |defaults, (_, guardrail, value)| defaults.with(guardrail, value))
    }

    /// Keys of values that are out of their range, and what they must be.
    pub(super) fn wrong(&self) -> Vec<(String, String)> {
        let out = self.all().into_iter().filter_map(|(key, guardrail, value)| {
            let (least, most) = guardrail.range();
            let fits = (least..=most).contains(&value);
            (!fits).then(|| (key.to_owned(), format!("must be {least} to {most}")))
        });
        out.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guardrail_has_its_setting() {
        let all = Guardrails::default().all();
        assert_eq!(all.map(|row| row.1).as_slice(), Guardrail::ALL);
        assert_eq!(Guardrails::default().defaults(), Defaults::default());
        let tight = Guardrails { run_loop: 3, ..Guardrails::default() };
        assert_eq!(tight.defaults().of(Guardrail::RunLoop), 3);
    }

    #[test]
    fn values_out_of_range_are_all_named() {
        assert!(Guardrails::default().wrong().is_empty());
        let guardrails = Guardrails { run_loop: 0, step_tokens: 255, ..Guardrails::default() };
        let keys: Vec<String> = guardrails.wrong().into_iter().map(|wrong| wrong.0).collect();
        assert_eq!(keys, ["step_tokens", "run_loop"]);
    }
}
