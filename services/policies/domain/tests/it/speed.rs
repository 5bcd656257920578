//! The cost of a decision is that of its slice. Figures are printed by `cargo test --release -- --ignored --nocapture`.

use std::{num::NonZeroUsize, time::Instant};

use runspine_policies_domain::{
    compile::CompiledSnapshot,
    evaluate::evaluate,
    slice::{Bound, SliceCache, resource_of},
};

use crate::support::{Case, principal, rule, snapshot, tool_call};

fn median_ns(snapshot: &CompiledSnapshot, rounds: usize) -> u128 {
    let case = Case::of(tool_call("t1"));
    let (cache, bound) = (SliceCache::new(NonZeroUsize::new(64).unwrap()), Bound::new(principal()));
    let inputs = case.inputs();
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            let resource = resource_of(&inputs.question, &inputs.run, &bound.principal);
            let (slice, _) = cache.get(snapshot, inputs.question.action(), &bound, resource).unwrap();
            std::hint::black_box(evaluate(&slice, &inputs).unwrap());
            started.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

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

#[test]
#[ignore = "measures; run alone in a release build"]
#[allow(clippy::print_stdout, reason = "its figures are its result")]
fn figures() {
    for (own, others) in [(0, 0), (1, 0), (10, 0), (10, 2_000), (100, 0)] {
        let mut rules: Vec<_> = (0..own).map(|n| conditional(n, "t1")).collect();
        rules.extend((own..own + others).map(|n| conditional(n, &format!("other-{n}"))));
        let ns = median_ns(&snapshot(rules, true), 2_000);
        println!("{own} rules in the slice, {others} others: {ns} ns");
    }
}
