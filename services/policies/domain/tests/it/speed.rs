//! The cost of a decision is that of its slice. Figures: `cargo bench -p runspine-policies-domain`.

use runspine_policies_domain::slice::resource_of;

use crate::support::{Case, rule, snapshot, tool_call};

fn conditional(n: usize, tool: &str) -> std::sync::Arc<runspine_policies_domain::compile::CompiledRule> {
    let policy = format!(
        "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\") \
         when {{ context.totals.steps > {} }};",
        1_000 + n
    );
    rule(&format!("r{n}"), "", &policy)
}

/// A6.4: rules about other things are not even candidates.
#[test]
fn unrelated_rules_are_no_candidates() {
    let mut rules: Vec<_> = (0..10).map(|n| conditional(n, "t1")).collect();
    rules.extend((10..200).map(|n| conditional(n, &format!("other-{n}"))));
    let snapshot = snapshot(rules, true);
    let case = Case::of(tool_call("t1"));
    let resource = resource_of(&case.question, &case.run, &case.principal);
    assert_eq!(snapshot.candidates(case.question.action(), &case.principal, &resource).len(), 11);
}
