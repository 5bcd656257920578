//! What a runtime asks for itself: the judgement of its run, and lessons, over the real domains.

use contracts_common::common::v1::{Actor, ActorType, CallContext, StepOutcome};
use contracts_spine::v1::{
    self as pb, governance_service_client::GovernanceServiceClient, run_service_client::RunServiceClient,
};
use runspine_boot::{Deps, Service};
use runspine_rpc::{Context, Transport};
use runspine_spine::Spine;
use runspine_testkit::until_ok;
use runspine_types::new_id;
use std::time::Duration;
use tonic::Request;

use crate::contract::domains;

const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    spine: Spine,
    tenant: String,
    _domains: Vec<Service>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap();
        let domains = domains(&deps).await;
        let mesh = domains.iter().fold(runspine_rpc::Mesh::new(), |mesh, d| mesh.local(&d.stack));
        let spine =
            runspine_spine::service(deps.settings.section("spine").unwrap(), &deps, &mesh).await.unwrap();
        Self { spine, tenant: new_id(), _domains: domains, _folder: folder }
    }

    fn ask<M>(&self, operation: &str, who: &str, message: M) -> Request<M> {
        let registry = self.spine.service.stack.registry();
        let operation = registry.operation(&format!("runspine.spine.v1.{operation}")).unwrap();
        let call = CallContext {
            tenant_id: self.tenant.clone(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: who.to_owned() }),
            credential_id: who.to_owned(),
            roles: vec!["OWNER".to_owned()],
            correlation_id: new_id(),
            profile: 2,
            config_digest: vec![7; 32].into(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    fn acts(&self) -> GovernanceServiceClient<Transport> {
        GovernanceServiceClient::new(Transport::local(&self.spine.service.stack))
    }

    fn runs(&self) -> RunServiceClient<Transport> {
        RunServiceClient::new(Transport::local(&self.spine.service.stack))
    }

    /// A run, with the fence of its lease.
    async fn start(&self) -> (String, u64) {
        let start = pb::StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Pay a bill.".to_owned(),
            ..Default::default()
        };
        // A start whose time was over on a busy machine goes on where it stopped.
        let started = until_ok(PATIENCE, || async {
            let ask = self.ask("RunService/StartRun", "ada", start.clone());
            self.runs().start_run(ask).await.map(tonic::Response::into_inner)
        })
        .await;
        (start.run_id, started.lease.map_or(0, |l| l.fence))
    }

    async fn judged(
        &self,
        who: &str,
        run_id: &str,
    ) -> Result<pb::CreatePolicyEvaluationResponse, tonic::Status> {
        let ask = pb::CreatePolicyEvaluationRequest { run_id: run_id.to_owned(), attempt: 1 };
        let ask = self.ask("GovernanceService/CreatePolicyEvaluation", who, ask);
        self.acts().create_policy_evaluation(ask).await.map(tonic::Response::into_inner)
    }

    async fn near(
        &self,
        event: &str,
        metric: pb::LessonMetric,
        permille: u32,
    ) -> pb::EmitNearThresholdLessonResponse {
        let ask = pb::EmitNearThresholdLessonRequest {
            request_id: new_id(),
            metric: metric.into(),
            utilization_permille: permille,
            threshold_value: 1_000,
            current_value: permille.into(),
            source_event_id: event.to_owned(),
            ..Default::default()
        };
        let ask = self.ask("GovernanceService/EmitNearThresholdLesson", "ada", ask);
        self.acts().emit_near_threshold_lesson(ask).await.unwrap().into_inner()
    }
}

fn reason(status: &tonic::Status) -> String {
    runspine_rpc::details(status).reason
}

/// A13.1: before the intent nothing is judged; whoever asks after it, and the saga, come to one evaluation and one
/// acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_judged_once_whoever_asks() {
    let house = House::open().await;
    let (run_id, fence) = house.start().await;
    assert_eq!(reason(&house.judged("ada", &run_id).await.unwrap_err()), "RUN_NOT_ENDING");
    assert_eq!(reason(&house.judged("eve", &run_id).await.unwrap_err()), "RUN_NOT_YOURS");
    assert_eq!(reason(&house.judged("ada", &new_id()).await.unwrap_err()), "RUN_NOT_FOUND");
    let end = pb::CompleteRunRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        outcome: StepOutcome::Success.into(),
        ..Default::default()
    };
    let ended = until_ok(PATIENCE, || async {
        house.runs().complete_run(house.ask("RunService/CompleteRun", "ada", end.clone())).await
    });
    let ended = ended.await.into_inner();
    let asks = (0..12).map(|_| house.judged("ada", &run_id));
    let judged = futures::future::join_all(asks).await;
    let judged: Vec<_> = judged.into_iter().map(Result::unwrap).collect();
    let first = &judged[0];
    assert!(judged.iter().all(|j| j.evaluation_id == first.evaluation_id && j.existing), "{judged:?}");
    let ack = first.ack.as_ref().unwrap();
    assert_eq!(
        (ack.status.as_str(), first.outcome.as_str()),
        ("SUCCESS", "NOT_APPLICABLE"),
        "no step was decided"
    );
    assert!(ended.run.is_some());
}

/// A13.3: what is near its limit is a lesson, each metric its own; a success has to be one.
#[tokio::test(flavor = "multi_thread")]
async fn lessons_are_taken_from_the_runtime() {
    use pb::{
        LessonMetric::{Cost, Tokens},
        LessonResult::{AtLimit, BelowBand, Created, Merged, NotEligible},
    };
    let house = House::open().await;
    let told = [
        (house.near("e1", Cost, 849).await, BelowBand, ""),
        (house.near("e1", Cost, 850).await, Created, "B85"),
        (house.near("e1", Tokens, 999).await, Created, "B95"),
        (house.near("e2", Cost, 899).await, Merged, "B85"),
        (house.near("e3", Cost, 1_000).await, AtLimit, ""),
    ];
    for (answer, result, band) in &told {
        assert_eq!((answer.result(), answer.band.as_str()), (*result, *band));
        assert_eq!(answer.lesson_id.is_empty(), band.is_empty());
    }
    assert_eq!(told[1].0.lesson_id, told[3].0.lesson_id);
    let (run_id, _) = house.start().await;
    let success = pb::EmitCriticalSuccessLessonRequest {
        request_id: new_id(),
        run_id,
        success_kind: "cost_efficiency".to_owned(),
        metrics: [
            ("budget_microusd".to_owned(), 9),
            ("utilization_permille".to_owned(), 1),
            ("duration_ms".to_owned(), 1),
        ]
        .into(),
        source_event_id: "e4".to_owned(),
        is_synthetic: false,
    };
    let ask = house.ask("GovernanceService/EmitCriticalSuccessLesson", "ada", success);
    let answer = house.acts().emit_critical_success_lesson(ask).await.unwrap().into_inner();
    assert_eq!((answer.result(), answer.lesson_id.as_str()), (NotEligible, ""), "the run has not ended");
}
