//! What is derived when a run is read: its speed, its evidence, its duration.

use contracts_activity::v1::{EvidenceGrade, EvidenceHealth, LatencyBucket};
use contracts_common::{
    common::v1::{RunPhase, RunSource, TerminationReason},
    phase,
};
use runspine_types::Micros;

/// Expected length of a run that states none, in milliseconds.
pub const DEFAULT_EXPECTED_MS: i64 = 60_000;
/// So long without a step, a run is stalled, in milliseconds.
pub const STALL_MS: i64 = 60_000;
/// So long after its start a run may have no record, and after its end no grade, in milliseconds.
pub const EVIDENCE_GRACE_MS: i64 = 30_000;
/// So long after its end a run may be ungraded, in milliseconds.
pub const GRADE_GRACE_MS: i64 = 60_000;

/// The clock of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clocked {
    /// When it first executed.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub completed_at: Option<Micros>,
    /// Since when it is paused.
    pub paused_since: Option<Micros>,
    /// Time in pauses that are over, in milliseconds.
    pub paused_ms: i64,
    /// How long it is expected to take, in milliseconds.
    pub expected_ms: i64,
    /// The last step on its trace.
    pub last_activity_at: Option<Micros>,
    /// Whether its lease is lapsed.
    pub lease_lapsed: bool,
    /// Why it ended.
    pub termination: TerminationReason,
    /// Whether it ended as STALE_RUN.
    pub ended_stale: bool,
}

impl Clocked {
    /// The time that counts: a paused run stands still.
    fn effective(&self, now: Micros) -> Micros {
        self.completed_at.or(self.paused_since).unwrap_or(now)
    }

    /// Running time without pauses, in milliseconds. 0: never started.
    #[must_use]
    pub fn duration_ms(&self, now: Micros) -> i64 {
        self.started_at.map_or(0, |start| (self.effective(now).millis_since(start) - self.paused_ms).max(0))
    }

    /// Whether it is as fast as expected.
    #[must_use]
    pub fn latency(&self, now: Micros) -> LatencyBucket {
        if self.completed_at.is_some() {
            return if self.ended_stale || self.termination == TerminationReason::Timeout {
                LatencyBucket::Stalled
            } else if self.duration_ms(now) > self.expected_ms {
                LatencyBucket::Slow
            } else {
                LatencyBucket::Ok
            };
        }
        let Some(start) = self.started_at else { return LatencyBucket::Ok };
        let at = self.effective(now);
        let slow_at = start.plus_millis(self.expected_ms + self.paused_ms);
        let quiet_at = self.last_activity_at.unwrap_or(start).plus_millis(STALL_MS + self.paused_ms);
        let stalled_at = start.plus_millis(3 * self.expected_ms + self.paused_ms).max(quiet_at);
        if self.lease_lapsed || at >= stalled_at {
            LatencyBucket::Stalled
        } else if at >= slow_at {
            LatencyBucket::Slow
        } else {
            LatencyBucket::Ok
        }
    }
}

/// What the evidence of a run looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Phase of the run.
    pub phase: RunPhase,
    /// Where it comes from.
    pub source: RunSource,
    /// When it began to execute.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub completed_at: Option<Micros>,
    /// Steps on the trace.
    pub steps: i64,
    /// Steps recorded without authorization.
    pub unauthorized: i64,
    /// Steps with a gap before them.
    pub gaps: i64,
    /// Evidence that could not be captured.
    pub failures: i64,
    /// Whether a decision was degraded.
    pub degraded: bool,
    /// The grade. `None`: ungraded.
    pub grade: Option<EvidenceGrade>,
    /// Whether a required class is missing.
    pub required_missing: bool,
}

/// The health of that evidence at `now`.
#[must_use]
pub fn evidence_health(e: &Evidence, now: Micros) -> EvidenceHealth {
    if phase::is_terminal(e.phase) {
        return match e.grade {
            Some(EvidenceGrade::Fail) if e.required_missing => EvidenceHealth::Missing,
            Some(EvidenceGrade::Fail | EvidenceGrade::Warn) => EvidenceHealth::Degraded,
            Some(_) => EvidenceHealth::Flowing,
            None if e.completed_at.is_some_and(|end| now >= end.plus_millis(GRADE_GRACE_MS)) => {
                EvidenceHealth::Degraded
            }
            None => EvidenceHealth::Flowing,
        };
    }
    let silent =
        e.steps == 0 && e.started_at.is_some_and(|start| now >= start.plus_millis(EVIDENCE_GRACE_MS));
    if e.phase == RunPhase::Executing && silent {
        return EvidenceHealth::Missing;
    }
    let unauthorized = e.unauthorized > 0 && e.source != RunSource::Otlp;
    if e.failures > 0 || unauthorized || e.gaps > 0 || e.degraded {
        EvidenceHealth::Degraded
    } else {
        EvidenceHealth::Flowing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(ms: i64) -> Micros {
        Micros(0).plus_millis(ms)
    }

    fn running() -> Clocked {
        Clocked { started_at: Some(t(0)), expected_ms: 60_000, ..Clocked::default() }
    }

    #[test]
    fn speed_of_a_live_run() {
        let run = running();
        let cells = [
            (59_999, LatencyBucket::Ok),
            (60_000, LatencyBucket::Slow),
            (179_999, LatencyBucket::Slow),
            (180_000, LatencyBucket::Stalled),
        ];
        for (at, bucket) in cells {
            assert_eq!(run.latency(t(at)), bucket, "{at}");
        }
        let busy = Clocked { last_activity_at: Some(t(170_000)), ..run };
        assert_eq!(busy.latency(t(229_999)), LatencyBucket::Slow);
        assert_eq!(busy.latency(t(230_000)), LatencyBucket::Stalled);
        assert_eq!(Clocked { lease_lapsed: true, ..run }.latency(t(1)), LatencyBucket::Stalled);
        let paused = Clocked { paused_since: Some(t(30_000)), ..run };
        assert_eq!(paused.latency(t(9_000_000)), LatencyBucket::Ok);
        let resumed = Clocked { paused_ms: 1_000_000, ..run };
        assert_eq!(resumed.latency(t(1_059_999)), LatencyBucket::Ok);
        assert_eq!(resumed.latency(t(1_060_000)), LatencyBucket::Slow);
        assert_eq!(Clocked::default().latency(t(1)), LatencyBucket::Ok);
    }

    #[test]
    fn speed_of_a_completed_run() {
        let ended = |ms| Clocked { completed_at: Some(t(ms)), ..running() };
        assert_eq!(ended(60_000).latency(t(9_000_000)), LatencyBucket::Ok);
        assert_eq!(ended(60_001).latency(t(9_000_000)), LatencyBucket::Slow);
        let timeout = Clocked { termination: TerminationReason::Timeout, ..ended(1) };
        assert_eq!(timeout.latency(t(2)), LatencyBucket::Stalled);
        assert_eq!(Clocked { ended_stale: true, ..ended(1) }.latency(t(2)), LatencyBucket::Stalled);
        assert_eq!(Clocked { paused_ms: 400, ..ended(1_000) }.duration_ms(t(9_000)), 600);
    }

    #[test]
    fn evidence_of_live_and_ended_runs() {
        let live = Evidence {
            phase: RunPhase::Executing,
            source: RunSource::Sdk,
            started_at: Some(t(0)),
            completed_at: None,
            steps: 0,
            unauthorized: 0,
            gaps: 0,
            failures: 0,
            degraded: false,
            grade: None,
            required_missing: false,
        };
        let health = |e: Evidence, at| evidence_health(&e, t(at));
        assert_eq!(health(live, 29_999), EvidenceHealth::Flowing);
        assert_eq!(health(live, 30_000), EvidenceHealth::Missing);
        let busy = Evidence { steps: 1, ..live };
        assert_eq!(health(busy, 30_000), EvidenceHealth::Flowing);
        for bad in [
            Evidence { failures: 1, ..busy },
            Evidence { unauthorized: 1, ..busy },
            Evidence { gaps: 1, ..busy },
            Evidence { degraded: true, ..busy },
        ] {
            assert_eq!(health(bad, 1), EvidenceHealth::Degraded);
        }
        assert_eq!(
            health(Evidence { unauthorized: 1, source: RunSource::Otlp, ..busy }, 1),
            EvidenceHealth::Flowing
        );
        let ended = Evidence { phase: RunPhase::Completed, completed_at: Some(t(0)), ..busy };
        assert_eq!(health(ended, 59_999), EvidenceHealth::Flowing);
        assert_eq!(health(ended, 60_000), EvidenceHealth::Degraded);
        let graded = |grade, required_missing| Evidence { grade: Some(grade), required_missing, ..ended };
        assert_eq!(health(graded(EvidenceGrade::Pass, false), 60_000), EvidenceHealth::Flowing);
        assert_eq!(health(graded(EvidenceGrade::Warn, false), 1), EvidenceHealth::Degraded);
        assert_eq!(health(graded(EvidenceGrade::Fail, false), 1), EvidenceHealth::Degraded);
        assert_eq!(health(graded(EvidenceGrade::Fail, true), 1), EvidenceHealth::Missing);
    }
}
