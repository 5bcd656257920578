//! An action of the completion is refused for good: everything done is undone, backwards, and the run ends as a failure
//! of the system.

use std::time::Duration;

use contracts_common::common::v1::{
    AckStatus, AuditStatus, GovernanceProfile, RunPhase, RunStatus, StepOutcome, TerminationReason,
};
use contracts_controls::v1::SettleRunRequest;
use contracts_incidents::v1::ReportRunOutcomeRequest;
use contracts_logs::v1::{
    AuditContract, ContractKey, ContractState, UnparkContractRequest,
    audit_contract_service_client::AuditContractServiceClient,
};
use contracts_policies::v1::{
    GetEvaluationRequest, RecordEvaluationRequest, RunFacts, SupersedeEvaluationRequest,
    decision_service_client::DecisionServiceClient,
};
use contracts_spine::v1::{CompleteRunRequest, GetRunProofRequest, GetRunRequest, ProofStatus, Run};
use runspine_e2e::{Client, Mesh, Shape};
use runspine_faults::{Act, Diary, Peer, Script, Temper, contract, install, play, setup};
use runspine_testkit::{eventually, until_ok};
use runspine_types::{Clock as _, SystemClock, new_id};

/// How long an undo may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const INCIDENT: &str = "incidents/create_incident";
const EVALUATION: &str = "policies/evaluate_policy";
const SETTLEMENT: &str = "controls/settle_budget";

struct Stage {
    _mesh: Mesh,
    peer: Peer,
    owner: Client,
}

impl Stage {
    async fn set() -> Self {
        let mut mesh = setup(Shape::Separate).start().await;
        let (peer, owner) = (Peer::of(&mut mesh), mesh.owner());
        install(&owner).await;
        Self { _mesh: mesh, peer, owner }
    }

    /// A run with work done, and nobody who has ended it.
    async fn run(&self, steps: Vec<Act>) -> Diary {
        let script = Script { steps, end: None, temper: Temper::Returns, pause: Duration::ZERO };
        play(&self.owner, &script).await
    }

    async fn fail(&self, diary: &Diary) -> contracts_spine::v1::CompleteRunResponse {
        let lease = diary.started.as_ref().and_then(|s| s.lease.clone()).expect("a lease");
        let request = CompleteRunRequest {
            run_id: diary.run_id.clone(),
            attempt: 1,
            fence: lease.fence,
            outcome: StepOutcome::Failure.into(),
            error_code: "TOOL_BROKE".to_owned(),
            ..CompleteRunRequest::default()
        };
        self.owner.runs().complete_run(request).await.expect("an answer").into_inner()
    }

    async fn get(&self, run_id: &str) -> Run {
        let get = GetRunRequest { run_id: run_id.to_owned(), attempt: 1, view: 0 };
        self.owner.runs().get_run(get).await.expect("the run").into_inner().run.expect("the run")
    }

    /// The run failed by the system's doing, its contract is closed as INCOMPLETE and its trace is proved.
    async fn undone(&self, run_id: &str) -> AuditContract {
        let run = self.get(run_id).await;
        let end = (run.phase(), run.status(), run.termination_reason(), run.error_code.as_str());
        let expected =
            (RunPhase::Failed, RunStatus::Failed, TerminationReason::SystemFailure, "SAGA_COMPENSATED");
        assert_eq!(end, expected);
        let contract = contract(&self.owner, run_id).await;
        assert_eq!(contract.state(), ContractState::Closed);
        assert_eq!(contract.audit_status(), AuditStatus::Incomplete);
        let proof = GetRunProofRequest { run_id: run_id.to_owned(), attempt: 0 };
        let proof = self.owner.runs().get_run_proof(proof).await.expect("a proof").into_inner();
        assert_eq!(proof.overall(), ProofStatus::Verified, "{proof:?}");
        contract
    }

    /// Revisions of the verdict, and which of them are superseded.
    async fn verdicts(&self, run_id: &str) -> Vec<(u32, bool)> {
        let mut decisions =
            DecisionServiceClient::with_interceptor(self.owner.channel(), self.owner.credential());
        let get = GetEvaluationRequest { run_id: run_id.to_owned(), attempt: 1 };
        let found = decisions.get_evaluation(get).await.expect("the verdict").into_inner();
        let mut all: Vec<_> = found.history.iter().map(|e| (e.revision, e.superseded)).collect();
        all.extend(found.evaluation.iter().map(|e| (e.revision, e.superseded)));
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Acknowledgements of the three actions, in the order in which they became durable.
fn acks(contract: &AuditContract) -> Vec<(String, AckStatus)> {
    let mut acks: Vec<_> = contract.acks.iter().collect();
    acks.sort_by_key(|a| a.seq);
    let named = acks.into_iter().map(|a| (format!("{}/{}", a.domain, a.action), a.status()));
    named.filter(|(name, _)| [INCIDENT, EVALUATION, SETTLEMENT].contains(&name.as_str())).collect()
}

fn in_order(contract: &AuditContract, status: AckStatus) -> Vec<String> {
    acks(contract).into_iter().filter(|(_, s)| *s == status).map(|(name, _)| name).collect()
}

/// What the FINAL verdict found, sorted.
fn findings(contract: &AuditContract) -> Vec<String> {
    let last = contract.verdicts.iter().max_by_key(|v| v.seq).expect("a verdict");
    let mut all: Vec<String> =
        last.findings.iter().map(|f| format!("{} {}/{}", f.code, f.domain, f.action)).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_incident_undoes_money_and_verdict() {
    let stage = Stage::set().await;
    let diary = stage.run(vec![Act::Think, Act::Look]).await;
    let report = ReportRunOutcomeRequest {
        run_id: diary.run_id.clone(),
        attempt: 1,
        status: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        agent_id: "support-agent".to_owned(),
        project_id: "shop".to_owned(),
        occurred_at: Some(runspine_rpc::timestamp(SystemClock.now())),
        ..ReportRunOutcomeRequest::default()
    };
    let path = "/runspine.incidents.v1.IncidentReportService/ReportRunOutcome";
    let signed = stage.peer.signed(path, &diary.run_id, report);
    stage.peer.incidents().report_run_outcome(signed).await.expect("the first outcome is taken");
    stage.fail(&diary).await;
    let contract = stage.undone(&diary.run_id).await;
    assert_eq!(in_order(&contract, AckStatus::Failed), [INCIDENT]);
    assert_eq!(in_order(&contract, AckStatus::RolledBack), [SETTLEMENT, EVALUATION]);
    let expected = [
        format!("FAILED {INCIDENT}"),
        format!("ROLLED_BACK {SETTLEMENT}"),
        format!("ROLLED_BACK {EVALUATION}"),
    ];
    assert_eq!(findings(&contract), expected);
    assert_eq!(stage.verdicts(&diary.run_id).await, [(0, true), (1, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_settlement_undoes_verdict_and_incident() {
    let stage = Stage::set().await;
    let diary = stage.run(vec![Act::Think, Act::Look]).await;
    let settle = SettleRunRequest {
        run_id: diary.run_id.clone(),
        attempt: 1,
        outcome: TerminationReason::Timeout.into(),
        totals: None,
    };
    let path = "/runspine.controls.v1.BudgetService/SettleRun";
    let signed = stage.peer.signed(path, &diary.run_id, settle);
    stage.peer.budgets().settle_run(signed).await.expect("the first settlement is taken");
    stage.fail(&diary).await;
    let contract = stage.undone(&diary.run_id).await;
    assert_eq!(in_order(&contract, AckStatus::Failed), [SETTLEMENT]);
    assert_eq!(in_order(&contract, AckStatus::RolledBack), [EVALUATION, INCIDENT]);
    assert_eq!(stage.verdicts(&diary.run_id).await, [(0, true), (1, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_that_cannot_be_replaced_parks_the_run_until_a_person_clears_it() {
    let stage = Stage::set().await;
    let diary = stage.run(Vec::new()).await;
    let judge = RecordEvaluationRequest {
        run_id: diary.run_id.clone(),
        attempt: 1,
        run_outcome: RunStatus::Failed.into(),
        termination_reason: TerminationReason::Timeout.into(),
        totals: Some(contracts_common::common::v1::Totals::default()),
        from_seq: 1,
        run: Some(RunFacts::default()),
        now: Some(runspine_rpc::timestamp(SystemClock.now())),
        profile: GovernanceProfile::Standard.into(),
        ..RecordEvaluationRequest::default()
    };
    let path = "/runspine.policies.v1.DecisionService/RecordEvaluation";
    let signed = stage.peer.signed(path, &diary.run_id, judge);
    let judged = stage.peer.policies().record_evaluation(signed).await.expect("the first verdict is taken");
    stage.fail(&diary).await;
    let parked = parked(&stage.owner, &diary.run_id).await;
    assert_eq!(in_order(&parked, AckStatus::Failed), [EVALUATION]);
    assert_eq!(
        stage.get(&diary.run_id).await.phase(),
        RunPhase::GovernanceCheck,
        "the run stays where it is"
    );

    let supersede = SupersedeEvaluationRequest {
        evaluation_id: judged.into_inner().evaluation.expect("a verdict").evaluation_id,
        reason: "it was recorded by mistake".to_owned(),
        saga_id: new_id(),
    };
    let path = "/runspine.policies.v1.DecisionService/SupersedeEvaluation";
    let signed = stage.peer.signed(path, &diary.run_id, supersede);
    stage.peer.policies().supersede_evaluation(signed).await.expect("the cause is gone");
    let mut contracts =
        AuditContractServiceClient::with_interceptor(stage.owner.channel(), stage.owner.credential());
    let unpark = UnparkContractRequest {
        key: Some(ContractKey { saga: "run".to_owned(), subject_id: diary.run_id.clone(), attempt: 1 }),
        reason: "the wrong verdict is superseded".to_owned(),
        request_id: new_id(),
    };
    contracts.unpark_contract(unpark).await.expect("a person may unpark");
    eventually(PATIENCE, || async {
        contract(&stage.owner, &diary.run_id).await.state() == ContractState::Closed
    })
    .await;
    stage.undone(&diary.run_id).await;
    assert_eq!(stage.verdicts(&diary.run_id).await, [(0, true), (1, false)]);
}

/// The contract of a run, once it is parked.
async fn parked(owner: &Client, run_id: &str) -> AuditContract {
    let contract = until_ok(PATIENCE, || async {
        let contract = contract(owner, run_id).await;
        if contract.parked { Ok(contract) } else { Err(contract) }
    })
    .await;
    assert!(!contract.parked_reason.is_empty());
    contract
}
