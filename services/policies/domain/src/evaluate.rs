//! Runs the rules of a slice on a question: which match, which fail, what grants. Decides nothing.

use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Request};

use crate::{
    compile::CompiledRule,
    entities::{self, FactsError},
    facts::{Inputs, Question},
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
    if !slice.grants.is_empty() || !slice.restrictions.is_empty() {
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
    let with_arguments = with_arguments(slice, inputs)?;
    let entities = with_arguments.as_ref().unwrap_or(&slice.entities);
    let authorizer = Authorizer::new();
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
            let cedar_policy::AuthorizationError::PolicyEvaluationError(e) = e;
            rule_of(slice, e.policy_id().as_ref())
        });
        said.failed.extend(failed.filter(|r| counts(r)));
    }
    Ok(())
}

fn with_arguments(slice: &Slice, inputs: &Inputs<'_>) -> Result<Option<Entities>, FactsError> {
    let Question::Step(q) = &inputs.question else { return Ok(None) };
    if !slice.needs.reads_arguments() {
        return Ok(None);
    }
    let Some(extra) = entities::argument_entities(&q.arguments)? else { return Ok(None) };
    let all = slice.entities.clone().add_entities(extra, None);
    all.map(Some).map_err(|e| FactsError(e.to_string()))
}

fn rule_of(slice: &Slice, id: &str) -> Option<Arc<CompiledRule>> {
    slice.rules.get(id.parse::<usize>().ok()?).map(Arc::clone)
}
