//! Settings of the domain, `incidents.…`.

use std::time::Duration;

use runspine_incidents_domain::grouping::Window;
use serde::{Deserialize, Serialize};

/// Settings of the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long after its last occurrence an incident takes another, and how long after its resolution by itself it
    /// becomes active again, seconds, 1 to 86,400. Default 300.
    pub window_seconds: u64,
    /// How long after its opening an incident takes further occurrences, hours, 1 to 720. Default 24.
    pub max_span_hours: u64,
    /// How many incidents a tenant may open in a UTC hour, 1 to 10,000; what is exempt is not counted. Default 20.
    pub max_new_per_hour: u32,
    /// What counts as coming back.
    pub recurrence: Recurrence,
}

/// What counts as coming back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recurrence {
    /// How far back an earlier incident is linked, days, 1 to 90. Default 30.
    pub days: u64,
}

impl Default for Config {
    fn default() -> Self {
        let recurrence = Recurrence::default();
        Self { window_seconds: 300, max_span_hours: 24, max_new_per_hour: 20, recurrence }
    }
}

impl Default for Recurrence {
    fn default() -> Self {
        Self { days: 30 }
    }
}

impl Config {
    /// Every setting that is out of its range; empty: the configuration is good.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let ranges = [
            ("incidents.window_seconds", self.window_seconds, 1, 86_400),
            ("incidents.max_span_hours", self.max_span_hours, 1, 720),
            ("incidents.max_new_per_hour", u64::from(self.max_new_per_hour), 1, 10_000),
            ("incidents.recurrence.days", self.recurrence.days, 1, 90),
        ];
        let bad = ranges.iter().filter(|(_, value, least, most)| value < least || value > most);
        bad.map(|(name, value, least, most)| format!("{name} is {value}, not within {least} to {most}"))
            .collect()
    }

    /// The times that grouping goes by.
    #[must_use]
    pub fn window(&self) -> Window {
        Window {
            join: Duration::from_secs(self.window_seconds),
            span: Duration::from_secs(self.max_span_hours * 3_600),
            flap: Duration::from_secs(self.window_seconds),
            recurrence: Duration::from_secs(self.recurrence.days * 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good_and_every_bound_is_checked() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let recurrence = Recurrence { days: 91 };
        let bad = Config { window_seconds: 0, max_span_hours: 721, max_new_per_hour: 0, recurrence };
        assert_eq!(bad.problems().len(), 4);
    }
}
