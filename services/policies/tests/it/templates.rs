//! Rules made from templates, over the service.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    harness::{House, WHY, ask_step, reason},
    proposals::{BOB, wish},
};

fn body(template_id: &str, arguments: &[(&str, &[&str])]) -> pb::TemplateBody {
    let argument = |(name, values): &(&str, &[&str])| pb::TemplateArgument {
        name: (*name).to_owned(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    pb::TemplateBody {
        template_id: template_id.to_owned(),
        arguments: arguments.iter().map(argument).collect(),
        ..Default::default()
    }
}

fn made_from(slug: &str, template: pb::TemplateBody) -> pb::RuleContent {
    pb::RuleContent {
        slug: slug.to_owned(),
        mode: pb::RuleMode::Block.into(),
        template: Some(template),
        ..Default::default()
    }
}

fn block(tool: &str) -> pb::TemplateBody {
    body("ACTION_BLOCK", &[("tools", &[tool])])
}

impl House {
    async fn templates(&self, r: pb::ListTemplatesRequest) -> pb::ListTemplatesResponse {
        call!(self, rules.list_templates, "RuleService/ListTemplates", r).unwrap()
    }

    async fn validated(&self, r: pb::ValidateRuleRequest) -> Result<pb::ValidateRuleResponse, tonic::Status> {
        call!(self, rules.validate_rule, "RuleService/ValidateRule", r)
    }
}

/// Every template comes once, page by page, and with the values of its example it could be activated.
#[tokio::test]
async fn every_listed_template_makes_a_rule() {
    let house = House::over(TestStore::start(runspine_testkit::SQLITE).await).await;
    let mut all: Vec<pb::Template> = Vec::new();
    let mut ask = pb::ListTemplatesRequest { page_size: 7, ..Default::default() };
    loop {
        let page = house.templates(ask.clone()).await;
        all.extend(page.templates);
        ask.page_token = page.next_page_token;
        if ask.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(all, house.templates(pb::ListTemplatesRequest::default()).await.templates);
    let temporal =
        pb::ListTemplatesRequest { rule_type: pb::RuleType::Temporal.into(), ..Default::default() };
    let temporal = house.templates(temporal).await.templates;
    assert!(temporal.len() > 5 && temporal.iter().all(|t| t.rule_type() == pb::RuleType::Temporal));
    for template in all {
        assert_ne!(template.cedar.is_empty(), template.sequence_json.is_empty(), "{}", template.template_id);
        let example = template
            .parameters
            .iter()
            .map(|p| pb::TemplateArgument { name: p.name.clone(), values: p.example_values.clone() });
        let template_body = pb::TemplateBody {
            template_id: template.template_id.clone(),
            arguments: example.collect(),
            ..Default::default()
        };
        let ask = pb::ValidateRuleRequest { template: Some(template_body), ..Default::default() };
        let found = house.validated(ask).await.unwrap();
        assert!(found.findings.is_empty(), "{}: {:?}", template.template_id, found.findings);
        assert!(!found.normalized.is_empty() && !found.slice_keys.is_empty(), "{}", template.template_id);
    }
}

on_both_engines! {
    /// A9.2: a rule holds the text and what it was made from, and keeps both through its life.
    async fn a_rule_keeps_what_it_was_made_from(store: TestStore) {
        let house = House::over(store).await;
        let made = house.create(1, made_from("no-shell", block("shell"))).await.unwrap();
        assert!(made.findings.is_empty(), "{:?}", made.findings);
        assert_eq!(house.create(1, made_from("no-shell", block("shell"))).await.unwrap(), made, "the same answer again");
        let rule = made.rule.unwrap();
        assert_eq!((rule.source(), rule.rule_type(), rule.category()),
            (pb::RuleSource::Template, pb::RuleType::Safety, pb::RuleCategory::Safety));
        assert!(rule.cedar.contains("Runspine::Tool::\"shell\""), "{}", rule.cedar);
        let names: Vec<_> = rule.template.as_ref().unwrap().arguments.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["action", "message", "reason", "tools"], "with every default");
        house.activate(1, &rule).await.unwrap();
        house.start(1).await;
        let denied = house.step(ask_step(1, 0, "shell")).await.unwrap().decision.unwrap();
        assert_eq!((denied.verdict, denied.reasons[0].code.as_str()), (2, "TOOL_BLOCKED"));
        assert_eq!(house.step(ask_step(1, 1, "search")).await.unwrap().decision.unwrap().verdict, 1);
        let change = pb::SetRuleModeRequest {
            request_id: test_id(11, 1), rule_id: rule.rule_id.clone(), mode: 2, reason: WHY.into(),
        };
        let warned = call!(house, rules.set_rule_mode, "RuleService/SetRuleMode", change).unwrap().rule.unwrap();
        assert_eq!((&warned.template, warned.source), (&rule.template, rule.source), "another mode, the same origin");
        let get = pb::GetRuleRequest { rule_id: rule.rule_id.clone(), version: 1 };
        let read = call!(house, rules.get_rule, "RuleService/GetRule", get).unwrap().rule.unwrap();
        assert_eq!((read.template.clone(), &read.cedar), (rule.template, &rule.cedar));

        // What was read can be sent back; another text under the name of the template can't.
        let again = pb::UpdateRuleRequest {
            request_id: test_id(12, 1), rule_id: rule.rule_id.clone(), expected_version: warned.revision,
            content: Some(pb::RuleContent { cedar: read.cedar.clone(), template: read.template,
                ..made_from("no-shell", block("shell")) }),
        };
        let mut other = again.clone();
        let updated = call!(house, rules.update_rule, "RuleService/UpdateRule", again).unwrap().rule.unwrap();
        assert_eq!(updated.cedar, rule.cedar);
        other.request_id = test_id(12, 2);
        other.content.as_mut().unwrap().cedar.push(' ');
        let refused = call!(house, rules.update_rule, "RuleService/UpdateRule", other).unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }

    /// A sequence made from a template watches steps as one that somebody wrote.
    async fn a_sequence_is_made_from_a_template(store: TestStore) {
        let house = House::over(store).await;
        let order = body("TOOL_AFTER_TOOL", &[("first", &["verify"]), ("then", &["pay"])]);
        let rule = house.create(1, made_from("verified", order)).await.unwrap().rule.unwrap();
        assert_eq!(rule.sequence.as_ref().unwrap().kind(), pb::SequenceKind::MustFollow);
        house.activate(1, &rule).await.unwrap();
        house.start(1).await;
        let denied = house.step(ask_step(1, 0, "pay")).await.unwrap().decision.unwrap();
        assert_eq!((denied.verdict, denied.reasons[0].code.as_str()), (2, "OUT_OF_ORDER"));
        assert_eq!(house.step(ask_step(1, 1, "verify")).await.unwrap().decision.unwrap().verdict, 1);
        let mut pay = ask_step(1, 2, "pay");
        pay.observed = vec![crate::harness::fact(3, 1, "verify")];
        assert_eq!(house.step(pay).await.unwrap().decision.unwrap().verdict, 1);
    }

    /// A proposal holds the text that its reviewer reads, and the rule that it becomes knows its template.
    async fn a_proposal_holds_what_the_template_made(store: TestStore) {
        let house = House::over(store).await;
        let asked = pb::CreateProposalRequest { body: Some(made_from("no-rm", block("rm"))), ..wish(1, "no-rm") };
        let p = house.propose(asked).await.unwrap();
        let kept = p.body.clone().unwrap();
        assert!(kept.cedar.contains("Runspine::Tool::\"rm\"") && kept.template.is_some());
        let done = house.approve_as(1, BOB, &p, true).await.unwrap().rule.unwrap();
        assert_eq!((&done.cedar, done.template), (&kept.cedar, kept.template));
    }

    /// What does not fit is refused, all of it at once, and nothing is stored.
    async fn what_does_not_fit_a_template_is_refused(store: TestStore) {
        let house = House::over(store).await;
        let fields = |status: &tonic::Status| {
            let found = runspine_rpc::details(status).fields;
            found.into_iter().map(|f| f.0).collect::<Vec<_>>()
        };
        let none = house.create(1, made_from("r", body("NO_SUCH", &[]))).await.unwrap_err();
        assert_eq!(fields(&none), ["content.template.template_id"]);
        let bad = body("REFUND_CEILING", &[("max", &["-1"]), ("colour", &["red"])]);
        let bad = house.create(2, made_from("r", bad)).await.unwrap_err();
        let expected = ["colour", "tools", "max"].map(|name| format!("content.template.arguments.{name}"));
        assert_eq!(fields(&bad), expected);
        let two = pb::ValidateRuleRequest {
            cedar: "permit(principal, action, resource);".into(), template: Some(block("x")), mode: 99,
            ..Default::default()
        };
        assert_eq!(fields(&house.validated(two).await.unwrap_err()), ["mode", "cedar"]);
        let unknown = pb::ListTemplatesRequest { rule_type: 99, ..Default::default() };
        let refused = call!(house, rules.list_templates, "RuleService/ListTemplates", unknown).unwrap_err();
        assert_eq!(fields(&refused), ["rule_type"]);
        let list = call!(house, rules.list_rules, "RuleService/ListRules", pb::ListRulesRequest::default()).unwrap();
        assert!(list.rules.is_empty(), "nothing was stored");
    }
}
