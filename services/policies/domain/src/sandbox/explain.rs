//! What each rule of a slice said, rule by rule.

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};

use crate::{
    compile::CompiledRule,
    condition::{Answer, Asked, Condition},
    entities::Needs,
    evaluate::Said,
    facts::Inputs,
    slice::Slice,
    text,
};

/// One rule and what became of it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The rule.
    pub rule: Arc<CompiledRule>,
    /// Whether it could match by its head and scope.
    pub candidate: bool,
    /// Whether it matched.
    pub matched: bool,
    /// Whether it failed to evaluate.
    pub failed: bool,
    /// Whether it was skipped because of its time.
    pub inactive_time: bool,
    /// Bytes of the clause because of which it did not match, or failed.
    pub clause: Option<(usize, usize)>,
}

impl Explained {
    /// A rule that could not match.
    #[must_use]
    pub fn no_candidate(rule: &Arc<CompiledRule>, now: i64) -> Self {
        Self {
            rule: Arc::clone(rule),
            candidate: false,
            matched: false,
            failed: false,
            inactive_time: !rule.meaning.is_effective(now),
            clause: None,
        }
    }
}

/// Every rule of the slice, by rule id.
#[must_use]
pub fn explain(slice: &Slice, said: &Said, inputs: &Inputs<'_>) -> Vec<Explained> {
    let among = |list: &[Arc<CompiledRule>], id: &str| list.iter().any(|r| r.meaning.rule_id == id);
    // Facts that do not fit are told by the decision.
    let asked = Asked::new(slice, inputs, Needs::ALL).ok();
    let one = |rule: &Arc<CompiledRule>| {
        let id = rule.meaning.rule_id.as_str();
        let matched = among(&said.matched, id) || among(&said.grants, id);
        let inactive_time = !rule.meaning.is_effective(inputs.now);
        let clause = asked.as_ref().filter(|_| !matched && !inactive_time);
        Explained {
            candidate: true,
            matched,
            failed: among(&said.failed, id),
            inactive_time,
            clause: clause.and_then(|asked| deciding(&rule.meaning.cedar, asked)),
            rule: Arc::clone(rule),
        }
    };
    let mut out: Vec<Explained> = slice.rules.iter().map(one).collect();
    out.sort_by(|a, b| a.rule.meaning.rule_id.cmp(&b.rule.meaning.rule_id));
    out
}

/// The first clause without which the rule would match: the text is evaluated with one clause more each time.
fn deciding(cedar: &str, asked: &Asked<'_>) -> Option<(usize, usize)> {
    let clauses = text::scan::scan(cedar).clauses;
    clauses.into_iter().find(|(_, end)| {
        let policy = Policy::parse(Some(PolicyId::new("clause")), format!("{};", &cedar[..*end]));
        let condition = policy.ok().and_then(|p| Condition::of(&p).ok());
        condition.is_none_or(|c| asked.ask(&c) != Answer::Yes)
    })
}
