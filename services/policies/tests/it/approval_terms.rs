//! The terms of approvals: who states them, and for which rules one answers.

use std::time::Duration;

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    decided::on,
    harness::{House, WHY, ask_step, reason},
};

on_both_engines! {
    /// §15, §12.1: what no rule states of an approval is as the tenant sets it; runs that were bound before keep theirs.
    async fn approvals_are_asked_for_as_the_tenant_sets_it(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "asks", "@outcome(\"require_approval\") @obligations(\"expires(900)\")", &on("pay")).await;
        house.begin(1, 1).await;
        let wrong = pb::ApprovalDefaults { quorum: 6, expires_s: 59, use_within_s: 3_601, escalates_s: 29, level: 0 };
        let set = pb::ApprovalDefaults { quorum: 2, expires_s: 0, use_within_s: 60, escalates_s: 30, level: 2 };
        let ask = |n: u64, defaults| pb::SetPolicySettingsRequest {
            request_id: test_id(11, n), expected_version: 0, reason: WHY.into(),
            settings: Some(pb::PolicySettings { baseline_grant: true, approval_defaults: Some(defaults), ..Default::default() }),
        };
        let name = "SettingsService/SetPolicySettings";
        let refused = call!(house, settings.set_policy_settings, name, ask(1, wrong)).unwrap_err();
        assert_eq!((reason(&refused).as_str(), runspine_rpc::details(&refused).fields.len()), ("FIELD_INVALID", 4));
        let done = call!(house, settings.set_policy_settings, name, ask(2, set)).unwrap().settings.unwrap();
        let set = pb::ApprovalDefaults { expires_s: 3_600, ..set };
        assert_eq!(done.approval_defaults, Some(set));
        house.begin(2, 1).await;
        let mut asked = Vec::new();
        for number in [1, 2] {
            let id = house.step(ask_step(number, 0, "pay")).await.unwrap().decision.unwrap().approval_id;
            asked.push(house.approval(&id).await.approval.unwrap());
        }
        let terms = |a: &pb::Approval| {
            let after = |t: &Option<prost_types::Timestamp>| t.unwrap().seconds - a.created_at.unwrap().seconds;
            (a.quorum, a.level(), after(&a.expires_at), after(&a.escalates_at))
        };
        assert_eq!(terms(&asked[0]), (1, pb::ApprovalLevel::TeamLead, 900, 300));
        assert_eq!(terms(&asked[1]), (2, pb::ApprovalLevel::TeamMember, 900, 30));
        let id = asked[1].approval_id.clone();
        house.vote(1, (1, "bea", "", "ADMIN"), &id).await.unwrap();
        let approved = house.vote(2, (1, "otto", "", "OWNER"), &id).await.unwrap();
        assert_eq!(approved.use_by.unwrap().seconds - asked[1].created_at.unwrap().seconds, 60);
        house.clock.advance(Duration::from_secs(60));
        assert_eq!(house.state(&id).await, pb::ApprovalState::Lapsed);
    }

    /// A12.1: an approval answers for the rules that demanded it, and for no rule that came to it.
    async fn an_approval_does_not_answer_for_another_rule(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "asks", "@outcome(\"require_approval\") @obligations(\"no_auto\")", &on("pay")).await;
        let often = format!("{} when {{ context.totals.tokens > 3 }};", on("pay").trim_end_matches(';'));
        house.rule(2, "asks-often", "@outcome(\"require_approval\")", &often).await;
        house.begin(1, 1).await;
        let id = house.step(ask_step(1, 0, "pay")).await.unwrap().decision.unwrap().approval_id;
        house.vote(1, (1, "bea", "", "ADMIN"), &id).await.unwrap();
        let totals = Some(contracts_common::common::v1::Totals { tokens_input: 4, ..Default::default() });
        let again = pb::EvaluateStepRequest { ask: 1, approval_id: id.clone(), totals, ..ask_step(1, 0, "pay") };
        let again = house.step(again).await.unwrap().decision.unwrap();
        assert_eq!((again.verdict, again.approval_unusable()), (4, pb::ApprovalUnusable::RulesChanged));
        assert_eq!(house.state(&id).await, pb::ApprovalState::Approved, "it stays unused");
        let spent = pb::EvaluateStepRequest { ask: 2, approval_id: id.clone(), ..ask_step(1, 0, "pay") };
        assert_eq!(house.step(spent).await.unwrap().decision.unwrap().verdict, 1);
    }
}
