//! Each leaf action has a rule that validates and a question that matches it.

use runspine_policies_domain::{
    facts::{EndQuestion, Question, Resource, StartQuestion, Totals},
    words::{Action, StepKind, Verdict},
};

use crate::support::{Case, ended, rule, snapshot, step};

/// A condition that reads everything that the action's context has.
fn condition(action: Action) -> &'static str {
    match action {
        Action::StartRun => {
            "context.requested.cost_microusd >= 0 && context.goal_digest == \"\" \
             && !context.declared_tools.contains(\"x\") && context.run.attempt == 1"
        }
        Action::StepEnded => {
            "context.outcome == \"FAILURE\" && context.error_code == \"BOOM\" && context.retry_count == 1 \
             && context.cost_microusd == 5 && context.tokens == 7 && context.duration_ms == 9 \
             && context.output_size == 1 && context.output_labels.contains(\"toxic\") && !context.authorized"
        }
        Action::EndRun => {
            "context.outcome == \"FAILED\" && context.termination_reason == \"TIMEOUT\" && context.totals.steps == 3"
        }
        _ => {
            "context.step_index == 0 && context.totals.tokens == 0 && context.estimate.duration_ms == 0 \
             && context.now.hour == 10 && context.now.minute == 0 && context.now.weekday == 6 \
             && context.now.at < datetime(\"2027-01-01\") && context.arguments_size == 0 \
             && context.arguments_digest == \"\" && !context.arguments.flags.contains(\"x\") \
             && !context.monitors.hasTag(\"m.x\") && context.run has api_key && context.run.source == \"SDK\""
        }
    }
}

fn question(action: Action) -> Question {
    let kind = StepKind::ALL.iter().find(|k| Action::of(**k) == action);
    match (action, kind) {
        (_, Some(kind)) => Question::Step(step(*kind, Resource::unregistered(kind.resources()[0], "x1"))),
        (Action::StartRun, _) => Question::Start(StartQuestion::default()),
        (Action::StepEnded, _) => Question::Ended(ended()),
        _ => Question::End(EndQuestion {
            outcome: "FAILED".into(),
            termination_reason: "TIMEOUT".into(),
            totals: Totals { steps: 3, ..Totals::default() },
        }),
    }
}

#[test]
fn every_leaf_action_has_a_rule_and_a_question_that_meet() {
    for action in Action::ALL {
        let known = if *action == Action::StepEnded { "context has error_code && " } else { "" };
        let policy = format!(
            "forbid(principal, action == Runspine::Action::\"{}\", resource) when {{ {known}{} }};",
            action.as_str(),
            condition(*action)
        );
        let ruling = Case::of(question(*action)).decide(&snapshot(vec![rule("r", "", &policy)], true));
        assert_eq!(ruling.verdict, Verdict::Deny, "{action:?}");
        assert_eq!(ruling.failure, None, "{action:?}");
        assert_eq!(ruling.matches.len(), 1, "{action:?}");
    }
}
