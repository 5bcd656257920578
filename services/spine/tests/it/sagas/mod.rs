//! What every saga promises, asked of each one that exists: an action that is repeated is done once; a domain that is
//! gone only makes it wait; and a process that dies anywhere, between journal and call or between call and journal, is
//! followed by one that goes on. A saga is a piece of data here: how it begins, how it is driven, and what must be true.

mod abandoned;
mod driven;
mod exported;
pub mod house;
mod incident_exported;
mod observed;
pub mod tap;

use std::{collections::BTreeSet, time::Duration};

use contracts_common::common::v1::{
    AckStatus, AuditStatus, ErrorClass, RunPhase, RunStatus, StepOutcome, TerminationReason,
};
use contracts_controls::v1::{SettleRunRequest, SettleRunResponse};
use contracts_incidents::v1::{ListRunIncidentsRequest, ListRunIncidentsResponse, TriggerType};
use contracts_logs::v1::{AuditContract, ContractState};
use contracts_policies::v1 as policies;
use contracts_spine::v1::CompleteRunRequest;
use house::House;
use runspine_rpc::Context;
use runspine_spine::{kernel::Kernel, sagas::completion::Driven};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tap::Plan;

/// The domains, each of which fails once.
const DOMAINS: [&str; 5] = ["activity", "incidents", "policies", "logs", "controls"];

/// A saga as these tests see it.
trait Saga {
    /// What one course of it is about.
    type Subject;

    /// The fewest calls that a course of it makes: a test that kills at none of them proves nothing.
    const CALLS: usize;

    /// Everything before it, with nothing of it done.
    async fn before(house: &House) -> Self::Subject;

    /// Begins it, or goes on with it. `Err`: it is not over.
    async fn drive(kernel: &Kernel, context: &Context, subject: &Self::Subject) -> Result<(), String>;

    /// What must be true when it is over, whatever happened to it.
    async fn check(house: &House, subject: &Self::Subject);
}

/// Drives to the end as replicas do that have just started.
async fn finish<S: Saga>(house: &House, subject: &S::Subject) {
    house.tap.plan(Plan::Calm);
    until_ok(Duration::from_secs(60), || async {
        S::drive(&house.kernel(), &house.patient(), subject).await
    })
    .await;
    S::check(house, subject).await;
}

/// Each action repeated.
async fn repeated<S: Saga>() {
    let house = House::open().await;
    let subject = S::before(&house).await;
    house.tap.plan(Plan::Twice);
    let twice = S::drive(&house.kernel(), &house.patient(), &subject).await;
    assert!(house.tap.calls().len() >= S::CALLS, "{:?}", house.tap.calls());
    if twice.is_ok() {
        S::check(&house, &subject).await;
    }
    // And the whole of it once more.
    finish::<S>(&house, &subject).await;
    finish::<S>(&house, &subject).await;
}

/// Each node failed.
async fn node_failed<S: Saga>() {
    let house = House::open().await;
    let mut stopped = BTreeSet::new();
    for domain in DOMAINS {
        let subject = S::before(&house).await;
        house.tap.plan(Plan::Down(domain));
        if S::drive(&house.kernel(), &house.hurried(), &subject).await.is_err() {
            stopped.insert(domain);
        }
        finish::<S>(&house, &subject).await;
    }
    assert!(stopped.contains("logs"), "nothing goes on without its journal: {stopped:?}");
}

/// Killed between journal and call, and between call and journal, at every call that it makes.
async fn killed<S: Saga>() {
    let house = House::open().await;
    let calm = S::before(&house).await;
    house.tap.plan(Plan::Calm);
    S::drive(&house.kernel(), &house.patient(), &calm).await.expect("nothing happens to it");
    let calls = house.tap.calls();
    assert!(calls.len() >= S::CALLS, "{calls:?}");
    S::check(&house, &calm).await;
    for at in 0..calls.len() {
        for done in [false, true] {
            let subject = S::before(&house).await;
            house.tap.plan(Plan::Dies { at, done });
            // Whether it was over by then is not said: nobody who could tell is left.
            let _ = S::drive(&house.kernel(), &house.hurried(), &subject).await;
            finish::<S>(&house, &subject).await;
        }
    }
}

macro_rules! sagas {
    ($($(#[$meta:meta])* $name:ident: $saga:ty;)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_action_repeated_is_done_once() {
                repeated::<$saga>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_node_that_fails_is_waited_for() {
                node_failed::<$saga>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_process_that_dies_is_followed() {
                killed::<$saga>().await;
            }
        }
    )*};
}

sagas! {
    /// The end of a run that failed: incident, evaluation, settlement, seal.
    completion: Completion;
    /// The end of a run whose settlement is refused for good: everything done is undone.
    compensation: Compensation;
    /// The end of an attempt that another follows.
    retry: Retry;
    /// From a violation to its incident.
    violation: Violated;
    /// From the order of an export to what every domain gave to it.
    export: Exported;
    /// From the order of an export of an incident to its content.
    incident_export: IncidentExported;
    /// From a span of a run that nobody started to the run and its spans.
    observation: Observed;
}

struct Completion;
struct Compensation;
struct Retry;
struct Violated;
struct Exported;
struct IncidentExported;
struct Observed;

/// A run and what its agent says at its end.
struct Ended {
    run_id: String,
    end: CompleteRunRequest,
}

impl Ended {
    async fn before(house: &House, max_attempts: u32) -> Self {
        let (run_id, fence) = house.run(max_attempts).await;
        let end = CompleteRunRequest {
            run_id: run_id.clone(),
            attempt: 1,
            fence,
            outcome: StepOutcome::Failure.into(),
            error_code: "TOOL_BROKE".to_owned(),
            error_class: ErrorClass::Transient.into(),
            ..CompleteRunRequest::default()
        };
        Self { run_id, end }
    }

    async fn drive(&self, kernel: &Kernel, context: &Context) -> Result<(), String> {
        let done = kernel.complete_run(context, self.end.clone()).await.map_err(|fault| fault.to_string())?;
        let saga = done.saga.unwrap_or_default();
        if saga.is_complete { Ok(()) } else { Err(format!("{saga:?}")) }
    }

    /// Each action has one acknowledgement, and they say `expected`.
    async fn acks(&self, house: &House, expected: &[(&str, AckStatus)]) -> AuditContract {
        let contract = house.contract("run", &self.run_id, 1).await;
        assert_eq!(contract.state(), ContractState::Closed, "{contract:?}");
        let mut found: Vec<(String, i32, String)> =
            contract.acks.iter().map(|a| (a.action.clone(), a.status, a.result_id.clone())).collect();
        found.sort();
        found.dedup();
        let mut said: Vec<(&str, i32)> = found.iter().map(|(a, s, _)| (a.as_str(), *s)).collect();
        let mut wanted: Vec<(&str, i32)> = expected.iter().map(|(a, s)| (*a, i32::from(*s))).collect();
        said.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(said, wanted, "{:?}", contract.acks);
        contract
    }
}

/// Incidents of a run that are not of another trigger.
async fn incidents(
    house: &House,
    run_id: &str,
    trigger: TriggerType,
) -> Vec<contracts_incidents::v1::Incident> {
    let list = ListRunIncidentsRequest { run_id: run_id.to_owned() };
    let found: ListRunIncidentsResponse =
        house.ask("incidents.v1.IncidentService/ListRunIncidents", list).await;
    found.incidents.into_iter().filter(|i| i.trigger_type() == trigger).collect()
}

/// Revisions of the evaluations of a first attempt, and which are superseded.
async fn evaluations(house: &House, run_id: &str) -> Vec<(u32, bool)> {
    let get = policies::GetEvaluationRequest { run_id: run_id.to_owned(), attempt: 1 };
    let found: policies::GetEvaluationResponse =
        house.ask("policies.v1.DecisionService/GetEvaluation", get).await;
    let all = found.history.iter().chain(&found.evaluation);
    all.map(|e| (e.revision, e.superseded)).collect::<BTreeSet<_>>().into_iter().collect()
}

const DONE: [(&str, AckStatus); 6] = [
    ("start_trace", AckStatus::Success),
    ("create_incident", AckStatus::Success),
    ("evaluate_policy", AckStatus::Success),
    ("settle_budget", AckStatus::Success),
    ("complete_trace", AckStatus::Success),
    ("finalize_run", AckStatus::Success),
];

impl Saga for Completion {
    type Subject = Ended;
    const CALLS: usize = 12;

    async fn before(house: &House) -> Ended {
        Ended::before(house, 1).await
    }

    async fn drive(kernel: &Kernel, context: &Context, subject: &Ended) -> Result<(), String> {
        subject.drive(kernel, context).await
    }

    async fn check(house: &House, subject: &Ended) {
        let contract = subject.acks(house, &DONE).await;
        assert_eq!(contract.audit_status(), AuditStatus::Complete, "{:?}", contract.verdicts);
        let run = house.get(&subject.run_id).await.run.unwrap();
        assert_eq!((run.phase(), run.status()), (RunPhase::Failed, RunStatus::Failed));
        assert_eq!(incidents(house, &subject.run_id, TriggerType::RunFailure).await.len(), 1);
        assert_eq!(evaluations(house, &subject.run_id).await, [(0, false)]);
    }
}

impl Saga for Compensation {
    type Subject = Ended;
    const CALLS: usize = 14;

    async fn before(house: &House) -> Ended {
        let ended = Ended::before(house, 1).await;
        // Somebody has settled it otherwise: the saga's own settlement is refused.
        let settle = SettleRunRequest {
            run_id: ended.run_id.clone(),
            attempt: 1,
            outcome: TerminationReason::Timeout.into(),
            totals: None,
        };
        let _: SettleRunResponse = house.ask("controls.v1.BudgetService/SettleRun", settle).await;
        ended
    }

    async fn drive(kernel: &Kernel, context: &Context, subject: &Ended) -> Result<(), String> {
        subject.drive(kernel, context).await
    }

    async fn check(house: &House, subject: &Ended) {
        let expected = [
            ("start_trace", AckStatus::Success),
            ("create_incident", AckStatus::Success),
            ("create_incident", AckStatus::RolledBack),
            ("evaluate_policy", AckStatus::Success),
            ("evaluate_policy", AckStatus::RolledBack),
            ("settle_budget", AckStatus::Failed),
            ("complete_trace", AckStatus::Success),
            ("finalize_run", AckStatus::Success),
        ];
        let contract = subject.acks(house, &expected).await;
        assert_eq!(contract.audit_status(), AuditStatus::Incomplete, "for ever");
        let run = house.get(&subject.run_id).await.run.unwrap();
        assert_eq!((run.status(), run.error_code.as_str()), (RunStatus::Failed, "SAGA_COMPENSATED"));
        assert_eq!(incidents(house, &subject.run_id, TriggerType::System).await.len(), 1);
        assert_eq!(evaluations(house, &subject.run_id).await, [(0, true), (1, false)]);
    }
}

impl Saga for Retry {
    type Subject = Ended;
    const CALLS: usize = 20;

    async fn before(house: &House) -> Ended {
        Ended::before(house, 2).await
    }

    async fn drive(kernel: &Kernel, context: &Context, subject: &Ended) -> Result<(), String> {
        subject.drive(kernel, context).await?;
        // The end of the first attempt is one thing, the making of the second another.
        match kernel.drive(context, &subject.run_id, 1).await.map_err(|fault| fault.to_string())? {
            Driven::Done(_) => Ok(()),
            open => Err(format!("{open:?}")),
        }
    }

    async fn check(house: &House, subject: &Ended) {
        subject.acks(house, &DONE).await;
        let attempts = house.get(&subject.run_id).await.attempts;
        let stand: Vec<_> = attempts.iter().map(|a| (a.attempt, a.phase(), a.status())).collect();
        let expected =
            [(1, RunPhase::Failed, RunStatus::Retry), (2, RunPhase::Authorized, RunStatus::Queued)];
        assert_eq!(stand, expected);
        let saga = house.contract("retry", &subject.run_id, 1).await;
        assert_eq!((saga.state(), saga.audit_status()), (ContractState::Closed, AuditStatus::Complete));
        assert_eq!(house.contract("run", &subject.run_id, 2).await.expectations.len(), 6);
    }
}

const NEVER: &str = "\nforbid(principal, action in Runspine::Action::\"step\", resource) \
    when { context.step_index > 900 };";

impl Saga for Violated {
    type Subject = policies::Violation;
    const CALLS: usize = 10;

    async fn before(house: &House) -> policies::Violation {
        let rule_id = house.rule(&format!("never-{}", new_id()), NEVER).await;
        let (run_id, _) = house.run(1).await;
        let report = policies::ReportViolationRequest {
            request_id: new_id(),
            run_id,
            attempt: 1,
            step_index: Some(0),
            rule_id,
            rule_code: "TOO_MUCH".to_owned(),
            kind: policies::ViolationKind::Pii.into(),
            severity: policies::Severity::High.into(),
            value: "7".to_owned(),
            threshold: "0".to_owned(),
            reason: "seven names in the output".to_owned(),
            evidence: vec![policies::ViolationEvidence {
                digest: vec![4; 32].into(),
                kind: "OUTPUT".to_owned(),
                note: "the third message".to_owned(),
            }],
            ..Default::default()
        };
        let reported: policies::ReportViolationResponse =
            house.ask("policies.v1.ViolationService/ReportViolation", report).await;
        reported.violation.unwrap()
    }

    async fn drive(
        kernel: &Kernel,
        context: &Context,
        violation: &policies::Violation,
    ) -> Result<(), String> {
        match kernel.violation_reported(context, violation).await.map_err(|fault| fault.to_string())? {
            Driven::Done(_) => Ok(()),
            open => Err(format!("{open:?}")),
        }
    }

    async fn check(house: &House, violation: &policies::Violation) {
        let contract = house.contract("violation", &violation.violation_id, 1).await;
        let stands = (contract.state(), contract.audit_status());
        assert_eq!(stands, (ContractState::Closed, AuditStatus::Complete), "{contract:?}");
        let mut found = incidents(house, &violation.run_id, TriggerType::PolicyViolation).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let incident = found.remove(0);
        assert_eq!((incident.rule_id, incident.occurrence_count), (violation.rule_id.clone(), 1));
        assert_eq!(incident.affected_agent_id, "agent");
        assert!(violation.rule_slug.starts_with("never-"), "{violation:?}");
        assert_eq!(incident.title, format!("A run violated the rule {}", violation.rule_slug));
        let get = contracts_incidents::v1::GetIncidentRequest { incident_id: incident.incident_id };
        let detail: contracts_incidents::v1::GetIncidentResponse =
            house.ask("incidents.v1.IncidentService/GetIncident", get).await;
        assert_eq!((detail.evidence_count, detail.links.len()), (2, 1));
    }
}
