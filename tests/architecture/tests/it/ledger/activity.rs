//! Acts on runs.

use std::time::Duration;

use contracts_activity::v1 as pb;
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R};
use runspine_types::new_id;

use super::desk::Desk;

const STORE: &str = "activity.v1.RunStoreService";

fn attributes() -> pb::RunAttributes {
    pb::RunAttributes {
        project_id: "project".into(),
        agent_id: "agent".into(),
        request_digest: vec![1; 32].into(),
        actor_type: 1,
        actor_id: "kim".into(),
        origin_system_id: "tests".into(),
        source: 3,
        credential_id: "cred".into(),
        priority: 5,
        profile: 2,
        max_attempts: 3,
        governance_config_digest: vec![2; 32].into(),
        ..Default::default()
    }
}

impl Desk {
    async fn transition(&self, run_id: &str, sequence: u64, event: E, to: (P, S)) {
        let grant = (event == E::Claim).then(|| pb::LeaseGrant { holder: "w".into(), ttl_ms: 5_000 });
        let message = pb::TransitionRunRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            expected_sequence: sequence,
            event: event.into(),
            to_phase: to.0.into(),
            to_status: to.1.into(),
            reason: "test".into(),
            grant,
            ..Default::default()
        };
        let _: pb::TransitionRunResponse = self.act(&format!("{STORE}/TransitionRun"), message).await;
    }

    async fn executing(&self) -> String {
        let run_id = new_id();
        let message = pb::CreateRunRequest {
            run_id: run_id.clone(),
            attributes: Some(attributes()),
            status: S::Queued.into(),
            start_input: b"input".to_vec().into(),
            ..Default::default()
        };
        let _: pb::CreateRunResponse = self.act(&format!("{STORE}/CreateRun"), message).await;
        self.transition(&run_id, 1, E::Authorize, (P::Authorized, S::Queued)).await;
        self.transition(&run_id, 2, E::Claim, (P::Executing, S::Running)).await;
        run_id
    }
}

pub async fn acts(desk: &Desk) {
    let run_id = desk.executing().await;
    waits(desk, &run_id).await;
    ends(desk, &run_id).await;
    desk.executing().await;
    desk.advance(Duration::from_secs(10));
    let claim = pb::ClaimLapsedRequest {
        request_id: new_id(),
        worker_id: "worker".into(),
        limit: 10,
        lease_ms: 30_000,
    };
    let claimed: pb::ClaimLapsedResponse = desk.act(&format!("{STORE}/ClaimLapsed"), claim).await;
    assert_eq!(claimed.runs.len(), 1);
}

async fn waits(desk: &Desk, run_id: &str) {
    let add = pb::AddPauseRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        reason: pb::PauseReason::ManualPause.into(),
        ..Default::default()
    };
    let added: pb::AddPauseResponse = desk.act(&format!("{STORE}/AddPause"), add).await;
    let pause_id = added.pause.unwrap().pause_id;
    let extend = pb::ExtendPauseRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        pause_id: pause_id.clone(),
        on_timeout: pb::PauseTimeout::Terminate.into(),
        fence: 0,
    };
    let _: pb::ExtendPauseResponse = desk.act(&format!("{STORE}/ExtendPause"), extend).await;
    let clear = pb::ClearPausesRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        pause_ids: vec![pause_id],
        note: "it is repaired".into(),
        ..Default::default()
    };
    let _: pb::ClearPausesResponse = desk.act(&format!("{STORE}/ClearPauses"), clear).await;
}

async fn ends(desk: &Desk, run_id: &str) {
    let stop = pb::RequestStopRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        reason: R::UserAbort.into(),
        code: "CANCELLED".into(),
        mode: pb::StopMode::Drain.into(),
        ..Default::default()
    };
    let _: pb::RequestStopResponse = desk.act(&format!("{STORE}/RequestStop"), stop).await;
    desk.transition(run_id, 5, E::End, (P::GovernanceCheck, S::Running)).await;
    desk.transition(run_id, 6, E::Checked, (P::Finalizing, S::Running)).await;
    let finish = pb::FinishRunRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        status: S::Retry.into(),
        termination_reason: R::SystemFailure.into(),
        incident_result: Some(pb::IncidentResult { disposition: 1, id: new_id() }),
        evaluation_id: new_id(),
        event: E::Finish.into(),
        ..Default::default()
    };
    let _: pb::FinishRunResponse = desk.act(&format!("{STORE}/FinishRun"), finish).await;
    let next = pb::CreateAttemptRequest {
        run_id: run_id.to_owned(),
        attempt: 2,
        reason: "STALE_RUN".into(),
        ..Default::default()
    };
    let _: pb::CreateAttemptResponse = desk.act(&format!("{STORE}/CreateAttempt"), next).await;
}
