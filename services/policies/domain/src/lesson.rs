//! Lessons: what runs teach. Whether there is one, which one it is counted on, and what may become of it.

use runspine_errors::{Fault, Violations, mesh};
use runspine_types::{Hasher, Micros};

use crate::{
    reasons,
    words::{Band, EmitResult, LessonState, LessonType, Severity},
};

/// From here on it is near a threshold, per mille of it.
pub const NEAR_PERMILLE: u32 = 850;
/// From here on it is a breach, and no lesson.
pub const LIMIT_PERMILLE: u32 = 1_000;
/// The longest that a lesson may be put off.
pub const MAX_DEFERRED: i64 = 90 * DAY;

const DAY: i64 = 86_400_000_000;

/// Where a utilization lies; none: below the lowest band, or at the limit.
#[must_use]
pub const fn band(utilization_permille: u32) -> Option<Band> {
    match utilization_permille {
        NEAR_PERMILLE..900 => Some(Band::B85),
        900..950 => Some(Band::B90),
        950..LIMIT_PERMILLE => Some(Band::B95),
        _ => None,
    }
}

/// What was seen, as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What kind of lesson it may be.
    pub kind: Option<LessonType>,
    /// Id of the event it was seen in.
    pub source_event_id: String,
    /// The agent; empty: not known.
    pub agent_id: String,
    /// NEAR_THRESHOLD: what is near it.
    pub metric: String,
    /// NEAR_THRESHOLD: whose limit; empty: the tenant's.
    pub scope_id: String,
    /// NEAR_THRESHOLD: 0 to 10,000 per mille of the limit.
    pub utilization_permille: u32,
    /// NEAR_THRESHOLD: the limit.
    pub threshold: i64,
    /// NEAR_THRESHOLD: what was used of it.
    pub current: i64,
    /// CRITICAL_SUCCESS: of what kind.
    pub success_kind: String,
    /// CRITICAL_SUCCESS: what was measured.
    pub metrics: std::collections::BTreeMap<String, i64>,
    /// FAILURE: code of the error; empty: none.
    pub error_code: String,
    /// FAILURE: how bad.
    pub severity: Option<Severity>,
}

/// Whether there is a lesson in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// There is, in this band if it is one of those.
    Some(Option<Band>),
    /// There is none, and why.
    None(EmitResult),
}

impl Seen {
    /// Checks what is told.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn check(&self) -> Result<(), Fault> {
        let mut v = Violations::new();
        let near = self.kind == Some(LessonType::NearThreshold);
        let success = self.kind == Some(LessonType::CriticalSuccess);
        v.require(self.kind.is_some(), "type", "ENUM_UNKNOWN", "a known type");
        let fits = (1..=128).contains(&self.source_event_id.len());
        v.require(fits, "source_event_id", "OUT_OF_RANGE", "1 to 128 characters");
        let fits = self.agent_id.len() <= 256 && self.scope_id.len() <= 256;
        v.require(fits, "agent_id", "TOO_LONG", "ids of at most 256 characters");
        v.require(
            near != self.metric.is_empty(),
            "metric",
            "NOT_OF_TYPE",
            "with NEAR_THRESHOLD, and only then",
        );
        v.require(is_word(&self.metric, 64), "metric", "OUT_OF_RANGE", "[A-Za-z_]{1,64}");
        v.require(self.utilization_permille <= 10_000, "utilization_permille", "OUT_OF_RANGE", "0 to 10,000");
        v.require(self.threshold >= 0 && self.current >= 0, "threshold", "OUT_OF_RANGE", "at least 0");
        let told = success != self.success_kind.is_empty();
        v.require(told, "success_kind", "NOT_OF_TYPE", "with CRITICAL_SUCCESS, and only then");
        let fits = is_word(&self.success_kind, 64) && self.success_kind == self.success_kind.to_lowercase();
        v.require(fits, "success_kind", "OUT_OF_RANGE", "[a-z_]{1,64}");
        let fits = self.metrics.len() <= 32 && self.metrics.keys().all(|k| is_word(k, 64) && !k.is_empty());
        v.require(fits, "metrics", "OUT_OF_RANGE", "at most 32, named [A-Za-z_]{1,64}");
        v.require(self.error_code.len() <= 128, "error_code", "TOO_LONG", "at most 128 characters");
        v.into_result(&mesh::FIELD_INVALID)
    }

    /// Whether there is a lesson in it; what only the store knows is asked besides.
    #[must_use]
    pub fn lesson(&self) -> Lesson {
        match self.kind {
            Some(LessonType::NearThreshold) if self.utilization_permille >= LIMIT_PERMILLE => {
                Lesson::None(EmitResult::AtLimit)
            }
            Some(LessonType::NearThreshold) => {
                let band = band(self.utilization_permille);
                band.map_or(Lesson::None(EmitResult::BelowBand), |band| Lesson::Some(Some(band)))
            }
            Some(LessonType::CriticalSuccess) if !self.is_eligible() => Lesson::None(EmitResult::NotEligible),
            _ => Lesson::Some(None),
        }
    }

    /// A success worth learning from: within less than 30 % of its budget and less than 5 s. What is not told is not so.
    fn is_eligible(&self) -> bool {
        let of = |name: &str| self.metrics.get(name).copied();
        of("budget_microusd").is_some_and(|budget| budget > 0)
            && of("utilization_permille").is_some_and(|n| (0..300).contains(&n))
            && of("duration_ms").is_some_and(|ms| (0..5_000).contains(&ms))
            && of("reward").is_none_or(|reward| reward != 0)
    }

    /// Names the event within its type: the same one again is the same lesson.
    #[must_use]
    pub fn source_key(&self, band: Option<Band>) -> String {
        let kind = self.kind.map_or("", LessonType::as_str);
        let own = match self.kind {
            Some(LessonType::NearThreshold) => {
                format!("{}/{}", self.metric, band.map_or("", Band::as_str))
            }
            Some(LessonType::CriticalSuccess) => self.success_kind.clone(),
            _ => String::new(),
        };
        digest("runspine.lessonsource.v1", &[kind, &self.source_event_id, &own])
    }

    /// What repeats are counted together by, for how long, and whether only a lesson that is still open is counted on.
    #[must_use]
    pub fn slot(&self, band: Option<Band>) -> (String, i64, bool) {
        let name = |parts: &[&str]| digest("runspine.lessonslot.v1", parts);
        match self.kind {
            Some(LessonType::NearThreshold) => {
                let band = band.map_or("", Band::as_str);
                (name(&["NEAR_THRESHOLD", &self.metric, &self.scope_id, band]), DAY, false)
            }
            Some(LessonType::CriticalSuccess) => {
                (name(&["CRITICAL_SUCCESS", &self.agent_id, &self.success_kind]), 7 * DAY, false)
            }
            _ => (name(&["FAILURE", &self.agent_id, &self.error_code]), DAY, true),
        }
    }

    /// What is said of it to people: title, description, proposed action.
    #[must_use]
    pub fn words(&self, band: Option<Band>) -> (String, String, String) {
        let agent = if self.agent_id.is_empty() { "an agent" } else { &self.agent_id };
        match self.kind {
            Some(LessonType::NearThreshold) => {
                let band = band.map_or("", Band::as_str);
                let percent =
                    format!("{}.{} %", self.utilization_permille / 10, self.utilization_permille % 10);
                let warn = warn_at(self.current);
                (
                    format!("{} is at {percent} of its limit", self.metric),
                    format!("{} of {} were used: band {band}.", self.current, self.threshold),
                    format!("Warn at {warn}, which is 90 % of what was used."),
                )
            }
            Some(LessonType::CriticalSuccess) => (
                format!("{agent} succeeded well within its means ({})", self.success_kind),
                "It used less than 30 % of its budget and took less than 5 s.".to_owned(),
                "Look at what it does, and whether its budget can be smaller.".to_owned(),
            ),
            _ => {
                let code = if self.error_code.is_empty() { "no code" } else { &self.error_code };
                let bad = matches!(self.severity, Some(Severity::Critical | Severity::High));
                let mode = if bad { "BLOCK" } else { "WARN" };
                (
                    format!("{agent} failed with {code}"),
                    format!("A run of {agent} failed with {code}."),
                    format!("A rule in mode {mode} for what led to it."),
                )
            }
        }
    }
}

/// 90 % of what was observed.
#[must_use]
pub const fn warn_at(current: i64) -> i64 {
    current / 10 * 9 + current % 10 * 9 / 10
}

fn digest(name: &'static str, parts: &[&str]) -> String {
    parts.iter().fold(Hasher::new(name), |h, part| h.sized(part.as_bytes())).finish().to_hex()
}

fn is_word(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
}

/// What can be done with a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// ConvertLesson.
    Convert,
    /// DeferLesson.
    Defer,
    /// DismissLesson.
    Dismiss,
    /// ReactivateLesson, or its time came.
    Reactivate,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 4] = [Self::Convert, Self::Defer, Self::Dismiss, Self::Reactivate];
}

/// The state after an act; none: it can't be done there. The whole life of a lesson.
#[must_use]
pub const fn next(from: LessonState, act: Act) -> Option<LessonState> {
    match (from, act) {
        (LessonState::Pending, Act::Convert) => Some(LessonState::Converted),
        (LessonState::Pending, Act::Defer) => Some(LessonState::Deferred),
        (LessonState::Pending, Act::Dismiss) => Some(LessonState::Dismissed),
        (LessonState::Deferred, Act::Reactivate) => Some(LessonState::Pending),
        _ => None,
    }
}

/// Moves a lesson, or refuses.
///
/// # Errors
/// LESSON_TRANSITION_INVALID.
pub fn moved(from: LessonState, act: Act) -> Result<LessonState, Fault> {
    next(from, act).ok_or_else(|| {
        let text = format!("a lesson that is {} can't do this", from.as_str());
        Fault::new(&reasons::LESSON_TRANSITION_INVALID, text)
            .with("state", from.as_str())
            .precondition("lesson", "a state from which this can be done")
    })
}

/// Checks until when a lesson is put off.
///
/// # Errors
/// DEFER_NOT_FUTURE.
pub fn check_deferral(until: Micros, now: Micros) -> Result<(), Fault> {
    if until.0 > now.0 && until.0 - now.0 <= MAX_DEFERRED {
        return Ok(());
    }
    let text = "a time to come, within 90 days";
    Err(Fault::new(&reasons::DEFER_NOT_FUTURE, text).field("until", "DEFER_NOT_FUTURE", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A13.1.
    #[test]
    fn utilizations_have_bands() {
        let seen = [849, 850, 899, 900, 949, 950, 999, 1_000].map(band);
        let (b85, b90, b95) = (Some(Band::B85), Some(Band::B90), Some(Band::B95));
        assert_eq!(seen, [None, b85, b85, b90, b90, b95, b95, None]);
    }

    /// A13.3: the whole product of states and acts.
    #[test]
    fn a_lesson_moves_only_as_the_table_says() {
        let all = LessonState::ALL.iter().flat_map(|s| Act::ALL.iter().map(move |a| (*s, *a)));
        let legal: Vec<_> = all.filter(|(s, a)| next(*s, *a).is_some()).collect();
        assert_eq!(legal.len(), 4, "{legal:?}");
        for end in [LessonState::Converted, LessonState::Dismissed] {
            assert!(Act::ALL.iter().all(|a| moved(end, *a).is_err()));
        }
        let deferred: Vec<_> = legal.iter().filter(|(s, _)| *s == LessonState::Deferred).collect();
        assert_eq!(deferred, [&(LessonState::Deferred, Act::Reactivate)]);
    }

    #[test]
    fn deferrals_lie_in_the_next_90_days() {
        let now = Micros(1_000);
        assert!(
            check_deferral(Micros(1_001), now).is_ok()
                && check_deferral(Micros(1_000 + MAX_DEFERRED), now).is_ok()
        );
        assert!(
            check_deferral(now, now).is_err() && check_deferral(Micros(1_001 + MAX_DEFERRED), now).is_err()
        );
        assert_eq!([warn_at(100), warn_at(99), warn_at(1), warn_at(0)], [90, 89, 0, 0]);
    }
}
