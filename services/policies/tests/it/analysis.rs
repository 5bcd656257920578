//! What is proven about rules, and what keeps them from becoming active.

use contracts_policies::v1::{self as pb, candidate_change::Change};
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    harness::{House, WHY, content, reason},
};

const TOOL: &str = "forbid(principal, action == Runspine::Action::\"tool_call\", resource)";

impl House {
    async fn analyze(&self, n: u64, candidate: Option<pb::Candidate>) -> pb::AnalyzePolicySetResponse {
        let request = pb::AnalyzePolicySetRequest { request_id: test_id(50, n), candidate };
        call!(self, analysis.analyze_policy_set, "AnalysisService/AnalyzePolicySet", request).unwrap()
    }

    async fn findings(&self, request: pb::ListFindingsRequest) -> Vec<pb::PolicyFinding> {
        call!(self, analysis.list_findings, "AnalysisService/ListFindings", request).unwrap().findings
    }

    /// A finding of two rules that do the same, acknowledged.
    pub async fn acknowledged_finding(&self) -> pb::PolicyFinding {
        for (n, slug) in [(70, "one"), (71, "two")] {
            self.rule(n, slug, "@outcome(\"warn\")", &format!("{TOOL} when {{ context.step_index > 90 }};"))
                .await;
        }
        let found = self.analyze(70, None).await.findings;
        let twice =
            found.iter().find(|f| f.finding.as_ref().unwrap().kind() == pb::FindingKind::Duplicate).unwrap();
        let ack = pb::AcknowledgeFindingRequest {
            request_id: test_id(51, 70),
            finding_id: twice.finding_id.clone(),
            reason: WHY.into(),
        };
        let acked =
            call!(self, analysis.acknowledge_finding, "AnalysisService/AcknowledgeFinding", ack).unwrap();
        acked.finding.unwrap()
    }
}

on_both_engines! {
    /// A finding keeps its id from analysis to analysis; who knows of it is told; a blocking one can't be waved through.
    async fn findings_are_kept_and_acknowledged(store: TestStore) {
        let house = House::over(store).await;
        assert!(house.findings(pb::ListFindingsRequest::default()).await.is_empty(), "nothing was analyzed yet");
        let acked = house.acknowledged_finding().await;
        assert_eq!(acked.ack.as_ref().unwrap().reason, WHY);
        let again = house.analyze(71, None).await;
        assert_eq!((again.pairs_examined, again.finding_count), (1, 1));
        assert_eq!(again.findings, vec![acked.clone()]);
        let all = house.findings(pb::ListFindingsRequest::default()).await;
        assert_eq!(all, vec![acked.clone()]);
        let open = house.findings(pb::ListFindingsRequest { open_only: true, ..Default::default() }).await;
        assert!(open.is_empty());
        let other = house.findings(pb::ListFindingsRequest { rule_id: test_id(9, 99), ..Default::default() }).await;
        assert!(other.is_empty());

        let never = content("never", "", &format!("{TOOL} when {{ context.step_index > 5 && context.step_index < 5 }};"));
        let changes = vec![pb::CandidateChange { change: Some(Change::Create(never.clone())) }];
        let candidate = house.analyze(72, Some(pb::Candidate { changes, ..Default::default() })).await;
        let worst = &candidate.findings[0];
        assert_eq!(worst.finding.as_ref().unwrap().kind(), pb::FindingKind::Impossible);
        assert_eq!(worst.finding.as_ref().unwrap().line, 2, "where the policy begins");
        let ack = pb::AcknowledgeFindingRequest { request_id: test_id(51, 71), finding_id: worst.finding_id.clone(), reason: WHY.into() };
        let refused = call!(house, analysis.acknowledge_finding, "AnalysisService/AcknowledgeFinding", ack).unwrap_err();
        assert_eq!(reason(&refused), "FINDINGS_BLOCKING");
        let ack = pb::AcknowledgeFindingRequest { request_id: test_id(51, 72), finding_id: acked.finding_id, reason: WHY.into() };
        let foreign = call!(house, 2, analysis.acknowledge_finding, "AnalysisService/AcknowledgeFinding", ack).unwrap_err();
        assert_eq!(reason(&foreign), "FINDING_NOT_FOUND");
        let made = house.create(73, never).await.unwrap().rule.unwrap();
        assert_eq!(reason(&house.activate(73, &made).await.unwrap_err()), "FINDINGS_BLOCKING");
        let latest = house.findings(pb::ListFindingsRequest::default()).await;
        assert_eq!(latest.len(), 1, "a candidate is not what is in force");
    }

    /// A denial that leaves nothing of a grant in force is not activated, nor are obligations that can't go together.
    async fn contradictions_are_not_activated(store: TestStore) {
        let house = House::over(store).await;
        let grant = "permit(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t1\");";
        house.rule(1, "grant", "", grant).await;
        let all = house.create(2, content("all", "", &format!("{TOOL};"))).await.unwrap().rule.unwrap();
        assert_eq!(reason(&house.activate(2, &all).await.unwrap_err()), "FINDINGS_BLOCKING");
        let some = format!("{TOOL} when {{ context.step_index > 3 }};");
        house.rule(3, "some", "", &some).await;
        let model = |m: &str| format!("@outcome(\"modify\") @obligations(\"use_model({m})\")");
        let calls = "forbid(principal, action == Runspine::Action::\"llm_call\", resource)";
        house.rule(4, "m1", &model("m1"), &format!("{calls} when {{ context.step_index < 9 }};")).await;
        let apart = format!("{calls} when {{ context.step_index >= 9 }};");
        house.rule(5, "m2", &model("m2"), &apart).await;
        let meets = content("m3", &model("m3"), &format!("{calls} when {{ context.step_index == 8 }};"));
        let meets = house.create(6, meets).await.unwrap().rule.unwrap();
        assert_eq!(reason(&house.activate(6, &meets).await.unwrap_err()), "FINDINGS_BLOCKING");
    }
}
