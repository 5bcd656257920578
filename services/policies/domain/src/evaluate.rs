//! Runs the rules of a slice on a question: which match, which fail, what grants. Decides nothing.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::{AuthorizationError, Authorizer, Entities, Request, Response};

use crate::{
    compile::CompiledRule,
    entities::{self, FactsError},
    facts::{Inputs, Question},
    sequence::Hit,
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
    /// Rules that were evaluated.
    pub candidates: u32,
    /// Heads of monitors that match. One that fails to evaluate is never one that did not match.
    pub hits: Vec<Hit>,
}

impl Said {
    /// Whether at least one grant in force is satisfied.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.grants.iter().any(|g| g.meaning.mode == Mode::Block)
    }
}

/// Evaluates a slice. Rules outside their time are skipped.
///
/// # Errors
/// When the mesh's own facts do not fit the schema.
pub fn evaluate(slice: &Slice, inputs: &Inputs<'_>) -> Result<Said, FactsError> {
    let mut said = Said::default();
    let counts = |rule: &CompiledRule| rule.meaning.is_effective(inputs.now);
    said.candidates = u32::try_from(slice.rules.iter().filter(|r| counts(r)).count()).unwrap_or(u32::MAX);
    for i in &slice.by_head {
        let rule = &slice.rules[*i];
        if counts(rule) {
            let to = if rule.is_grant() { &mut said.grants } else { &mut said.matched };
            to.push(Arc::clone(rule));
        }
    }
    if !slice.grants.is_empty() || !slice.restrictions.is_empty() || !slice.heads.is_empty() {
        conditions(slice, inputs, &mut said, &counts)?;
    }
    for list in [&mut said.matched, &mut said.failed, &mut said.grants] {
        list.sort_by(|a, b| a.meaning.rule_id.cmp(&b.meaning.rule_id));
    }
    Ok(said)
}

fn conditions(
    slice: &Slice,
    inputs: &Inputs<'_>,
    said: &mut Said,
    counts: &dyn Fn(&CompiledRule) -> bool,
) -> Result<(), FactsError> {
    let context = entities::context(inputs, slice.needs)?;
    let request =
        Request::new(slice.principal.clone(), slice.action.clone(), slice.resource.clone(), context, None)
            .map_err(|e| FactsError(e.to_string()))?;
    let with_facts = with_facts(slice, inputs)?;
    let entities = with_facts.as_ref().unwrap_or(&slice.entities);
    let authorizer = Authorizer::new();
    hits(slice, inputs.now, said, || authorizer.is_authorized(&request, &slice.watched, entities));
    for (set, grants) in [(&slice.grants, true), (&slice.restrictions, false)] {
        if set.is_empty() {
            continue;
        }
        let response = authorizer.is_authorized(&request, set, entities);
        let satisfied = response.diagnostics().reason();
        let satisfied = satisfied.filter_map(|id| rule_of(slice, id.as_ref())).filter(|r| counts(r));
        let to = if grants { &mut said.grants } else { &mut said.matched };
        to.extend(satisfied);
        // Cedar skips a policy that fails; here it is never a rule that did not match.
        let failed = response.diagnostics().errors().filter_map(|e| {
            let AuthorizationError::PolicyEvaluationError(e) = e;
            rule_of(slice, e.policy_id().as_ref())
        });
        said.failed.extend(failed.filter(|r| counts(r)));
    }
    Ok(())
}

/// The heads that match, in the order of their rules.
fn hits(slice: &Slice, now: i64, said: &mut Said, ask: impl FnOnce() -> Response) {
    if slice.heads.is_empty() {
        return;
    }
    let mut found: BTreeSet<usize> = (0..slice.heads.len()).collect();
    if !slice.watched.is_empty() {
        let response = ask();
        let diagnostics = response.diagnostics();
        let failed = diagnostics.errors().map(|e| {
            let AuthorizationError::PolicyEvaluationError(e) = e;
            e.policy_id().as_ref()
        });
        let matched = diagnostics.reason().map(AsRef::as_ref).chain(failed);
        let matched: BTreeSet<usize> = matched.filter_map(|id: &str| id.parse().ok()).collect();
        found.retain(|i| slice.heads[*i].1 || matched.contains(i));
    }
    let effective = found.into_iter().map(|i| &slice.heads[i].0).filter(|h| h.monitor.is_effective(now));
    said.hits.extend(effective.cloned());
}

/// The entities of the slice with those that change by question; `None`: nothing of them is read.
fn with_facts(slice: &Slice, inputs: &Inputs<'_>) -> Result<Option<Entities>, FactsError> {
    let mut extra = Vec::new();
    if let Question::Step(q) = &inputs.question
        && slice.needs.reads_arguments()
    {
        extra.extend(entities::argument_entities(&q.arguments)?.unwrap_or_default());
    }
    if slice.needs.reads_monitors() {
        extra.extend(entities::monitor_entity(&inputs.monitors)?);
    }
    if extra.is_empty() {
        return Ok(None);
    }
    let all = slice.entities.clone().add_entities(extra, None);
    all.map(Some).map_err(|e| FactsError(e.to_string()))
}

fn rule_of(slice: &Slice, id: &str) -> Option<Arc<CompiledRule>> {
    slice.rules.get(id.parse::<usize>().ok()?).map(Arc::clone)
}
