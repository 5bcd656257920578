//! Runs that nobody started: their spans are their beginning, their middle and their end.

use contracts_common::common::v1::{GovernanceProfile, RunPhase, RunSource, StepOutcome};
use contracts_logs::v1::{self as pb, ProofStatus, QuietCause, span_service_client::SpanServiceClient};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use runspine_db::args;
use runspine_logs::Config;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, test_id};
use runspine_types::{Digest, is_uuid_v7};

use super::harness::{attribute, chat, counts, failed, refusals, request, span, text, tool, with};
use crate::traces::harness::{Answer, House, reason, sealing, start};

const CLAIM: &str = "SpanService/ClaimObservedRuns";

/// The root of the trace that [`span`] makes spans of.
fn root(number: u64, attributes: Vec<KeyValue>) -> Span {
    Span { parent_span_id: Vec::new(), ..span(number, attributes) }
}

/// The root of an agent.
fn agent(number: u64) -> Span {
    root(number, vec![text("gen_ai.operation.name", "invoke_agent")])
}

fn of_trace(trace: u8, spans: Vec<Span>) -> Vec<Span> {
    spans.into_iter().map(|span| Span { trace_id: vec![trace; 16], ..span }).collect()
}

/// Spans that name no run.
fn unnamed(spans: Vec<Span>) -> pb::AppendSpansRequest {
    let resource = ResourceSpans {
        resource: Some(Resource { attributes: vec![text("service.name", "shop")], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    pb::AppendSpansRequest {
        resource_spans: vec![resource.encode_to_vec().into()],
        observe: true,
        ..Default::default()
    }
}

fn wanted(number: u64) -> pb::ClaimObservedRunsRequest {
    pb::ClaimObservedRunsRequest { request_id: test_id(77, number), ..Default::default() }
}

impl House {
    /// Starts the trace of an observed run, as the spine does.
    async fn observe(&self, run_id: &str) {
        let promises = [
            ("logs", "start_trace", RunPhase::Created),
            ("policies", "evaluate_policy", RunPhase::GovernanceCheck),
            ("logs", "complete_trace", RunPhase::Finalizing),
            ("orchestrator", "finalize_run", RunPhase::Created),
        ];
        let expectation = |(domain, action, phase): (&str, &str, RunPhase)| pb::ExpectationSpec {
            domain: domain.into(),
            action: action.into(),
            due_phase: phase.into(),
            deadline_ms: if action == "finalize_run" { 0 } else { 5_000 },
            ..Default::default()
        };
        let declare = pb::DeclareExpectationsRequest {
            key: Some(pb::ContractKey { saga: "run".into(), subject_id: run_id.to_owned(), attempt: 1 }),
            expectations: promises.map(expectation).to_vec(),
            run_timeout_ms: 86_400_000,
        };
        let declare = self.ask("AuditContractService/DeclareExpectations", declare);
        self.contracts.clone().declare_expectations(declare).await.unwrap();
        let request = pb::StartTraceRequest {
            run_id: run_id.to_owned(),
            profile: GovernanceProfile::ObserveOnly.into(),
            source: RunSource::Otlp.into(),
            external_trace_id: "07".repeat(16),
            ..start(1, 1)
        };
        self.start(request).await.unwrap();
    }

    /// An observed run with these spans.
    async fn observed(&self, number: u64, spans: Vec<Span>) {
        self.observe(&run(number)).await;
        let count = spans.len() as u64;
        assert_eq!(self.spans(number, spans).await.stored, count);
    }

    async fn claim(&self, request: pb::ClaimObservedRunsRequest) -> Answer<Vec<pb::ObservedRun>> {
        let request = self.ask(CLAIM, request);
        let claimed = SpanServiceClient::new(self.way.clone()).claim_observed_runs(request).await;
        claimed.map(|claimed| claimed.into_inner().runs)
    }

    /// The runs that are over now, with why and how.
    async fn ended(&self, number: u64) -> Vec<(String, QuietCause, StepOutcome, String)> {
        let runs = self.claim(wanted(number)).await.unwrap().into_iter();
        let over = |run: pb::ObservedRun| {
            let end = run.end?;
            Some((run.run_id, end.cause(), end.outcome(), end.error_code))
        };
        runs.filter_map(over).collect()
    }

    async fn seal_observed(&self, number: u64) -> Vec<String> {
        self.settle(number, 1).await;
        let sealed = self.seal(sealing(number, 1)).await.unwrap();
        sealed.findings.into_iter().map(|finding| finding.code).collect()
    }

    async fn told(&self, event: &str) -> usize {
        self.published().await.iter().filter(|e| e.r#type == event).count()
    }
}

on_both_engines! {
    async fn a_trace_has_its_run_from_first_sight_on(store: TestStore) {
        let house = House::over(store).await;
        let named = with(chat(2), [text("gen_ai.agent.name", "seller")]);
        let first = house.ingest(1, unnamed(vec![chat(1), named.clone()])).await.unwrap();
        assert_eq!((counts(&first), first.unknown.len()), ((0, 0, 0, 0), 1), "nothing is stored");
        let unknown = first.unknown[0].clone();
        assert!(is_uuid_v7(&unknown.run_id));
        assert_eq!((unknown.agent_id.as_str(), unknown.external_trace_id.clone()), ("seller", "07".repeat(16)));
        let again = house.ingest(1, unnamed(vec![tool(3, "later")])).await.unwrap();
        assert_eq!((&again.unknown[0].run_id, again.unknown[0].agent_id.as_str()), (&unknown.run_id, "shop"));
        let other = house.ingest(2, unnamed(vec![chat(1)])).await.unwrap();
        assert_ne!(other.unknown[0].run_id, unknown.run_id, "another tenant's trace is another's");

        house.observe(&unknown.run_id).await;
        let started = house.ingest(1, unnamed(vec![chat(1)])).await.unwrap();
        assert_eq!(started.unknown, [pb::UnknownRun { agent_id: "shop".into(), ..unknown.clone() }], "half a start");
        let store = pb::AppendSpansRequest { observe: false, ..unnamed(vec![chat(1), named]) };
        assert_eq!(counts(&house.ingest(1, store).await.unwrap()), (2, 0, 0, 0));
        assert_eq!(counts(&house.ingest(1, unnamed(vec![tool(3, "later")])).await.unwrap()), (1, 0, 0, 0));
        let list = pb::ListRecordsRequest { run_id: unknown.run_id.clone(), attempt: 1, ..Default::default() };
        let records = house.records(list).await.unwrap().records;
        let told = |stored: &pb::StoredRecord| match &stored.record.as_ref().unwrap().body {
            Some(pb::trace_record::Body::Step(step)) => step.unauthorized,
            _ => false,
        };
        assert_eq!((records.len(), records.iter().all(told)), (3, true));
        assert_eq!(house.told("logs.ObservedRunStarted").await, 1);
        assert_append_only(&house.db().await, "otlp_runs").await;
    }

    async fn a_span_may_name_the_run_that_it_begins(store: TestStore) {
        let house = House::over(store).await;
        let observe = |spans| pb::AppendSpansRequest { observe: true, ..request(7, spans) };
        let unknown = house.ingest(1, observe(vec![chat(1)])).await.unwrap().unknown;
        assert_eq!((unknown[0].run_id.clone(), unknown[0].agent_id.as_str()), (run(7), "agent"));
        house.observe(&run(7)).await;
        assert_eq!(house.spans(7, vec![chat(1)]).await.stored, 1);
        // What names no run belongs to the run of its trace, whoever named it.
        assert_eq!(counts(&house.ingest(1, unnamed(vec![tool(2, "a")])).await.unwrap()), (1, 0, 0, 0));
        assert_eq!(house.steps(7).await.len(), 2);
        // A further attempt of a run that nobody started is none.
        let second = with(chat(3), [super::harness::whole("runspine.attempt", 2)]);
        let refused = house.ingest(1, observe(vec![second])).await.unwrap();
        assert_eq!((refused.unknown.len(), refusals(&refused)), (0, vec![(3, "UNGOVERNED_RUN")]));
    }

    async fn what_is_no_agent_s_begins_no_run(store: TestStore) {
        let house = House::over(store).await;
        let web = vec![root(1, vec![text("http.request.method", "GET")]), span(2, vec![])];
        let done = house.ingest(1, unnamed(web.clone())).await.unwrap();
        assert_eq!((counts(&done), done.unknown.len(), done.rejected.len()), ((0, 0, 0, 2), 0, 0));
        let unknown = house.ingest(1, unnamed(vec![web[0].clone(), chat(3)])).await.unwrap().unknown;
        assert_eq!(unknown.len(), 1, "the root of an agent's trace is its run's");
    }

    async fn strict_observes_only_where_it_is_told_to(store: TestStore) {
        let house = House::under(store, GovernanceProfile::Strict).await;
        let refused = house.ingest(1, unnamed(vec![chat(1)])).await.unwrap();
        assert_eq!((refused.unknown.len(), refusals(&refused)), (0, vec![(1, "UNGOVERNED_RUN")]));
    }

    async fn a_run_whose_root_came_is_over_when_it_is_quiet(store: TestStore) {
        let house = House::over(store).await;
        house.observed(1, vec![chat(1), agent(9)]).await;
        house.observed(2, of_trace(2, vec![chat(1), failed(agent(9))])).await;
        house.advance(30_000);
        assert_eq!(house.spans(1, vec![tool(2, "late in the run")]).await.stored, 1);
        house.advance(30_000);
        let failure = (run(2), QuietCause::Root, StepOutcome::Failure, "FAILURE".to_owned());
        assert_eq!(house.ended(1).await, [failure], "the other one spoke since");
        house.advance(30_000);
        let over = house.ended(2).await;
        assert_eq!(over.len(), 2, "a claim that is over comes again: {over:?}");
        assert!(over.contains(&(run(1), QuietCause::Root, StepOutcome::Success, String::new())));
        assert_eq!(house.told("logs.ObservedRunQuiet").await, 2, "told once each");
        // What comes before the seal is still of the run, and changes nothing about its end.
        assert_eq!(counts(&house.spans(1, vec![tool(3, "very late")]).await), (1, 0, 0, 0));
        for number in [1, 2] {
            assert!(house.seal_observed(number).await.iter().all(|code| code != "ROOT_MISSING"));
            assert_eq!(house.prove(number).await.overall(), ProofStatus::Verified);
        }
        house.advance(600_000);
        assert_eq!(house.claim(wanted(3)).await.unwrap(), [], "nobody looks after what is sealed");
        assert_append_only(&house.db().await, "otlp_roots").await;
    }

    async fn a_run_without_a_root_is_over_after_a_quarter_of_an_hour(store: TestStore) {
        let house = House::over(store).await;
        house.observed(1, vec![chat(1), failed(tool(2, "search"))]).await;
        house.observe(&run(2)).await;
        for look in 1..=8 {
            house.advance(100_000);
            let alive = house.claim(wanted(look)).await.unwrap();
            assert_eq!(alive.len(), 2, "its lease is renewed three times as often as it lapses");
            assert!(alive.iter().all(|run| run.end.is_none()));
            assert_eq!(house.claim(wanted(100 + look)).await.unwrap(), [], "one worker has it");
        }
        house.advance(100_000);
        let failure = (run(1), QuietCause::RootMissing, StepOutcome::Failure, "FAILURE".to_owned());
        let nothing = (run(2), QuietCause::RootMissing, StepOutcome::Success, String::new());
        assert_eq!(house.ended(9).await, [failure, nothing], "one ends by its steps, one had none");
        assert!(house.seal_observed(1).await.contains(&"ROOT_MISSING".to_owned()));
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), ProofStatus::Verified);
        let found: Vec<&str> = proof.proofs[0].findings.iter().map(|f| f.code.as_str()).collect();
        assert_eq!(found, ["COST_UNKNOWN", "UNAUTHORIZED_STEPS", "ROOT_MISSING"]);
    }

    async fn no_run_is_observed_for_longer_than_a_day(store: TestStore) {
        let house = House::over(store).await;
        house.observed(1, vec![chat(1)]).await;
        for n in 2..=144 {
            house.advance(600_000);
            house.spans(1, vec![tool(n, "again")]).await;
        }
        house.advance(540_000);
        let success = (run(1), QuietCause::TooOld, StepOutcome::Success, String::new());
        assert_eq!(house.ended(1).await, [success]);
    }

    async fn a_claim_is_answered_once(store: TestStore) {
        let mut config = Config::default();
        config.otlp.quiet_seconds = 5;
        let house = House::with(store, config).await;
        house.observed(1, vec![agent(9)]).await;
        house.advance(5_000);
        let first = house.claim(wanted(1)).await.unwrap();
        assert_eq!(first.len(), 1, "the setting says how long is quiet");
        assert_eq!(house.claim(wanted(1)).await.unwrap(), first);
        let other = pb::ClaimObservedRunsRequest { limit: 1, ..wanted(1) };
        assert_eq!(reason(house.claim(other).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(reason(house.claim(pb::ClaimObservedRunsRequest::default()).await), "FIELD_INVALID");
    }

    async fn what_a_span_doesn_t_say_it_cost_is_estimated(store: TestStore) {
        let house = House::over(store).await;
        let priced = with(chat(1), [text("gen_ai.provider.name", "p")]);
        let said = with(priced.clone(), [attribute("llm.cost.total", Value::DoubleValue(0.5))]);
        let price = pb::ModelPrice {
            provider: "p".into(),
            model: "m-1".into(),
            input_microusd: 2_000_000,
            output_microusd: 4_000_000,
            ..Default::default()
        };
        let table = pb::PriceTable { digest: vec![7; 32].into(), prices: vec![price.clone()] };
        let spans = vec![priced, Span { span_id: vec![2; 8], ..said }, Span { span_id: vec![3; 8], ..chat(3) }];
        house.observe(&run(1)).await;
        let ask = |prices| pb::AppendSpansRequest { prices: Some(prices), ..request(1, spans.clone()) };
        assert_eq!(house.ingest(1, ask(table.clone())).await.unwrap().stored, 3);
        let costs: Vec<_> = house.steps(1).await.iter().map(|(_, s)| (s.cost_microusd, s.cost_estimated)).collect();
        assert_eq!(costs, [(40, true), (500_000, false), (0, true)]);
        let unknown: Vec<_> = house.prove(1).await.proofs.remove(0).findings;
        let unknown = unknown.iter().find(|f| f.code == "COST_UNKNOWN").unwrap();
        assert_eq!((unknown.at, unknown.count), (3, 1));
        let sql = "SELECT prices FROM otlp_spans ORDER BY id";
        let by: Vec<(Option<Digest>,)> = house.db().await.read().fetch_all(sql, args![]).await.unwrap();
        assert_eq!(by, [(Some(Digest([7; 32])),), (None,), (None,)]);
        // A table without a name can't be told again, and a negative price is none.
        for bad in [
            pb::PriceTable { digest: vec![7; 31].into(), ..table.clone() },
            pb::PriceTable { prices: vec![pb::ModelPrice { input_microusd: -1, ..price }], ..table },
        ] {
            assert_eq!(reason(house.ingest(1, ask(bad)).await), "FIELD_INVALID");
        }
    }

    /// Children before parents, in any order, in several requests.
    async fn whatever_order_a_run_comes_in_its_behaviour_is_the_same(store: TestStore) {
        let house = House::over(store).await;
        let whole = || {
            let mut spans: Vec<Span> = (1..=6).map(|n| if n % 2 == 0 { chat(n) } else { tool(n, "search") }).collect();
            spans[1].start_time_unix_nano = spans[0].start_time_unix_nano;
            spans.push(agent(9));
            spans
        };
        let mut first = None;
        for seed in 1..=100_u64 {
            let mut spans = whole();
            let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for last in (1..spans.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                spans.swap(last, (state >> 33) as usize % (last + 1));
            }
            spans.iter_mut().for_each(|span| span.trace_id = u128::from(seed).to_be_bytes().to_vec());
            house.observe(&run(seed)).await;
            let parts = 1 + usize::try_from(seed % 3).unwrap();
            for part in spans.chunks(spans.len().div_ceil(parts)) {
                assert_eq!(house.spans(seed, part.to_vec()).await.stored, part.len() as u64);
            }
            let behaviour = house.prove(seed).await.proofs.remove(0).behaviour_signature;
            assert_eq!(first.get_or_insert_with(|| behaviour.clone()), &behaviour, "{seed}");
        }
        house.seal_observed(1).await;
        assert_eq!(house.prove(1).await.overall(), ProofStatus::Verified, "the seal says the same");
    }
}
