//! A freeze over the real domains: agents that say nothing are stopped and paused, and go on when it is lifted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Actor, ActorType, CallContext, GovernanceProfile, RunStatus};
use contracts_controls::v1::{
    self as controls, ContainmentStatus, FreezeEffect, FreezeRecord, FreezeScope,
    freeze_service_client::FreezeServiceClient,
};
use contracts_spine::v1::{
    GetRunRequest, Run, RunEnvironment, StartRunRequest, run_service_client::RunServiceClient,
};
use runspine_boot::Deps;
use runspine_rpc::{Context, Mesh, Stack, Transport};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::{
    containment::{self, Containment},
    freezes,
    reconciler::{self, Reconciler, Tally},
};
use crate::{Config, Spine, config::ReconcilerConfig, service::worker_context};

const PATIENCE: Duration = Duration::from_secs(60);

/// The mesh in this process, with the workers that a freeze needs.
struct World {
    spine: Spine,
    controls: Stack,
    tenant: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap();
        let s = &deps.settings;
        let domains = [
            runspine_activity::service(s.section("activity").unwrap(), &deps).await.unwrap(),
            runspine_incidents::service(s.section("incidents").unwrap(), &deps).await.unwrap(),
            runspine_policies::service(s.section("policies").unwrap(), &deps).await.unwrap(),
            runspine_logs::service(s.section("logs").unwrap(), &deps).await.unwrap(),
            runspine_controls::service(s.section("controls").unwrap(), &deps).await.unwrap(),
        ];
        let controls = domains.last().unwrap().stack.clone();
        let mesh = domains.iter().fold(Mesh::new(), |mesh, service| mesh.local(&service.stack));
        let spine = crate::service(Config::default(), &deps, &mesh).await.unwrap();
        let world =
            Self { spine, controls, tenant: new_id(), stop: CancellationToken::new(), _folder: folder };
        world.work(&deps);
        world
    }

    fn work(&self, deps: &Deps) {
        let registry = self.spine.service.stack.registry();
        let context = |name: &str, calls: &[&str]| worker_context(registry, deps, name, calls).unwrap();
        let kernel = &self.spine.kernel;
        let (view, replica) = (Arc::clone(&kernel.freezes), "spine-1".to_owned());
        let (way, clock) = (Transport::local(&self.controls), Arc::clone(&deps.clock));
        let follow = context("freezes", freezes::CALLS);
        tokio::spawn(freezes::follow(follow, way, view, clock, replica.clone(), self.stop.clone()));
        let containing = context("containment", containment::CALLS);
        let worker = Containment::new(Arc::clone(kernel), containing, replica.clone());
        tokio::spawn(worker.run(self.stop.clone()));
        let config = ReconcilerConfig { poll_ms: 100, ..ReconcilerConfig::default() };
        let reconciling = context("reconciler", reconciler::CALLS);
        let tally = Arc::new(Tally::default());
        let worker = Reconciler::new(Arc::clone(kernel), reconciling, config, replica, tally);
        tokio::spawn(worker.run(self.stop.clone()));
    }

    /// `message` as the door would hand it on for an owner.
    fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        let operation = self.spine.service.stack.registry().operation(operation).unwrap();
        let call = CallContext {
            tenant_id: self.tenant.clone(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: "ada".to_owned() }),
            credential_id: "key".to_owned(),
            roles: vec!["OWNER".to_owned()],
            correlation_id: new_id(),
            profile: GovernanceProfile::Standard.into(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    fn runs(&self) -> RunServiceClient<Transport> {
        RunServiceClient::new(Transport::local(&self.spine.service.stack))
    }

    fn freezes(&self) -> FreezeServiceClient<Transport> {
        FreezeServiceClient::new(Transport::local(&self.controls))
    }

    /// A run whose agent never speaks again, with a lease that outlives the test.
    async fn silent(&self) -> String {
        let request = StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "support-agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Answer a customer.".to_owned(),
            environment: Some(RunEnvironment {
                sdk_mode: "INLINE".to_owned(),
                sdk_version: "1".to_owned(),
                environment: "SANDBOX".to_owned(),
            }),
            lease_ttl_ms: 300_000,
            ..StartRunRequest::default()
        };
        let started = self.runs().start_run(self.ask("runspine.spine.v1.RunService/StartRun", request)).await;
        started.unwrap().into_inner().run.unwrap().run_id
    }

    async fn freeze(&self, scope: FreezeScope, scope_id: &str, effect: FreezeEffect) -> FreezeRecord {
        let request = controls::FreezeRequest {
            request_id: new_id(),
            scope: scope.into(),
            scope_id: scope_id.to_owned(),
            effect: effect.into(),
            reason_code: controls::FreezeReason::Manual.into(),
            note: "the test freezes it".to_owned(),
            expires_at: None,
        };
        let request = self.ask("runspine.controls.v1.FreezeService/Freeze", request);
        self.freezes().freeze(request).await.unwrap().into_inner().freeze.unwrap()
    }

    async fn until(&self, run_id: &str, wanted: impl Fn(&Run) -> bool) -> Run {
        until_ok(PATIENCE, || async {
            let request = GetRunRequest { run_id: run_id.to_owned(), ..GetRunRequest::default() };
            let request = self.ask("runspine.spine.v1.RunService/GetRun", request);
            let run = self.runs().get_run(request).await.unwrap().into_inner().run.unwrap();
            if wanted(&run) { Ok(run) } else { Err(run) }
        })
        .await
    }

    async fn contained(&self, freeze: &FreezeRecord) -> controls::ContainmentProof {
        until_ok(PATIENCE, || async {
            let request = controls::GetContainmentRequest { freeze_id: freeze.freeze_id.clone() };
            let request = self.ask("runspine.controls.v1.FreezeService/GetContainment", request);
            let proof = self.freezes().get_containment(request).await.unwrap().into_inner().proof.unwrap();
            if proof.status() == ContainmentStatus::Contained { Ok(proof) } else { Err(proof) }
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_frozen_run_ends_as_frozen_though_its_agent_is_silent() {
    let world = World::start().await;
    let run_id = world.silent().await;
    let frozen = world.freeze(FreezeScope::Tenant, "", FreezeEffect::Terminate).await;
    let run = world.until(&run_id, |run| run.status() == RunStatus::Cancelled).await;
    assert_eq!(run.error_code, "FROZEN", "{run:?}");
    let proof = world.contained(&frozen).await;
    assert_eq!((proof.authorizations_after, proof.unknown_runs, proof.runs.len()), (0, 0, 1));
    assert!(proof.replicas.iter().all(|replica| replica.confirmed_epoch >= frozen.epoch), "{proof:?}");
}

#[tokio::test]
async fn a_freeze_pauses_a_silent_run_and_its_lift_lets_it_go_on() {
    let world = World::start().await;
    let run_id = world.silent().await;
    let frozen = world.freeze(FreezeScope::Run, &run_id, FreezeEffect::Pause).await;
    world.until(&run_id, |run| run.status() == RunStatus::Paused).await;
    world.contained(&frozen).await;
    let lift = controls::RequestUnfreezeRequest {
        request_id: new_id(),
        freeze_id: frozen.freeze_id.clone(),
        reason: "the test is done with it".to_owned(),
    };
    let lift = world.ask("runspine.controls.v1.FreezeService/RequestUnfreeze", lift);
    world.freezes().request_unfreeze(lift).await.unwrap();
    world.until(&run_id, |run| run.status() == RunStatus::Running).await;
}
