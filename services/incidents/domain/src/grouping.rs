//! Which incident takes a report: the grouping key, the join window, flapping, the hourly cap, severity by count.

use std::time::Duration;

use runspine_types::{Hasher, Micros};

use crate::{Category, ResolutionMethod, Severity, Status, Trigger};

/// Version of the recurrence signature.
pub const SIGNATURE_VERSION: u32 = 1;

/// The cause code of the incident that takes what the hourly cap kept from opening its own.
pub const OVERFLOW_CAUSE: &str = "HOURLY_CAP_REACHED";

/// How many live occurrences mean at least which severity, worst first.
pub const SEVERITY_BY_COUNT: [(i64, Severity); 3] =
    [(200, Severity::Critical), (50, Severity::High), (10, Severity::Medium)];

const HOUR: i64 = 3_600_000_000;

/// What makes two reports alike.
#[derive(Debug, Clone, Copy)]
pub struct GroupingKey<'a> {
    /// The tenant.
    pub tenant_id: &'a str,
    /// What opens it.
    pub trigger: Trigger,
    /// What kind of trouble.
    pub category: Category,
    /// The structured cause.
    pub cause_code: &'a str,
    /// The agent; empty: none.
    pub agent_id: &'a str,
    /// The rule; empty: none.
    pub rule_id: &'a str,
    /// What the grouping is bounded to; empty: nothing.
    pub scope_id: &'a str,
}

impl GroupingKey<'_> {
    /// The key as 64 hex characters.
    #[must_use]
    pub fn digest(&self) -> String {
        Hasher::new("runspine.dedup.v1")
            .sized(self.tenant_id.as_bytes())
            .fixed(&self.trigger.code().to_be_bytes())
            .fixed(&self.category.code().to_be_bytes())
            .sized(self.cause_code.as_bytes())
            .sized(self.agent_id.as_bytes())
            .sized(self.rule_id.as_bytes())
            .sized(self.scope_id.as_bytes())
            .finish()
            .to_hex()
    }
}

/// The recurrence signature, version 1, as 64 hex characters: what later statistics call "alike".
#[must_use]
pub fn recurrence_signature(category: Category, cause_code: &str, agent_id: &str, tool_name: &str) -> String {
    Hasher::new("runspine.recurrence.v1")
        .sized(SIGNATURE_VERSION.to_string().as_bytes())
        .sized(category.name().as_bytes())
        .sized(cause_code.as_bytes())
        .sized(agent_id.as_bytes())
        .sized(tool_name.as_bytes())
        .finish()
        .to_hex()
}

/// How long an incident takes further occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Since its last occurrence, both ends included. Default 300 s.
    pub join: Duration,
    /// Since it was opened. Default 24 h.
    pub span: Duration,
    /// Since it ended: how long an AUTO resolution is undone by a report. Default 300 s.
    pub flap: Duration,
    /// How far back an earlier incident of the same key is linked as recurring. Default 30 d.
    pub recurrence: Duration,
}

impl Window {
    /// The window of an overflow incident: its hour, whatever the pauses in it.
    #[must_use]
    pub fn for_overflow(self) -> Self {
        Self { join: Duration::from_secs(3_600), ..self }
    }
}

/// What is known of the newest incident of a grouping key that is not voided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its id.
    pub incident_id: String,
    /// Its state.
    pub status: Status,
    /// When it was opened.
    pub opened_at: Micros,
    /// When its last occurrence arrived.
    pub last_occurrence_at: Micros,
    /// When it ended.
    pub resolved_at: Option<Micros>,
    /// How it ended.
    pub resolution_method: Option<ResolutionMethod>,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into this active incident.
    Join(String),
    /// Into this incident, which becomes active again.
    Flap(String),
    /// Into a new one.
    New {
        /// The earlier incident of the key that it recurs.
        recurrence_of: Option<String>,
    },
}

/// Where a report that arrives `now` goes, given the newest incident of its key.
#[must_use]
pub fn place(previous: Option<&Previous>, now: Micros, window: Window) -> Place {
    let Some(previous) = previous else {
        return Place::New { recurrence_of: None };
    };
    let id = previous.incident_id.clone();
    if previous.status.is_active() {
        if within(previous.last_occurrence_at, now, window.join)
            && within(previous.opened_at, now, window.span)
        {
            return Place::Join(id);
        }
        return Place::New { recurrence_of: Some(id) };
    }
    let ended = previous.resolved_at.unwrap_or(previous.last_occurrence_at);
    let by_itself = previous.resolution_method == Some(ResolutionMethod::Auto);
    if previous.status == Status::Resolved && by_itself && within(ended, now, window.flap) {
        return Place::Flap(id);
    }
    let recurs = previous.status != Status::Voided && within(ended, now, window.recurrence);
    Place::New { recurrence_of: recurs.then_some(id) }
}

/// The severity that a number of live occurrences asks for.
#[must_use]
pub fn severity_by_count(live: i64) -> Option<Severity> {
    SEVERITY_BY_COUNT.iter().find(|(least, _)| live >= *least).map(|&(_, severity)| severity)
}

/// The UTC hour that a time belongs to, counted from 1970.
#[must_use]
pub fn hour_of(at: Micros) -> i64 {
    at.0.div_euclid(HOUR)
}

/// The title of an overflow incident.
#[must_use]
pub fn overflow_title(occurrences: i64, cap: i64) -> String {
    format!("{occurrences} more failures in this hour than the {cap} incidents that it may open")
}

fn within(from: Micros, now: Micros, at_most: Duration) -> bool {
    i128::from(now.0) - i128::from(from.0) <= i128::try_from(at_most.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    const WINDOW: Window = Window {
        join: Duration::from_secs(300),
        span: Duration::from_secs(24 * 3_600),
        flap: Duration::from_secs(300),
        recurrence: Duration::from_secs(30 * 86_400),
    };

    fn previous(status: Status, last: i64) -> Previous {
        Previous {
            incident_id: "i".into(),
            status,
            opened_at: Micros(0),
            last_occurrence_at: Micros(last),
            resolved_at: None,
            resolution_method: None,
        }
    }

    fn new_after(id: Option<&str>) -> Place {
        Place::New { recurrence_of: id.map(str::to_owned) }
    }

    #[test]
    fn the_key_has_the_stated_bytes() {
        let key = GroupingKey {
            tenant_id: "0190c3a0-0000-7000-8000-000000000001",
            trigger: Trigger::RunFailure,
            category: Category::ExecutionFailure,
            cause_code: "EXECUTION_TIMEOUT",
            agent_id: "agent-7",
            rule_id: "",
            scope_id: "",
        };
        assert_eq!(key.digest(), "ddce3f746cd10c5e66b14743bf74c4ee8570830f52bac63d8a207e56490d317c");
    }

    #[test]
    fn the_signature_has_the_stated_bytes() {
        assert_eq!(
            recurrence_signature(Category::ExecutionFailure, "EXECUTION_TIMEOUT", "agent-7", "weather.get"),
            "fee3d9dbf186daa2ce9ec1fd31a970a72af9f8d294e4bd1122abb4ab4c41c09e"
        );
    }

    #[test]
    fn exactly_the_window_joins_and_a_microsecond_more_does_not() {
        for status in [Status::Open, Status::Acknowledged] {
            let old = previous(status, 0);
            assert_eq!(place(Some(&old), Micros(300 * S), WINDOW), Place::Join("i".into()));
            assert_eq!(place(Some(&old), Micros(300 * S + 1), WINDOW), new_after(Some("i")));
            assert_eq!(place(Some(&old), Micros(-5 * S), WINDOW), Place::Join("i".into()));
        }
    }

    #[test]
    fn a_lively_incident_stops_taking_after_its_span() {
        let day = 24 * 3_600 * S;
        assert_eq!(place(Some(&previous(Status::Open, day)), Micros(day), WINDOW), Place::Join("i".into()));
        assert_eq!(place(Some(&previous(Status::Open, day)), Micros(day + 1), WINDOW), new_after(Some("i")));
    }

    #[test]
    fn only_an_auto_resolution_flaps() {
        let ended = |status, method| Previous {
            resolved_at: Some(Micros(0)),
            resolution_method: method,
            ..previous(status, 0)
        };
        let auto = ended(Status::Resolved, Some(ResolutionMethod::Auto));
        assert_eq!(place(Some(&auto), Micros(300 * S), WINDOW), Place::Flap("i".into()));
        assert_eq!(place(Some(&auto), Micros(300 * S + 1), WINDOW), new_after(Some("i")));
        let human = ended(Status::Resolved, Some(ResolutionMethod::Manual));
        assert_eq!(place(Some(&human), Micros(S), WINDOW), new_after(Some("i")));
        assert_eq!(
            place(Some(&ended(Status::ClosedManually, None)), Micros(S), WINDOW),
            new_after(Some("i"))
        );
        assert_eq!(place(Some(&ended(Status::Voided, None)), Micros(S), WINDOW), new_after(None));
        assert_eq!(place(Some(&human), Micros(30 * 86_400 * S + 1), WINDOW), new_after(None));
        assert_eq!(place(None, Micros(0), WINDOW), new_after(None));
    }

    #[test]
    fn severity_by_count_changes_exactly_at_its_steps() {
        let cases = [
            (1, None),
            (9, None),
            (10, Some(Severity::Medium)),
            (49, Some(Severity::Medium)),
            (50, Some(Severity::High)),
            (199, Some(Severity::High)),
            (200, Some(Severity::Critical)),
            (1_000, Some(Severity::Critical)),
        ];
        for (count, severity) in cases {
            assert_eq!(severity_by_count(count), severity, "{count}");
        }
    }

    #[test]
    fn hours_are_utc_hours() {
        assert_eq!(hour_of(Micros(3_600 * S - 1)), 0);
        assert_eq!(hour_of(Micros(3_600 * S)), 1);
        assert_eq!(hour_of(Micros(-1)), -1);
    }
}
