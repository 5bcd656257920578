//! What attempts come to.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, ask_end, ask_step, fact, reason},
};

on_both_engines! {
    /// A7.1, A7.3: one row however often it is asked for; a new revision only after the one before is superseded.
    async fn an_attempt_has_one_effective_evaluation(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        let end = || pb::RecordEvaluationRequest { observed: vec![fact(2, 0, "t1")], ..ask_end(1, 0) };
        let all = futures::future::join_all((0..100).map(|_| house.end(end()))).await;
        let first = all[0].as_ref().unwrap();
        assert!(all.iter().all(|e| e.as_ref().unwrap() == first));
        assert_eq!(first.outcome(), pb::EvaluationOutcome::NoViolation);
        assert_eq!((first.coverage_permille, first.decisions.as_ref().unwrap().allow), (1_000, 2));
        let other = pb::RecordEvaluationRequest { run_outcome: 6, ..ask_end(1, 0) };
        assert_eq!(reason(&house.end(other).await.unwrap_err()), "IDEMPOTENCY_MISMATCH");
        assert_eq!(reason(&house.end(ask_end(1, 1)).await.unwrap_err()), "EVALUATION_NOT_SUPERSEDED");
        let undo = pb::SupersedeEvaluationRequest {
            evaluation_id: first.evaluation_id.clone(), reason: "saga undone".into(), saga_id: "s".into(),
        };
        let done = call!(house, decisions.supersede_evaluation, "DecisionService/SupersedeEvaluation", undo.clone()).unwrap();
        let again = call!(house, decisions.supersede_evaluation, "DecisionService/SupersedeEvaluation", undo).unwrap();
        assert_eq!(done, again);
        house.end(ask_end(1, 1)).await.unwrap();
        let get = pb::GetEvaluationRequest { run_id: run(1), attempt: 0 };
        let found = call!(house, decisions.get_evaluation, "DecisionService/GetEvaluation", get).unwrap();
        assert_eq!((found.history.len(), found.evaluation.unwrap().revision), (2, 1));
        assert!(found.history[0].superseded);
        let told = house.told_names().await;
        assert_eq!(told.iter().filter(|n| *n == "EvaluationRecorded").count(), 2);
        assert_eq!(told.iter().filter(|n| *n == "EvaluationSuperseded").count(), 1);
    }

    /// 7.2 by example: prevented, advisory, violation, not applicable.
    async fn outcomes_follow_from_what_happened(store: TestStore) {
        let house = House::over(store).await;
        let on = |tool: &str| format!(
            "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\");"
        );
        house.rule(1, "deny", "", &on("deny")).await;
        house.rule(2, "warn", "@outcome(\"warn\")", &on("warn")).await;
        house.rule(3, "stop", "@run(\"terminate\")", &on("stop")).await;
        let expected = [
            (1, "deny", pb::EvaluationOutcome::Prevented),
            (2, "warn", pb::EvaluationOutcome::Advisory),
            (3, "stop", pb::EvaluationOutcome::Violation),
            (4, "fine", pb::EvaluationOutcome::NoViolation),
        ];
        for (number, tool, outcome) in expected {
            house.start(number).await;
            house.step(ask_step(number, 0, tool)).await.unwrap();
            assert_eq!(house.end(ask_end(number, 0)).await.unwrap().outcome(), outcome, "{tool}");
        }
        assert_eq!(house.end(ask_end(5, 0)).await.unwrap().outcome(), pb::EvaluationOutcome::NotApplicable);
        let list = pb::ListEnforcementsRequest::default();
        let list = call!(house, decisions.list_enforcements, "DecisionService/ListEnforcements", list).unwrap();
        assert_eq!(list.enforcements.len(), 3);
        let only = pb::ListEvaluationsRequest { outcomes: vec![1], ..Default::default() };
        let only = call!(house, decisions.list_evaluations, "DecisionService/ListEvaluations", only).unwrap();
        assert_eq!(only.evaluations.len(), 1);
        let denied = pb::ListDecisionsRequest { verdicts: vec![2], page_size: 1, ..Default::default() };
        let page = call!(house, decisions.list_decisions, "DecisionService/ListDecisions", denied.clone()).unwrap();
        let next = pb::ListDecisionsRequest { page_token: page.next_page_token.clone(), ..denied };
        let last = call!(house, decisions.list_decisions, "DecisionService/ListDecisions", next).unwrap();
        assert_eq!((page.decisions.len(), last.decisions.len(), last.next_page_token.is_empty()), (1, 1, true));
    }
}
