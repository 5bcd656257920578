//! One story, the same over the all-in-one and over six processes: rules and a budget, a run that ends well, one that is
//! denied and runs out of money, one that fails, and everything that is left behind by them.

use contracts_activity::v1::ListRunsRequest;
use contracts_common::common::v1::{
    AuditStatus, ContractVerdict, IntegrityStatus, RunPhase, RunStatus, StepOutcome, TerminationReason,
    Verdict,
};
use contracts_incidents::v1::ListRunIncidentsRequest;
use contracts_logs::v1::ListKeysRequest;
use contracts_policies::v1::{ActivateRuleRequest, FindingSeverity, ListRulesRequest, RuleState};
use contracts_spine::v1::{
    AuthorizeStepRequest, ExportRunBundleRequest, GetRunEvidenceRequest, GetRunProofRequest, ProofStatus,
    RecordStepRequest, Run, SourceState, WatchRunRequest, watch_run_response::Body,
};
use runspine_e2e::{Agent, Client, Mesh, Shape};
use runspine_logs_domain::{
    bundle::{Options, Verdict as BundleVerdict, verify_bundle},
    keys::parse_verifier_key,
};
use runspine_types::new_id;
use tonic::Code;

use crate::support::{self, cost, primary};

#[tokio::test]
async fn all_in_one() {
    story(Mesh::start(Shape::AllInOne).await).await;
}

#[tokio::test]
async fn six_processes() {
    let mesh = Mesh::start(Shape::Separate).await;
    assert_eq!(mesh.names().len(), 6);
    story(mesh).await;
}

async fn story(mesh: Mesh) {
    let owner = mesh.owner();
    a_bad_rule_is_told_where_it_is_wrong(&owner).await;
    support::rules(&owner).await;
    support::run_budget(&owner, 100_000).await;
    let good = a_run_that_ends_well(&owner).await;
    let failed = a_run_that_fails(&owner).await;
    for agent in [&good, &failed] {
        evidence_is_complete(agent, agent.run_id == failed.run_id).await;
        proof_is_verified(agent).await;
        bundle_verifies(agent, mesh.tenant()).await;
    }
    both_are_listed(&owner, &[&good.run_id, &failed.run_id]).await;
}

async fn a_bad_rule_is_told_where_it_is_wrong(owner: &Client) {
    let text = "@id(\"broken\")\npermit (principal, action, resource)\nwhen { context.nowhere == }; ";
    let answer = support::create(owner, support::rule("broken", text)).await;
    let finding = answer.findings.first().expect("a finding");
    assert_eq!(finding.severity(), FindingSeverity::Blocking);
    assert_eq!(finding.line, 3, "{finding:?}");
    assert!(finding.column > 0 && !finding.message.is_empty(), "{finding:?}");
    // It stays a draft that can be mended; in force it never comes.
    let draft = answer.rule.expect("the draft");
    assert_eq!(draft.state(), RuleState::Draft);
    let request = ActivateRuleRequest {
        request_id: new_id(),
        rule_id: draft.rule_id,
        version: draft.version,
        expected_version: draft.revision,
        reason: "it should be in force".to_owned(),
    };
    let status = owner.rules().activate_rule(request).await.unwrap_err();
    assert_eq!(
        support::refusal(&status),
        (Code::FailedPrecondition, "FINDINGS_BLOCKING".to_owned()),
        "{status:?}"
    );
    let (finding, _) = runspine_rpc::details(&status).preconditions.remove(0);
    assert!(finding.starts_with("RULE_TEXT_INVALID at line 3"), "{finding}");
    let request = ListRulesRequest { states: vec![RuleState::Active.into()], ..ListRulesRequest::default() };
    let active = owner.rules().list_rules(request).await.unwrap().into_inner().rules;
    assert!(active.iter().all(|r| r.slug != "broken"), "nothing came into force");
}

async fn a_run_that_ends_well(owner: &Client) -> Agent {
    let agent = Agent::start(owner).await;
    let governance = agent.started.governance.as_ref().expect("the governance in force");
    assert_eq!(governance.policy_snapshot_digest.len(), 32);
    assert_eq!(agent.started.contract.as_ref().expect("the contract").expectations.len(), 6);

    let ask = AuthorizeStepRequest { estimate: cost(40_000), ..agent.ask(0, "search") };
    let allowed = agent.authorize(ask).await.expect("a decision");
    let decision = allowed.decision.as_ref().unwrap();
    assert_eq!(decision.verdict(), Verdict::Allow, "{decision:?}");
    assert!(!allowed.hold_id.is_empty() && allowed.receipt.as_ref().unwrap().link.len() == 32);
    let report = RecordStepRequest { cost_microusd: Some(40_000), ..agent.report(&allowed) };
    let recorded = agent.record(report).await.expect("a record");
    assert_eq!(recorded.charged_microusd, 40_000, "{recorded:?}");

    let denied = agent.authorize(agent.ask(1, "delete_account")).await.expect("a decision");
    let decision = denied.decision.as_ref().unwrap();
    assert_eq!((decision.verdict(), primary(decision)), (Verdict::Deny, "NO_DELETION"));
    assert_eq!(denied.hold_id, "", "a refused step holds nothing");

    let ask = AuthorizeStepRequest { estimate: cost(70_000), ..agent.ask(2, "search") };
    let dear = agent.authorize(ask).await.expect("a decision");
    let decision = dear.decision.as_ref().unwrap();
    assert_eq!((decision.verdict(), primary(decision)), (Verdict::Deny, "BUDGET_EXCEEDED"), "{decision:?}");
    agent.take(3, "search").await.expect("a cheaper step goes on");

    let done = agent.complete(StepOutcome::Success).await.expect("the end");
    let (run, saga) = (done.run.unwrap(), done.saga.unwrap());
    assert_eq!((run.phase(), run.status()), (RunPhase::Completed, RunStatus::Succeeded));
    assert_eq!(saga.verdict(), ContractVerdict::Complete, "{saga:?}");
    assert!(saga.is_complete && saga.all_domains_succeeded && saga.results.len() == 6, "{saga:?}");
    let run = ended_as(&agent, RunStatus::Succeeded, TerminationReason::Completed, [2, 2, 0]).await;
    assert_eq!(run.usage.unwrap().cost_microusd, 40_000);
    watched_to_its_end(&agent).await;
    agent
}

async fn a_run_that_fails(owner: &Client) -> Agent {
    let agent = Agent::start(owner).await;
    agent.take(0, "search").await.expect("a step");
    let done = agent.complete(StepOutcome::Failure).await.expect("the end");
    assert_eq!(
        done.saga.unwrap().verdict(),
        ContractVerdict::Complete,
        "a failure that was handled is complete"
    );
    ended_as(&agent, RunStatus::Failed, TerminationReason::AgentFailure, [1, 0, 1]).await;
    let request = ListRunIncidentsRequest { run_id: agent.run_id.clone() };
    let found = owner.incidents().list_run_incidents(request).await.unwrap().into_inner().incidents;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].source_run_id, agent.run_id);
    agent
}

/// Fails unless the run comes to this end, with so many steps, denied steps and incidents.
async fn ended_as(agent: &Agent, status: RunStatus, reason: TerminationReason, counts: [u64; 3]) -> Run {
    // The view of the run catches up with what it counts by events.
    support::until(agent, |run| [run.step_count, run.denied_steps, run.incident_count] == counts).await;
    let view = support::ended(agent).await;
    assert!(view.sources.iter().all(|s| s.state() == SourceState::Ok), "{:?}", view.sources);
    let phases: Vec<RunPhase> = view.transitions.iter().map(|t| t.to_phase()).collect();
    assert_eq!(&phases[..3], [RunPhase::Created, RunPhase::Authorized, RunPhase::Executing]);
    let sequences: Vec<u64> = view.transitions.iter().map(|t| t.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "dense from 1");
    let run = view.run.unwrap();
    assert_eq!((run.status(), run.termination_reason()), (status, reason), "{run:?}");
    assert_eq!(run.audit_status(), AuditStatus::Complete, "{run:?}");
    run
}

async fn watched_to_its_end(agent: &Agent) {
    let request = WatchRunRequest { run_id: agent.run_id.clone(), from_seq: 1 };
    let mut events = agent.client.runs().watch_run(request).await.expect("a watch").into_inner();
    let (mut last, mut types) = (0, Vec::new());
    loop {
        match events
            .message()
            .await
            .expect("the watch goes on")
            .expect("the watch ends with END")
            .body
            .unwrap()
        {
            Body::Event(event) => {
                assert!(event.seq > last, "in ledger order, each once");
                last = event.seq;
                types.push(event.event_type);
            }
            Body::Heartbeat(_) => {}
            Body::End(end) => {
                assert_eq!(end.status(), RunStatus::Succeeded);
                break;
            }
        }
    }
    assert!(types.iter().any(|t| t == "spine.RunStarted"), "{types:?}");
}

async fn evidence_is_complete(agent: &Agent, failed: bool) {
    let request =
        GetRunEvidenceRequest { run_id: agent.run_id.clone(), require_complete: true, ..Default::default() };
    let evidence = agent.client.runs().get_run_evidence(request).await.expect("evidence").into_inner();
    assert!(evidence.complete, "{:?}", evidence.sources);
    assert_eq!(evidence.sources.len(), 7, "{:?}", evidence.sources);
    assert!(evidence.sources.iter().all(|s| matches!(s.state(), SourceState::Ok | SourceState::Empty)));
    assert_eq!(evidence.incidents.len(), usize::from(failed), "{:?}", evidence.incidents);
    assert_eq!(evidence.evaluations.len(), 1, "{:?}", evidence.evaluations);
    assert_eq!(evidence.traces.len(), 1);
    let denials = evidence.decisions.iter().filter(|d| d.status == "DENY").count();
    assert_eq!(denials, usize::from(!failed), "what policies refused: {:?}", evidence.decisions);
    assert!(!evidence.ledger.is_empty(), "no ledger entry");
    assert_eq!(evidence.captures.len(), 1, "the environment: {:?}", evidence.captures);
    assert!(evidence.contract.is_some_and(|c| c.is_complete));
}

async fn proof_is_verified(agent: &Agent) {
    let request = GetRunProofRequest { run_id: agent.run_id.clone(), attempt: 0 };
    let proof = agent.client.runs().get_run_proof(request).await.expect("a proof").into_inner();
    assert_eq!(proof.overall(), ProofStatus::Verified, "{proof:?}");
    assert!(proof.records_verified > 0 && proof.ledger_seq > 0);
    let view = support::until(agent, |run| run.integrity_status() == IntegrityStatus::Verified).await;
    assert_eq!(view.run.unwrap().audit_status(), AuditStatus::Complete);
}

async fn bundle_verifies(agent: &Agent, tenant: &str) {
    let request = ExportRunBundleRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        reason: "an auditor asked for it".to_owned(),
        allow_open: false,
    };
    let mut pieces = agent.client.bundles().export_run_bundle(request).await.expect("a bundle").into_inner();
    let mut bundle = Vec::new();
    while let Some(piece) = pieces.message().await.expect("the bundle goes on") {
        bundle.extend_from_slice(&piece.chunk);
    }
    let keys = agent.client.keys().list_keys(ListKeysRequest::default()).await.unwrap().into_inner().keys;
    let trusted = keys.iter().filter_map(|k| parse_verifier_key(&k.verifier_key)).collect::<Vec<_>>();
    assert!(!trusted.is_empty());
    let options = Options { trusted, tenant_id: Some(tenant.to_owned()), against: None };
    let report = verify_bundle(bundle.as_slice(), &options).expect("a readable bundle");
    assert_eq!(report.verdict, BundleVerdict::Verified, "{:?}", report.findings);
    assert_eq!(report.manifest.unwrap().run_id, agent.run_id);

    // One byte of its middle is enough.
    let middle = bundle.len() / 2;
    bundle[middle] ^= 1;
    let report = verify_bundle(bundle.as_slice(), &options).expect("a readable bundle");
    assert_eq!(report.verdict, BundleVerdict::Failed);
}

async fn both_are_listed(owner: &Client, run_ids: &[&String; 2]) {
    let request = ListRunsRequest { page_size: 100, ..ListRunsRequest::default() };
    let runs = owner.views().list_runs(request).await.expect("the list").into_inner().runs;
    assert_eq!(runs.len(), 2);
    for run_id in run_ids {
        assert!(runs.iter().any(|r| r.run_id == **run_id), "{run_id} is not listed");
    }
}
