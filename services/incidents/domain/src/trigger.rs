//! What each trigger means: its severity at the start, who may report it, and what rules it is exempt from.

use crate::{Severity, Source, Trigger};

/// What holds for one trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerRule {
    /// The trigger.
    pub trigger: Trigger,
    /// Severity at the start; `None`: as given by the report.
    pub severity: Option<Severity>,
    /// The least severity that is reported at all.
    pub at_least: Severity,
    /// Sources that `ReportIncident` takes it from; empty: it has a road of its own.
    pub sources: &'static [Source],
    /// Whether it opens an incident however many were opened this hour.
    pub exempt_from_cap: bool,
    /// Whether a prevention record can stand in its place.
    pub suppressible: bool,
}

const fn rule(trigger: Trigger, severity: Option<Severity>, sources: &'static [Source]) -> TriggerRule {
    let exempt_from_cap = matches!(
        trigger,
        Trigger::PolicyViolation
            | Trigger::Freeze
            | Trigger::IntegrityFailure
            | Trigger::ToolSecurity
            | Trigger::Human
            | Trigger::Overflow
    );
    let suppressible = !matches!(
        trigger,
        Trigger::PolicyViolation | Trigger::IntegrityFailure | Trigger::ToolSecurity | Trigger::Freeze
    );
    let at_least = match trigger {
        Trigger::CostSpike | Trigger::CostDrift | Trigger::CostAnomaly => Severity::High,
        _ => Severity::Low,
    };
    TriggerRule { trigger, severity, at_least, sources, exempt_from_cap, suppressible }
}

/// One row per trigger, in the order of their numbers.
pub const TRIGGERS: [TriggerRule; 17] = [
    // By cause code.
    rule(Trigger::RunFailure, None, &[]),
    // The violation's own.
    rule(Trigger::PolicyViolation, None, &[]),
    rule(Trigger::BudgetBreach, Some(Severity::Critical), &[Source::Limit]),
    rule(Trigger::Freeze, Some(Severity::Critical), &[Source::Freeze]),
    rule(Trigger::IntegrityFailure, Some(Severity::Critical), &[Source::Integrity]),
    rule(Trigger::FailureSpike, Some(Severity::High), &[Source::Anomaly, Source::Signal, Source::System]),
    rule(Trigger::ContentPolicy, Some(Severity::High), &[Source::Signal, Source::Tool]),
    rule(Trigger::ToolSecurity, Some(Severity::High), &[Source::Tool]),
    rule(Trigger::Overflow, Some(Severity::High), &[]),
    rule(Trigger::RateLimit, Some(Severity::Medium), &[Source::Limit]),
    rule(Trigger::LimitBreach, Some(Severity::Medium), &[Source::Limit]),
    rule(Trigger::System, Some(Severity::Medium), &[Source::System]),
    rule(Trigger::CostSpike, None, &[Source::Anomaly]),
    rule(Trigger::CostDrift, None, &[Source::Anomaly]),
    rule(Trigger::CostAnomaly, None, &[Source::Anomaly]),
    rule(Trigger::Signal, None, &[Source::Signal]),
    rule(Trigger::Human, None, &[]),
];

impl Trigger {
    /// What holds for this trigger.
    #[must_use]
    pub fn rule(self) -> TriggerRule {
        // The rows stand in the order of the numbers, which a test proves; the fallback repeats the row's own constructor.
        TRIGGERS.iter().copied().find(|row| row.trigger == self).unwrap_or(rule(self, None, &[]))
    }

    /// The severity to open with: a reported one above the trigger's own wins, one below it does not.
    #[must_use]
    pub fn opening_severity(self, reported: Severity) -> Severity {
        self.rule().severity.map_or(reported, |own| own.max(reported))
    }

    /// Whether a report of this severity opens an incident whatever the hourly cap says.
    #[must_use]
    pub fn passes_cap(self, severity: Severity) -> bool {
        severity == Severity::Critical || self.rule().exempt_from_cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity as S;

    #[test]
    fn each_trigger_has_its_stated_severity() {
        let stated = [
            None,
            None,
            Some(S::Critical),
            Some(S::Critical),
            Some(S::Critical),
            Some(S::High),
            Some(S::High),
            Some(S::High),
            Some(S::High),
            Some(S::Medium),
            Some(S::Medium),
            Some(S::Medium),
            None,
            None,
            None,
            None,
            None,
        ];
        assert_eq!(stated.len(), Trigger::ALL.len());
        for (trigger, severity) in Trigger::ALL.iter().zip(stated) {
            assert_eq!(trigger.rule().trigger, *trigger);
            assert_eq!(trigger.rule().severity, severity, "{}", trigger.name());
            for reported in S::ALL {
                let expected = severity.map_or(*reported, |own| own.max(*reported));
                assert_eq!(trigger.opening_severity(*reported), expected);
            }
        }
    }

    #[test]
    fn exactly_the_stated_triggers_pass_the_cap() {
        use Trigger as T;
        let exempt =
            [T::PolicyViolation, T::Freeze, T::IntegrityFailure, T::ToolSecurity, T::Human, T::Overflow];
        for trigger in T::ALL {
            assert_eq!(trigger.passes_cap(S::High), exempt.contains(trigger), "{}", trigger.name());
            assert!(trigger.passes_cap(S::Critical));
        }
    }
}
