//! What is told about rules and decisions afterwards: explanations, dependencies, what speaks for a pattern.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    harness::{House, WHY, ask_step, reason},
};

const TOOL: &str =
    "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t1\")";
const MODEL: &str = "forbid(principal, action == Runspine::Action::\"llm_call\", resource);";

impl House {
    async fn explain(&self, decision_id: &str, rule_id: &str) -> pb::ExplainDecisionResponse {
        let ask =
            pb::ExplainDecisionRequest { decision_id: decision_id.to_owned(), rule_id: rule_id.to_owned() };
        call!(self, decisions.explain_decision, "DecisionService/ExplainDecision", ask).unwrap()
    }

    async fn edges(&self, rule_id: &str, page_size: i32, page_token: &str) -> pb::GetDependenciesResponse {
        let (rule_id, page_token) = (rule_id.to_owned(), page_token.to_owned());
        let ask = pb::GetDependenciesRequest { rule_id, page_size, page_token };
        call!(self, analysis.get_dependencies, "AnalysisService/GetDependencies", ask).unwrap()
    }

    async fn eligible(&self, signature: &str) -> pb::CheckEligibilityResponse {
        let ask = pb::CheckEligibilityRequest { pattern_signature: signature.to_owned() };
        call!(self, proposals.check_eligibility, "ProposalService/CheckEligibility", ask).unwrap()
    }

    async fn failed(&self, n: u64, severity: pb::Severity) -> pb::Lesson {
        let seen = pb::EmitLessonRequest {
            request_id: test_id(60, n),
            r#type: pb::LessonType::Failure.into(),
            source: pb::LessonSource::Run.into(),
            source_event_id: format!("event-{n}"),
            agent_id: "agent-1".to_owned(),
            error_code: format!("E{severity:?}"),
            severity: severity.into(),
            ..Default::default()
        };
        call!(self, lessons.emit_lesson, "LessonService/EmitLesson", seen).unwrap().lesson.unwrap()
    }

    async fn select(&self, arguments: Vec<pb::SelectedArgument>) {
        let tool = pb::ToolArguments { tool_id: "t1".to_owned(), arguments };
        let set = pb::SetPolicySettingsRequest {
            request_id: test_id(61, 1),
            expected_version: 0,
            reason: WHY.to_owned(),
            settings: Some(pb::PolicySettings {
                baseline_grant: true,
                selected_arguments: vec![tool.clone()],
                ..Default::default()
            }),
        };
        let set =
            call!(self, settings.set_policy_settings, "SettingsService/SetPolicySettings", set).unwrap();
        assert_eq!(set.settings.unwrap().selected_arguments, [tool]);
    }
}

fn slug_of(rules: &[pb::RuleExplanation]) -> Vec<(&str, bool)> {
    let mut all: Vec<(&str, bool)> = rules.iter().map(|r| (r.slug.as_str(), r.matched)).collect();
    all.sort_unstable();
    all
}

on_both_engines! {
    async fn a_decision_is_explained_rule_by_rule(store: TestStore) {
        let house = House::over(store).await;
        let late = "when { context.step_index < 9 } unless { context.totals.steps < 5 } when { context.run.priority == 0 }";
        house.rule(1, "late", "", &format!("{TOOL} {late};")).await;
        let odd = "when { context.step_index + 9223372036854775807 > 0 }";
        house.rule(2, "odd", "", &format!("{TOOL} {odd};")).await;
        let other = house.rule(3, "model", "", MODEL).await.rule.unwrap();
        house.start(1).await;
        let decision = house.step(ask_step(1, 1, "t1")).await.unwrap().decision.unwrap();
        let told = house.explain(&decision.decision_id, "").await;
        assert_eq!(told.decision.as_ref(), Some(&decision));
        assert_eq!((slug_of(&told.rules), told.other_rules), (vec![("late", false), ("odd", false), ("sys.baseline", true)], 1));
        let clause = |slug: &str| {
            let r = told.rules.iter().find(|r| r.slug == slug).unwrap();
            let (start, end) = (r.clause_start_byte as usize, r.clause_end_byte as usize);
            (r.failed, r.candidate, r.cedar[start..end].to_owned())
        };
        assert_eq!(clause("late"), (false, true, "unless { context.totals.steps < 5 }".to_owned()));
        assert_eq!(clause("odd"), (true, true, odd.to_owned()));
        assert_eq!(clause("sys.baseline"), (false, true, String::new()));
        let one = house.explain(&decision.decision_id, &other.rule_id).await;
        assert_eq!(slug_of(&one.rules), [("model", false)]);
        assert!(!one.rules[0].candidate && one.rules[0].clause_end_byte == 0);
        let ask = pb::ExplainDecisionRequest { decision_id: decision.decision_id, rule_id: test_id(1, 1) };
        let refused = call!(house, decisions.explain_decision, "DecisionService/ExplainDecision", ask).unwrap_err();
        assert_eq!(reason(&refused), "RULE_NOT_FOUND");
    }

    async fn rules_depend_on_each_other(store: TestStore) {
        let house = House::over(store).await;
        let first = house.rule(1, "a", "", &format!("{TOOL} when {{ context.totals.steps > 3 }};")).await.rule.unwrap();
        let second = house.rule(2, "b", "", &format!("{TOOL} when {{ context.totals.steps > 7 }};")).await.rule.unwrap();
        house.rule(3, "c", "", MODEL).await;
        let mut scoped = crate::harness::content("d", "", &format!("{TOOL};"));
        (scoped.scope, scoped.scope_id) = (pb::RuleScope::Agent.into(), "agent-1".to_owned());
        let scoped = house.create(4, scoped).await.unwrap().rule.unwrap();
        let scoped = house.activate(4, &scoped).await.unwrap().rule.unwrap();
        let all = house.edges("", 0, "").await;
        assert_eq!((all.snapshot_digest.len(), all.next_page_token.as_str()), (32, ""));
        let kinds = |edges: &[pb::Dependency]| edges.iter().map(|e| (e.kind, e.detail.clone())).collect::<Vec<_>>();
        let attribute = (pb::DependencyKind::ImplicitAttribute as i32, "context.totals.steps".to_owned());
        let mut found = kinds(&all.edges);
        found.sort();
        let scope = |detail: &str| (pb::DependencyKind::ImplicitScope as i32, detail.to_owned());
        let wide = scope("TENANT and AGENT agent-1");
        assert_eq!(found, [wide.clone(), wide, attribute.clone()]);
        let only: Vec<_> = house.edges(&scoped.rule_id, 0, "").await.edges;
        assert_eq!(only.len(), 2);
        let page = house.edges("", 1, "").await;
        let rest = house.edges("", 5, &page.next_page_token).await;
        assert_eq!([page.edges, rest.edges].concat(), all.edges);
        let pair = all.edges.iter().find(|e| kinds(std::slice::from_ref(e))[0] == attribute).unwrap();
        assert_eq!([&pair.rule_id, &pair.other_rule_id], [&first.rule_id, &second.rule_id]);
    }

    async fn a_pattern_is_eligible_by_number_or_by_weight(store: TestStore) {
        let house = House::over(store).await;
        let seen = house.failed(1, pb::Severity::Low).await;
        assert_eq!(seen.pattern_signature.len(), 64);
        let one = house.eligible(&seen.pattern_signature).await;
        assert_eq!((one.eligible, one.supporting_count, one.missing, one.mode), (false, 1, 2, 0));
        for n in 2..4 {
            house.failed(n, pb::Severity::Low).await;
        }
        let three = house.eligible(&seen.pattern_signature).await;
        assert_eq!((three.eligible, three.supporting.len(), three.mode()), (true, 3, pb::RuleMode::Warn));
        let bad = house.failed(9, pb::Severity::Critical).await;
        let bad = house.eligible(&bad.pattern_signature).await;
        assert_eq!((bad.eligible, bad.supporting_count, bad.mode()), (true, 1, pb::RuleMode::Block));
        // What is older than 30 days speaks for nothing.
        house.clock.advance(std::time::Duration::from_secs(31 * 86_400));
        assert_eq!(house.eligible(&seen.pattern_signature).await.missing, 3);
    }

    /// §15: what is not listed is in the digest only; what is of another type is refused; what is redacted is not shown.
    async fn arguments_are_those_that_the_tenant_selects(store: TestStore) {
        let house = House::over(store).await;
        let argument = |key: &str, kind: pb::ArgumentType, redact| pb::SelectedArgument {
            key: key.to_owned(), r#type: kind.into(), redact,
        };
        house.select(vec![
            argument("amount", pb::ArgumentType::Number, false),
            argument("iban", pb::ArgumentType::Text, true),
        ]).await;
        let noted = "when { context.arguments.text.hasTag(\"note\") }";
        house.rule(1, "noted", "", &format!("{TOOL} {noted};")).await;
        let paid = "when { context.arguments.number.hasTag(\"amount\") && context.arguments.text.hasTag(\"iban\") }";
        house.rule(2, "paid", "@outcome(\"require_approval\")", &format!("{TOOL} {paid};")).await;
        house.start(1).await;
        let mut ask = ask_step(1, 0, "t1");
        let texts = [("iban", "DE1"), ("note", "hi")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        ask.arguments = Some(pb::Arguments {
            text: texts.into_iter().collect(),
            number: [("amount".to_owned(), 7)].into_iter().collect(),
            ..Default::default()
        });
        let decision = house.step(ask.clone()).await.unwrap().decision.unwrap();
        assert_eq!(decision.verdict, 4, "{decision:?}");
        let get = pb::GetApprovalRequest { approval_id: decision.approval_id };
        let subject = call!(house, approvals.get_approval, "ApprovalService/GetApproval", get).unwrap().subject.unwrap();
        assert_eq!(subject.redacted_arguments, ["iban"]);
        let shown = subject.arguments.unwrap();
        assert_eq!((shown.number.len(), shown.text.len()), (1, 0));
        ask.step_index = 1;
        ask.arguments.as_mut().unwrap().text.insert("amount".to_owned(), "7".to_owned());
        let refused = house.step(ask).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }
}
