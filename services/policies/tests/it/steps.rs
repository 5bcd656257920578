//! Decisions about steps: durable, repeatable, with the facts before them.

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_policies_domain::facts::inputs_digest;
use runspine_testkit::{TestStore, on_both_engines, run};
use tonic::Code;

use crate::{
    call,
    harness::{House, ask_run, ask_step, fact, reason},
};

const ANY: &str = "forbid(principal, action in Runspine::Action::\"step\", resource);";

on_both_engines! {
    /// A6.1: the same question gives the same bytes, from every process; another one under its key is refused.
    async fn a_question_is_answered_once(store: TestStore) {
        let house = House::over(store).await;
        let first = house.start(1).await;
        assert_eq!(first.decision.as_ref().unwrap().grants, ["sys.baseline"]);
        let inspection = first.inspection.unwrap();
        assert!(!inspection.log_prompt && !inspection.access_secret);
        assert_eq!(house.start(1).await, first);
        let mut other = ask_run(1);
        other.declared_tools.push("x".into());
        let refused = call!(house, decisions.evaluate_run, "DecisionService/EvaluateRun", other).unwrap_err();
        assert_eq!(reason(&refused), "IDEMPOTENCY_MISMATCH");
        let answer = house.step(ask_step(1, 0, "t1")).await.unwrap();
        let replica = house.replica().await;
        // What the mesh adds may differ: another replica of the spine repeats the agent's question.
        let mut again = ask_step(1, 0, "t1");
        again.decision_id = runspine_testkit::test_id(20, 1);
        again.totals = Some(contracts_common::common::v1::Totals { steps: 9, ..Default::default() });
        assert_eq!(replica.step(again).await.unwrap().encode_to_vec(), answer.encode_to_vec());
        let refused = replica.step(ask_step(1, 0, "t2")).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_MISMATCH"));
        let unbound = house.step(ask_step(99, 0, "t1")).await.unwrap_err();
        assert_eq!(reason(&unbound), "SNAPSHOT_NOT_FOUND");
    }

    /// A6.6: many at once, each with its row, its inputs and their digest; the export has them in order.
    async fn many_steps_at_once_have_their_rows(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let asked = (0..40).map(|n| house.step(ask_step(1, n % 32, "t1")));
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(answers[0].as_ref().unwrap(), answers[32].as_ref().unwrap());
        let mut request = pb::ExportDecisionsRequest { run_id: run(1), attempt: 1, page_size: 20, ..Default::default() };
        let mut rows = Vec::new();
        loop {
            let page = call!(house, decisions.export_decisions, "DecisionService/ExportDecisions", request.clone()).unwrap();
            rows.extend(page.decisions);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(rows.len(), 33);
        for row in &rows {
            assert_eq!(row.inputs_digest, inputs_digest(&row.inputs_bytes).to_vec());
            let json: serde_json::Value = serde_json::from_str(&row.row_json).unwrap();
            assert_eq!(json["inputs_digest"], inputs_digest(&row.inputs_bytes).to_hex());
        }
        let get = pb::GetDecisionRequest { decision_id: rows[5].decision_id.clone(), include_inputs: true };
        let got = call!(house, decisions.get_decision, "DecisionService/GetDecision", get).unwrap();
        assert_eq!(got.inputs, rows[5].inputs_bytes);
        let get = pb::GetDecisionRequest { decision_id: rows[5].decision_id.clone(), ..Default::default() };
        let foreign = call!(house, 2, decisions.get_decision, "DecisionService/GetDecision", get).unwrap_err();
        assert_eq!(reason(&foreign), "DECISION_NOT_FOUND");
    }

    /// A6.8: a gap, a repeat and a contradiction.
    async fn facts_are_told_in_order(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let told = |step: u32, from_seq: u64, facts: Vec<pb::StepFact>| pb::EvaluateStepRequest {
            from_seq, observed: facts, ..ask_step(1, step, "t1")
        };
        let gap = house.step(told(1, 4, vec![fact(5, 0, "t1")])).await.unwrap_err();
        assert_eq!(reason(&gap), "HISTORY_GAP");
        assert_eq!(runspine_rpc::details(&gap).metadata["expected_seq"], "0");
        let first = house.step(told(1, 0, vec![fact(5, 0, "t1")])).await.unwrap();
        assert_eq!(first.next_seq, 6);
        let repeat = house.step(told(2, 0, vec![fact(5, 0, "t1")])).await.unwrap();
        assert_eq!((repeat.next_seq, repeat.violations.len()), (6, 0));
        let mut other = fact(5, 0, "t1");
        other.tokens_output = 77;
        let conflict = house.step(told(3, 0, vec![other])).await.unwrap_err();
        assert_eq!(reason(&conflict), "HISTORY_CONFLICT");
        let asked = pb::GetRunPolicyEvidenceRequest { run_id: run(1), attempt: 1 };
        let evidence = call!(house, decisions.get_run_policy_evidence, "DecisionService/GetRunPolicyEvidence", asked).unwrap();
        assert_eq!(evidence.violations.len(), 1);
        assert_eq!(evidence.violations[0].kind(), pb::ViolationKind::HistoryConflict);
        assert_eq!((evidence.steps_observed, evidence.complete), (1, true));
    }

    /// 7.4: the record is compared with what was decided; each finding is one fact and one event.
    async fn records_are_compared_with_decisions(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "cap", "@outcome(\"modify\") @obligations(\"cap_tokens(10)\")", ANY).await;
        house.start(1).await;
        let decision = house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        assert_eq!((decision.verdict, decision.obligations[0].name.as_str()), (3, "cap_tokens"));
        let mut broken = fact(2, 0, "t1");
        (broken.tokens_output, broken.input_digest) = (11, vec![6; 32].into());
        let unknown = fact(3, 9, "t1");
        let next = pb::EvaluateStepRequest { observed: vec![broken, unknown], ..ask_step(1, 1, "t1") };
        let answer = house.replica().await.step(next).await.unwrap();
        let kinds: Vec<_> = answer.violations.iter().map(|v| v.kind().as_str_name()).collect();
        let expected = ["VIOLATION_KIND_ACTION_MISMATCH", "VIOLATION_KIND_OBLIGATION_UNMET", "VIOLATION_KIND_UNAUTHORIZED_STEP"];
        assert_eq!(kinds, expected);
        let told = house.told_names().await;
        assert_eq!(told.iter().filter(|n| *n == "ViolationReported").count(), 3);
        assert_eq!(told.iter().filter(|n| *n == "EnforcementRecorded").count(), 2);
    }

    /// A taint that one step brings is there for the next, in every process.
    async fn taints_stay(store: TestStore) {
        let house = House::over(store).await;
        let reads = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"reads\");";
        house.rule(1, "reads", "@outcome(\"warn\") @obligations(\"taint(pii)\")", reads).await;
        let sends = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"sends\") \
                     when { context.run.taints.contains(\"pii\") };";
        house.rule(2, "sends", "", sends).await;
        house.start(1).await;
        let replica = house.replica().await;
        assert_eq!(replica.step(ask_step(1, 0, "sends")).await.unwrap().decision.unwrap().verdict, 1);
        let warned = house.step(ask_step(1, 1, "reads")).await.unwrap().decision.unwrap();
        assert_eq!((warned.verdict, warned.warnings.len(), warned.taints_added.len()), (1, 1, 1));
        for (n, side) in [(2, &house), (3, &replica)] {
            assert_eq!(side.step(ask_step(1, n, "sends")).await.unwrap().decision.unwrap().verdict, 2);
        }
    }
}
