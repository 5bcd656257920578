//! Another value of a limit for a time: who may ask, who approves, and when it holds. Its state is read from its times.

use std::borrow::Cow;

use runspine_errors::{Fault, Reason, Violations};
use runspine_types::Micros;

use crate::{
    freeze::expect_second_person,
    limit::{EACH, Key, Limit},
    reasons,
    threshold::Bound,
    words::{Category, LimitSource, LimitState, Scope, words},
};

/// A request that nobody decides on expires after this, milliseconds.
pub const UNDECIDED_MS: i64 = 24 * 3_600_000;
/// Open overrides of a tenant.
pub const MOST_OPEN: i64 = 5;
/// How often a value may be the limit's.
const MOST_TIMES: i64 = 10;
/// A value beyond this many times the limit's needs two approvers.
const TWO_APPROVERS_TIMES: i64 = 2;
/// How far back a start may lie, milliseconds.
const START_SLACK_MS: i64 = 60_000;
const WINDOW_MS: std::ops::RangeInclusive<i64> = 60_000..=168 * 3_600_000;

words! {
    /// Where an override stands.
    OverrideState {
        /// It waits for its approvers.
        Pending = 1 "PENDING",
        /// It has not begun.
        Approved = 2 "APPROVED",
        /// It holds.
        Active = 3 "ACTIVE",
        /// An approver said no.
        Rejected = 4 "REJECTED",
        /// It was taken back.
        Cancelled = 5 "CANCELLED",
        /// Its time is over.
        Expired = 6 "EXPIRED",
    }
}

words! {
    /// What was decided about an override.
    Decision {
        /// Nothing yet.
        Open = 1 "OPEN",
        /// All approvers said yes.
        Approved = 2 "APPROVED",
        /// One said no.
        Rejected = 3 "REJECTED",
        /// It was taken back.
        Cancelled = 4 "CANCELLED",
    }
}

/// An override.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Override {
    pub key: Key,
    pub id: String,
    pub limit_key: Key,
    pub limit_id: String,
    /// Empty: every scope id of the limit.
    pub scope_id: String,
    pub value: i64,
    pub base_value: i64,
    pub needed: u32,
    pub decision: Decision,
    pub requested_by: String,
    pub requested_at: Micros,
    /// None until it is approved, when none was asked for.
    pub starts_at: Option<Micros>,
    pub ends_at: Micros,
    pub version: u32,
}

/// What is asked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Wanted {
    pub scope_id: String,
    pub value: i64,
    pub starts_at: Option<Micros>,
    pub ends_at: Micros,
}

impl Wanted {
    /// Whether it makes sense for `limit`, all violations at once; the approvers that it needs.
    ///
    /// # Errors
    /// `LIMIT_DISABLED`, `LIMIT_INVALID`; `AMOUNT_INVALID`, `WINDOW_INVALID`, `SCOPE_INVALID`, with every violation.
    pub fn check(&self, limit: &Limit, now: Micros) -> Result<u32, Fault> {
        expect_replaceable(limit)?;
        let mut found = Found::default();
        let (least, most) = range(limit);
        let fits = (least..=most).contains(&self.value);
        found.require(fits, "value", &reasons::AMOUNT_INVALID, &format!("must be {least} to {most}"));
        let start = self.starts_at.unwrap_or(now);
        let late = start >= now.plus_millis(-START_SLACK_MS);
        found.require(late, "starts_at", &reasons::WINDOW_INVALID, "lies more than 60 s back");
        let lasts = WINDOW_MS.contains(&self.ends_at.millis_since(start)) && self.ends_at > now;
        found.require(lasts, "ends_at", &reasons::WINDOW_INVALID, "must be 60 s to 168 h after the start");
        let one = limit.spec.scope_id != EACH && !self.scope_id.is_empty();
        let own = !one || self.scope_id == limit.spec.scope_id;
        found.require(own, "scope_id", &reasons::SCOPE_INVALID, "is not one of the limit's");
        found.result()?;
        let given = matches!(limit.source, LimitSource::Plan | LimitSource::System);
        let large = self.value > limit.spec.max_value.saturating_mul(TWO_APPROVERS_TIMES);
        Ok(if given || large { 2 } else { 1 })
    }
}

/// What is wrong so far. When all of it has one reason, the fault has it too.
#[derive(Default)]
struct Found {
    violations: Violations,
    reasons: Vec<&'static Reason>,
}

impl Found {
    fn require(&mut self, holds: bool, field: &str, reason: &'static Reason, what: &str) {
        if !holds {
            self.violations.add(field, reason.name, what);
            self.reasons.push(reason);
        }
    }

    fn result(self) -> Result<(), Fault> {
        let one = self.reasons.first().filter(|first| self.reasons.iter().all(|r| r == *first));
        self.violations.into_result(one.copied().unwrap_or(&runspine_errors::mesh::FIELD_INVALID))
    }
}

/// That the limit is in force and has a value that can be another one.
fn expect_replaceable(limit: &Limit) -> Result<(), Fault> {
    let refuse = |reason: &'static Reason, text: &str| {
        Err(Fault::new(reason, text).precondition(format!("limits/{}", limit.id), text))
    };
    let spec = &limit.spec;
    match spec.category {
        _ if limit.state != LimitState::Active => {
            refuse(&reasons::LIMIT_DISABLED, "the limit is not in force")
        }
        Category::Concurrency if spec.scope == Scope::Global => {
            refuse(&reasons::LIMIT_INVALID, "how much the mesh does at one time is not overridden")
        }
        Category::Threshold if spec.params.primary().is_none() => {
            refuse(&reasons::LIMIT_INVALID, "the limit bounds nothing")
        }
        _ => Ok(()),
    }
}

/// Least and most that a limit's value may be replaced by.
fn range(limit: &Limit) -> (i64, i64) {
    let most = limit.spec.max_value.saturating_mul(MOST_TIMES);
    let bound = Bound::ALL.iter().find(|b| b.unit() == limit.spec.unit);
    match bound.filter(|_| limit.spec.category == Category::Threshold) {
        Some(bound) => (bound.range().0, bound.range().1.min(most)),
        None => (1, most),
    }
}

impl Override {
    /// Its state at a time; needs no worker.
    #[must_use]
    pub fn state(&self, now: Micros) -> OverrideState {
        match self.decision {
            Decision::Rejected => OverrideState::Rejected,
            Decision::Cancelled => OverrideState::Cancelled,
            _ if now >= self.ends_at => OverrideState::Expired,
            Decision::Open if now.millis_since(self.requested_at) >= UNDECIDED_MS => OverrideState::Expired,
            Decision::Open => OverrideState::Pending,
            Decision::Approved if self.starts_at.is_some_and(|at| now < at) => OverrideState::Approved,
            Decision::Approved => OverrideState::Active,
        }
    }

    /// Whether it may still take effect.
    #[must_use]
    pub fn is_open(&self, now: Micros) -> bool {
        matches!(self.state(now), OverrideState::Pending | OverrideState::Approved | OverrideState::Active)
    }

    /// Whether it is for this scope id of its limit.
    #[must_use]
    pub fn is_for(&self, scope_id: &str) -> bool {
        self.scope_id.is_empty() || self.scope_id == scope_id
    }

    /// It, with one approval more than `approvers`.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`, `OVERRIDE_TRANSITION_INVALID`, `SELF_APPROVAL`, `SECOND_PERSON_REQUIRED`.
    pub fn approve(&self, seen: u32, approvers: &[String], by: &str, now: Micros) -> Result<Self, Fault> {
        self.expect_state(&[OverrideState::Pending], now)?;
        self.expect_version(seen)?;
        expect_second_person(&self.requested_by, by)?;
        if approvers.iter().any(|known| known == by) {
            let text = "the caller has approved already: another person has to";
            return Err(Fault::new(&reasons::SECOND_PERSON_REQUIRED, text));
        }
        let complete = u32::try_from(approvers.len() + 1).unwrap_or(u32::MAX) >= self.needed;
        let mut next = self.turned(if complete { Decision::Approved } else { Decision::Open });
        if complete {
            next.starts_at = Some(self.starts_at.map_or(now, |at| at.max(now)));
        }
        Ok(next)
    }

    /// It, rejected.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`, `OVERRIDE_TRANSITION_INVALID`, `SELF_APPROVAL`.
    pub fn reject(&self, seen: u32, by: &str, now: Micros) -> Result<Self, Fault> {
        self.expect_state(&[OverrideState::Pending], now)?;
        self.expect_version(seen)?;
        expect_second_person(&self.requested_by, by)?;
        Ok(self.turned(Decision::Rejected))
    }

    /// It, taken back by its requester or one of its approvers.
    ///
    /// # Errors
    /// `OVERRIDE_TRANSITION_INVALID`, `OVERRIDE_PARTY_REQUIRED`.
    pub fn cancel(&self, approvers: &[String], by: &str, now: Micros) -> Result<Self, Fault> {
        let open = [OverrideState::Pending, OverrideState::Approved, OverrideState::Active];
        self.expect_state(&open, now)?;
        if self.requested_by != by && approvers.iter().all(|known| known != by) {
            let text = "only who asked for it or approved it takes it back";
            return Err(Fault::new(&reasons::OVERRIDE_PARTY_REQUIRED, text));
        }
        Ok(self.turned(Decision::Cancelled))
    }

    fn turned(&self, decision: Decision) -> Self {
        Self { decision, version: self.version + 1, ..self.clone() }
    }

    fn expect_state(&self, states: &[OverrideState], now: Micros) -> Result<(), Fault> {
        let state = self.state(now);
        if states.contains(&state) {
            return Ok(());
        }
        let text = format!("the override is {}", state.name());
        let fault = Fault::new(&reasons::OVERRIDE_TRANSITION_INVALID, &text);
        Err(fault.precondition(format!("overrides/{}", self.id), text))
    }

    fn expect_version(&self, seen: u32) -> Result<(), Fault> {
        if seen == self.version {
            return Ok(());
        }
        let fault = Fault::new(&reasons::VERSION_CONFLICT, "the override was decided on in the meantime");
        Err(fault.with("version", self.version))
    }
}

/// The override that holds for one scope id of a limit: one for it alone before one for all.
#[must_use]
pub fn in_force<'a>(
    overrides: &'a [Override],
    limit: Key,
    scope_id: &str,
    now: Micros,
) -> Option<&'a Override> {
    let holding = overrides
        .iter()
        .filter(|o| o.limit_key == limit && o.is_for(scope_id) && o.state(now) == OverrideState::Active);
    holding.max_by_key(|o| !o.scope_id.is_empty())
}

/// A limit as it holds for one scope id: with the value of the override in force, if there is one.
#[must_use]
pub fn held<'a>(limit: &'a Limit, overrides: &[Override], scope_id: &str, now: Micros) -> Cow<'a, Limit> {
    match in_force(overrides, limit.key, scope_id, now) {
        Some(found) => Cow::Owned(limit.with_value(found.value)),
        None => Cow::Borrowed(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::sample;

    const NOW: Micros = Micros(1_000_000_000_000);

    fn pending(needed: u32) -> Override {
        Override {
            key: 1,
            id: "o".into(),
            limit_key: 1,
            limit_id: "l".into(),
            scope_id: String::new(),
            value: 20,
            base_value: 10,
            needed,
            decision: Decision::Open,
            requested_by: "kim".into(),
            requested_at: NOW,
            starts_at: Some(NOW.plus_millis(1_000)),
            ends_at: NOW.plus_millis(100_000),
            version: 1,
        }
    }

    fn wanted(value: i64) -> Wanted {
        let (starts_at, ends_at) = (None, NOW.plus_millis(60_000));
        Wanted { scope_id: String::new(), value, starts_at, ends_at }
    }

    #[test]
    fn it_begins_and_ends_to_the_millisecond() {
        let one = pending(1).approve(1, &[], "lee", NOW).unwrap();
        for (after_ms, state) in [
            (999, OverrideState::Approved),
            (1_000, OverrideState::Active),
            (99_999, OverrideState::Active),
            (100_000, OverrideState::Expired),
        ] {
            assert_eq!(one.state(NOW.plus_millis(after_ms)), state, "{after_ms}");
        }
        let waiting = Override { ends_at: NOW.plus_millis(2 * UNDECIDED_MS), ..pending(1) };
        assert_eq!(waiting.state(NOW.plus_millis(UNDECIDED_MS - 1)), OverrideState::Pending);
        assert_eq!(waiting.state(NOW.plus_millis(UNDECIDED_MS)), OverrideState::Expired);
    }

    #[test]
    fn nobody_gets_there_alone() {
        assert!(pending(1).approve(1, &[], "kim", NOW).unwrap_err().is(&reasons::SELF_APPROVAL));
        assert!(pending(1).reject(1, "kim", NOW).unwrap_err().is(&reasons::SELF_APPROVAL));
        let half = pending(2).approve(1, &[], "lee", NOW).unwrap();
        assert_eq!(half.state(NOW), OverrideState::Pending);
        let again = half.approve(2, &["lee".into()], "lee", NOW).unwrap_err();
        assert!(again.is(&reasons::SECOND_PERSON_REQUIRED));
        assert!(half.approve(1, &["lee".into()], "max", NOW).unwrap_err().is(&reasons::VERSION_CONFLICT));
        let whole = half.approve(2, &["lee".into()], "max", NOW).unwrap();
        assert_eq!(whole.state(NOW.plus_millis(1_000)), OverrideState::Active);
        assert!(whole.cancel(&["lee".into()], "ann", NOW).is_err());
        assert!(whole.cancel(&["lee".into()], "lee", NOW).is_ok());
    }

    /// Over every state: what is terminal stays so.
    #[test]
    fn the_whole_table_of_states_and_acts() {
        let late = NOW.plus_millis(200_000);
        let approved = pending(1).approve(1, &[], "lee", NOW).unwrap();
        let rejected = pending(1).reject(1, "lee", NOW).unwrap();
        let cancelled = approved.cancel(&[], "kim", NOW).unwrap();
        let rows = [
            (pending(1), NOW, [true, true, true]),
            (approved.clone(), NOW, [false, false, true]),
            (approved.clone(), NOW.plus_millis(1_000), [false, false, true]),
            (approved, late, [false; 3]),
            (pending(1), late, [false; 3]),
            (rejected, NOW, [false; 3]),
            (cancelled, NOW, [false; 3]),
        ];
        for (subject, at, expected) in rows {
            let version = subject.version;
            let done = [
                subject.approve(version, &[], "lee", at),
                subject.reject(version, "lee", at),
                subject.cancel(&[], "kim", at),
            ];
            for (outcome, allowed) in done.into_iter().zip(expected) {
                let invalid =
                    outcome.as_ref().err().is_some_and(|f| f.is(&reasons::OVERRIDE_TRANSITION_INVALID));
                assert_eq!((outcome.is_ok(), invalid), (allowed, !allowed), "{subject:?}");
            }
        }
    }

    #[test]
    fn values_and_windows_have_bounds() {
        let limit = sample(1, 10);
        assert_eq!(wanted(20).check(&limit, NOW).unwrap(), 1);
        assert_eq!(wanted(21).check(&limit, NOW).unwrap(), 2);
        assert_eq!(wanted(1).check(&limit, NOW).unwrap(), 1, "a tightening");
        let given = Limit { source: LimitSource::Plan, ..limit.clone() };
        assert_eq!(wanted(11).check(&given, NOW).unwrap(), 2);
        for value in [0, -1, 101] {
            assert!(wanted(value).check(&limit, NOW).unwrap_err().is(&reasons::AMOUNT_INVALID), "{value}");
        }
        for (start_ms, end_ms, fits) in [
            (-60_000, 0, false),
            (-60_000, 1, true),
            (-60_001, 60_000, false),
            (0, 59_999, false),
            (0, 168 * 3_600_000, true),
            (0, 168 * 3_600_000 + 1, false),
        ] {
            let (starts_at, ends_at) = (Some(NOW.plus_millis(start_ms)), NOW.plus_millis(end_ms));
            let checked = Wanted { starts_at, ends_at, ..wanted(11) }.check(&limit, NOW);
            assert_eq!(checked.is_ok(), fits, "{start_ms} {end_ms}");
        }
        let off = Limit { state: LimitState::Disabled, ..limit };
        assert!(wanted(11).check(&off, NOW).unwrap_err().is(&reasons::LIMIT_DISABLED));
    }

    #[test]
    fn the_one_for_a_scope_id_comes_before_the_one_for_all() {
        let all = Override { starts_at: Some(NOW), decision: Decision::Approved, ..pending(1) };
        let own = Override { key: 2, scope_id: "a".into(), value: 30, ..all.clone() };
        let both = [all, own];
        assert_eq!(in_force(&both, 1, "a", NOW).unwrap().key, 2);
        assert_eq!(in_force(&both, 1, "b", NOW).unwrap().key, 1);
        assert!(in_force(&both, 2, "a", NOW).is_none());
    }
}
