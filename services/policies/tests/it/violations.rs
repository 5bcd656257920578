//! Violations: facts, each once.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use tonic::Status;

use crate::{
    call,
    harness::{House, ask_end, reason},
};

const NEVER: &str =
    "forbid(principal, action in Runspine::Action::\"step\", resource) when { context.step_index > 900 };";

impl House {
    async fn report(&self, r: pb::ReportViolationRequest) -> Result<pb::ReportViolationResponse, Status> {
        call!(self, violations.report_violation, "ViolationService/ReportViolation", r)
    }
}

fn found(n: u64, rule_id: &str, step: Option<u32>) -> pb::ReportViolationRequest {
    pb::ReportViolationRequest {
        request_id: test_id(60, n),
        run_id: run(1),
        attempt: 1,
        step_index: step,
        rule_id: rule_id.to_owned(),
        rule_code: "TOO_MUCH".to_owned(),
        kind: pb::ViolationKind::Pii.into(),
        severity: pb::Severity::High.into(),
        value: "7".to_owned(),
        threshold: "0".to_owned(),
        reason: "seven names in the output".to_owned(),
        evidence: vec![pb::ViolationEvidence {
            digest: vec![4; 32].into(),
            kind: "OUTPUT".to_owned(),
            note: "the third message".to_owned(),
        }],
        ..Default::default()
    }
}

on_both_engines! {
    /// A7.2: one violation twice is one fact; facts of a rule in a run have one incident, two rules have two.
    async fn a_violation_is_one_fact(store: TestStore) {
        let house = House::over(store).await;
        let one = house.rule(1, "one", "", NEVER).await.rule.unwrap().rule_id;
        let two = house.rule(2, "two", "", NEVER).await.rule.unwrap().rule_id;
        house.start(1).await;
        let first = house.report(found(1, &one, Some(0))).await.unwrap();
        assert!(first.first);
        assert_eq!(house.report(found(1, &one, Some(0))).await.unwrap(), first, "the same key, the same answer");
        let again = house.report(found(2, &one, Some(0))).await.unwrap();
        assert_eq!((again.first, &again.violation), (false, &first.violation));
        let mut facts = vec![first.violation.unwrap()];
        for (n, rule, step) in [(3, &one, Some(1)), (4, &one, None), (5, &two, Some(0))] {
            let told = house.report(found(n, rule, step)).await.unwrap();
            assert!(told.first);
            facts.push(told.violation.unwrap());
        }
        assert!(facts[..3].iter().all(|f| f.incident_key == facts[0].incident_key));
        assert_ne!(facts[3].incident_key, facts[0].incident_key);
        let told = house.told_names().await;
        assert_eq!(told.iter().filter(|n| *n == "ViolationReported").count(), 4);
        let evaluation = house.end(ask_end(1, 0)).await.unwrap();
        assert_eq!((evaluation.outcome(), evaluation.violations), (pb::EvaluationOutcome::Violation, 4));
        let get = pb::GetViolationRequest { violation_id: facts[2].violation_id.clone() };
        let got = call!(house, violations.get_violation, "ViolationService/GetViolation", get.clone()).unwrap();
        assert_eq!(got.violation.as_ref(), Some(&facts[2]));
        let foreign = call!(house, 2, violations.get_violation, "ViolationService/GetViolation", get).unwrap_err();
        assert_eq!(reason(&foreign), "VIOLATION_NOT_FOUND");
        let list = |r: pb::ListViolationsRequest| {
            let house = &house;
            async move { call!(house, violations.list_violations, "ViolationService/ListViolations", r).unwrap().violations }
        };
        let by_rule = list(pb::ListViolationsRequest { rule_id: one.clone(), ..Default::default() }).await;
        assert_eq!(by_rule.len(), 3);
        let pii = pb::ListViolationsRequest { kinds: vec![pb::ViolationKind::Pii.into()], ..Default::default() };
        assert_eq!(list(pii).await.len(), 4);
        let low = pb::ListViolationsRequest { severities: vec![pb::Severity::Low.into()], ..Default::default() };
        assert!(list(low).await.is_empty());
    }

    /// A report names a rule that binds the attempt or is in force, of a run that is known.
    async fn a_report_names_a_rule(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let unknown = house.report(found(1, &test_id(61, 1), Some(0))).await.unwrap_err();
        assert_eq!(reason(&unknown), "RULE_NOT_FOUND");
        let later = house.rule(1, "later", "", NEVER).await.rule.unwrap().rule_id;
        assert!(house.report(found(2, &later, Some(0))).await.unwrap().first, "in force, not bound");
        let mut unbound = found(3, &later, None);
        unbound.run_id = run(9);
        assert_eq!(reason(&house.report(unbound).await.unwrap_err()), "SNAPSHOT_NOT_FOUND");
        let mut wrong = found(4, &later, None);
        (wrong.kind, wrong.rule_code, wrong.evidence[0].digest) = (99, "low".to_owned(), vec![1].into());
        let refused = house.report(wrong).await.unwrap_err();
        assert_eq!(runspine_rpc::details(&refused).fields.len(), 3);
    }
}
