//! Runs the rules of a slice on a question: which match, which fail, what grants. Decides nothing.

use std::sync::Arc;

use crate::{
    approval,
    compile::CompiledRule,
    condition::{Answer, Asked, Condition},
    entities::{FactsError, Needs},
    facts::Inputs,
    guard::Facts,
    sequence::{Head, Hit},
    slice::Slice,
    words::Mode,
};

/// What the rules of a slice said.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Satisfied restrictions, by rule id.
    pub matched: Vec<Arc<CompiledRule>>,
    /// Rules that failed to evaluate, grants too, by rule id.
    pub failed: Vec<Arc<CompiledRule>>,
    /// Satisfied grants, whatever their mode, by rule id.
    pub grants: Vec<Arc<CompiledRule>>,
    /// Rules that were evaluated: where they stand in the snapshot.
    pub checked: Vec<u32>,
    /// The terms of an approval that the rules do not state.
    pub approvals: approval::Defaults,
    /// Heads of monitors that match. One that fails to evaluate is never one that did not match.
    pub hits: Vec<Hit>,
}

impl Said {
    /// Whether at least one grant in force is satisfied.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.grants.iter().any(|g| g.meaning.mode == Mode::Block)
    }

    /// How many rules were evaluated.
    #[must_use]
    pub fn candidates(&self) -> u32 {
        u32::try_from(self.checked.len()).unwrap_or(u32::MAX)
    }

    fn add(&mut self, rule: &Arc<CompiledRule>, answer: Answer) {
        let to = match answer {
            Answer::No => return,
            Answer::Failed => &mut self.failed,
            Answer::Yes if rule.is_grant() => &mut self.grants,
            Answer::Yes => &mut self.matched,
        };
        to.push(Arc::clone(rule));
    }
}

/// Evaluates a slice. Rules outside their time are skipped.
///
/// # Errors
/// When the mesh's own facts do not fit the schema.
pub fn evaluate(slice: &Slice, inputs: &Inputs<'_>) -> Result<Said, FactsError> {
    let facts = Facts { inputs, resource: &slice.about };
    let mut said = Said { approvals: slice.approvals, ..Said::default() };
    let rules = slice.rules.iter().zip(&slice.places).filter(|(r, _)| r.meaning.is_effective(inputs.now));
    let rules = rules.inspect(|(_, place)| said.checked.push(**place)).map(|(rule, _)| rule);
    let rules = open(slice, rules, |r| &r.condition, facts);
    let heads = slice.heads.iter().filter(|h| h.monitor.is_effective(inputs.now));
    let heads = open(slice, heads, |h| &head_of(h).condition, facts);
    let asked = (!(rules.is_settled && heads.is_settled))
        .then(|| Asked::new(slice, inputs, rules.needs.and(heads.needs)))
        .transpose()?;
    let answer = |is_settled: bool, condition: &Condition| match &asked {
        Some(asked) if !is_settled => asked.ask(condition),
        _ => Answer::Yes,
    };
    for (rule, is_settled) in rules.left {
        said.add(rule, answer(is_settled, &rule.condition));
    }
    for (hit, is_settled) in heads.left {
        if answer(is_settled, &head_of(hit).condition) != Answer::No {
            said.hits.push(hit.clone());
        }
    }
    Ok(said)
}

fn head_of(hit: &Hit) -> &Head {
    hit.monitor.head(hit.role)
}

/// What the guards left, in order, each with whether its head alone decides.
struct Open<'a, T> {
    left: Vec<(&'a T, bool)>,
    /// What Cedar has to see for those that it is asked about.
    needs: Needs,
    /// Nothing is to be asked.
    is_settled: bool,
}

fn open<'a, T>(
    slice: &Slice,
    all: impl Iterator<Item = &'a T>,
    condition: fn(&T) -> &Condition,
    facts: Facts<'_>,
) -> Open<'a, T> {
    let mut open = Open { left: Vec::new(), needs: Needs::NONE, is_settled: true };
    for one in all {
        let condition = condition(one);
        let is_settled = condition.is_empty && slice.trusts_heads;
        if !is_settled {
            if slice.trusts_heads && condition.is_ruled_out(facts) {
                continue;
            }
            open.needs = open.needs.and(if slice.trusts_heads { condition.needs } else { Needs::ALL });
            open.is_settled = false;
        }
        open.left.push((one, is_settled));
    }
    open
}
