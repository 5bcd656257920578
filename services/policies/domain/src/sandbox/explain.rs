//! What each rule of a slice said, rule by rule.

use std::sync::Arc;

use crate::{compile::CompiledRule, evaluate::Said, slice::Slice};

/// One rule and what became of it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The rule.
    pub rule: Arc<CompiledRule>,
    /// Whether it matched.
    pub matched: bool,
    /// Whether it failed to evaluate.
    pub failed: bool,
    /// Whether it was skipped because of its time.
    pub inactive_time: bool,
}

/// Every rule of the slice, by rule id.
#[must_use]
pub fn explain(slice: &Slice, said: &Said, now: i64) -> Vec<Explained> {
    let among = |list: &[Arc<CompiledRule>], id: &str| list.iter().any(|r| r.meaning.rule_id == id);
    let one = |rule: &Arc<CompiledRule>| {
        let id = rule.meaning.rule_id.as_str();
        Explained {
            matched: among(&said.matched, id) || among(&said.grants, id),
            failed: among(&said.failed, id),
            inactive_time: !rule.meaning.is_effective(now),
            rule: Arc::clone(rule),
        }
    };
    let mut out: Vec<Explained> = slice.rules.iter().map(one).collect();
    out.sort_by(|a, b| a.rule.meaning.rule_id.cmp(&b.rule.meaning.rule_id));
    out
}
