//! What the completion saga does next, as a pure function of what is stored.
//!
//! The journal is the audit contract: what was promised and what was acknowledged. Whoever reads it, this replica or
//! another after a crash, comes to the same next action.

use contracts_common::common::v1::{RunPhase, RunStatus};

/// The actions that have an undo. Their order here is the order of doing; undoing goes backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// incidents/create_incident.
    ReportOutcome,
    /// policies/evaluate_policy.
    RecordEvaluation,
    /// controls/settle_budget.
    SettleBudget,
}

impl Act {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::ReportOutcome, Self::RecordEvaluation, Self::SettleBudget];

    /// Domain and action of its expectation.
    #[must_use]
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::ReportOutcome => ("incidents", "create_incident"),
            Self::RecordEvaluation => ("policies", "evaluate_policy"),
            Self::SettleBudget => ("controls", "settle_budget"),
        }
    }
}

/// The latest acknowledgement of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Ack {
    /// None yet.
    #[default]
    Open,
    /// Done, with what it made.
    Done(String),
    /// Nothing to do, with what took its place.
    NotApplicable(String),
    /// Refused for good.
    Failed(String),
    /// Done and undone.
    RolledBack(String),
}

impl Ack {
    /// Whether the action needs nothing more on the way forward.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Done(_) | Self::NotApplicable(_))
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Phase and status of the attempt. `None`: the run was never created.
    pub run: Option<(RunPhase, RunStatus)>,
    /// The COMPLETION intent is stored.
    pub completion: bool,
    /// The COMPENSATION intent is stored.
    pub compensation: bool,
    /// incidents/create_incident.
    pub incident: Ack,
    /// policies/evaluate_policy.
    pub evaluation: Ack,
    /// controls/settle_budget.
    pub settlement: Ack,
    /// The trace is sealed, which acknowledges finalize_run.
    pub sealed: bool,
}

impl Progress {
    /// The latest acknowledgement of `act`.
    #[must_use]
    pub fn ack(&self, act: Act) -> &Ack {
        match act {
            Act::ReportOutcome => &self.incident,
            Act::RecordEvaluation => &self.evaluation,
            Act::SettleBudget => &self.settlement,
        }
    }

    /// Takes over an acknowledgement.
    pub fn set(&mut self, act: Act, ack: Ack) {
        match act {
            Act::ReportOutcome => self.incident = ack,
            Act::RecordEvaluation => self.evaluation = ack,
            Act::SettleBudget => self.settlement = ack,
        }
    }

    fn phase(&self) -> RunPhase {
        self.run.map_or(RunPhase::Unspecified, |(phase, _)| phase)
    }

    fn is_terminal(&self) -> bool {
        matches!(self.phase(), RunPhase::Completed | RunPhase::Failed)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nobody has said yet how the attempt ends.
    AwaitIntent,
    /// The start stopped before the run existed: create it, so that it can end.
    CreateAbandoned,
    /// Move to GOVERNANCE_CHECK.
    BeginCheck,
    /// Do these, at the same time.
    Do(Vec<Act>),
    /// This action was refused for good: journal that everything is undone.
    Compensate(Act),
    /// Undo this one.
    Undo(Act),
    /// Everything is undone: evaluate, report and end the run as a failure of the system.
    EndCompensated,
    /// Ask the audit for a clean first pass and move to FINALIZING.
    BeginFinalize,
    /// Make the run terminal: the point of no return.
    Finish,
    /// Seal the trace and acknowledge finalize_run.
    Seal,
    /// Nothing is left.
    Done,
}

/// The next action of the saga.
#[must_use]
pub fn next(progress: &Progress) -> Next {
    if progress.sealed {
        return Next::Done;
    }
    if !progress.completion {
        return Next::AwaitIntent;
    }
    if progress.run.is_none() {
        return Next::CreateAbandoned;
    }
    if progress.is_terminal() {
        return if progress.compensation { Next::EndCompensated } else { Next::Seal };
    }
    if progress.compensation {
        return undo(progress);
    }
    if progress.phase() == RunPhase::Executing {
        return Next::BeginCheck;
    }
    if let Some(refused) = Act::ALL.into_iter().find(|a| matches!(progress.ack(*a), Ack::Failed(_))) {
        return Next::Compensate(refused);
    }
    let open: Vec<Act> = Act::ALL.into_iter().filter(|a| !progress.ack(*a).is_settled()).collect();
    if !open.is_empty() {
        return Next::Do(open);
    }
    match progress.phase() {
        // A run that never executed has no check to leave: it fails straight from where it is.
        RunPhase::GovernanceCheck => Next::BeginFinalize,
        _ => Next::Finish,
    }
}

fn undo(progress: &Progress) -> Next {
    // Nobody knows whether an action without an answer was done: repeated under its key it says so, and can be undone.
    let unknown: Vec<Act> = Act::ALL.into_iter().filter(|a| *progress.ack(*a) == Ack::Open).collect();
    if !unknown.is_empty() {
        return Next::Do(unknown);
    }
    let last_done = Act::ALL.into_iter().rev().find(|a| matches!(progress.ack(*a), Ack::Done(_)));
    last_done.map_or(Next::EndCompensated, Next::Undo)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [(RunPhase, RunStatus); 9] = [
        (RunPhase::Created, RunStatus::Queued),
        (RunPhase::Created, RunStatus::PendingApproval),
        (RunPhase::Authorized, RunStatus::Queued),
        (RunPhase::Executing, RunStatus::Running),
        (RunPhase::Executing, RunStatus::Paused),
        (RunPhase::GovernanceCheck, RunStatus::Running),
        (RunPhase::Finalizing, RunStatus::Running),
        (RunPhase::Completed, RunStatus::Succeeded),
        (RunPhase::Failed, RunStatus::Failed),
    ];

    fn acks() -> Vec<Ack> {
        let id = || "id".to_owned();
        vec![Ack::Open, Ack::Done(id()), Ack::NotApplicable(id()), Ack::Failed(id()), Ack::RolledBack(id())]
    }

    fn every_state() -> Vec<Progress> {
        let mut states = Vec::new();
        let runs = PHASES.iter().copied().map(Some).chain([None]);
        for run in runs {
            for completion in [false, true] {
                for compensation in [false, true] {
                    for incident in acks() {
                        for evaluation in acks() {
                            for settlement in acks() {
                                for sealed in [false, true] {
                                    states.push(Progress {
                                        run,
                                        completion,
                                        compensation,
                                        incident: incident.clone(),
                                        evaluation: evaluation.clone(),
                                        settlement: settlement.clone(),
                                        sealed,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        states
    }

    /// What a world in which `refuse` is refused for good answers to an action.
    fn apply(p: &mut Progress, next: Next, refuse: Option<Act>) {
        let failed = Some((RunPhase::Failed, RunStatus::Failed));
        match next {
            Next::AwaitIntent => p.completion = true,
            Next::CreateAbandoned => p.run = Some((RunPhase::Created, RunStatus::Queued)),
            Next::BeginCheck => p.run = Some((RunPhase::GovernanceCheck, RunStatus::Running)),
            Next::Do(acts) => {
                for act in acts {
                    let refused = refuse == Some(act);
                    let ack = if refused { Ack::Failed("no".into()) } else { Ack::Done("id".into()) };
                    p.set(act, ack);
                }
            }
            Next::Compensate(_) => p.compensation = true,
            Next::Undo(act) => p.set(act, Ack::RolledBack("id".into())),
            Next::EndCompensated => (p.run, p.sealed) = (failed, true),
            Next::BeginFinalize => p.run = Some((RunPhase::Finalizing, RunStatus::Running)),
            Next::Finish => p.run = failed,
            Next::Seal => p.sealed = true,
            Next::Done => {}
        }
    }

    #[test]
    fn from_every_state_driving_ends_sealed_whatever_is_refused() {
        let states = every_state();
        assert_eq!(states.len(), 10 * 2 * 2 * 125 * 2);
        for refuse in [None, Some(Act::ReportOutcome), Some(Act::RecordEvaluation), Some(Act::SettleBudget)] {
            for start in &states {
                let mut p = start.clone();
                for _ in 0..20 {
                    match next(&p) {
                        Next::Done => break,
                        step => apply(&mut p, step, refuse),
                    }
                }
                assert!(p.sealed, "never ends from {start:?}");
            }
        }
    }

    #[test]
    fn nothing_becomes_terminal_before_incident_verdict_and_money_exist() {
        for p in every_state() {
            if next(&p) == Next::Finish {
                assert!(Act::ALL.into_iter().all(|a| p.ack(a).is_settled()), "{p:?}");
                assert!(!p.compensation);
            }
        }
    }

    #[test]
    fn undoing_goes_backwards_and_touches_only_what_was_done() {
        let mut p = Progress {
            run: Some((RunPhase::GovernanceCheck, RunStatus::Running)),
            completion: true,
            compensation: true,
            incident: Ack::Done("i".into()),
            evaluation: Ack::Done("e".into()),
            settlement: Ack::Done("s".into()),
            sealed: false,
        };
        let mut order = Vec::new();
        while let Next::Undo(act) = next(&p) {
            order.push(act);
            p.set(act, Ack::RolledBack("id".into()));
        }
        assert_eq!(order, [Act::SettleBudget, Act::RecordEvaluation, Act::ReportOutcome]);
        assert_eq!(next(&p), Next::EndCompensated);
        p.incident = Ack::NotApplicable(String::new());
        p.settlement = Ack::Failed("no".into());
        assert_eq!(next(&p), Next::EndCompensated);
        p.evaluation = Ack::Open;
        assert_eq!(next(&p), Next::Do(vec![Act::RecordEvaluation]), "what is not known is asked for first");
    }
}
