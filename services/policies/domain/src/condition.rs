//! The condition of one policy, ready to be asked: a guard in front of Cedar.

use std::str::FromStr;

use cedar_policy::{AuthorizationError, Authorizer, Entities, Expression, Policy, PolicySet, Request};

use crate::{
    entities::{self, FactsError, Needs},
    facts::{Inputs, Question},
    guard::{Facts, Guard},
    slice::Slice,
};

/// Whether a text is one expression; whether it fits a head is for the validator to say.
///
/// # Errors
/// What the parser says.
pub fn expression(text: &str) -> Result<(), String> {
    Expression::from_str(text).map(|_| ()).map_err(|e| e.to_string())
}

/// What Cedar says of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It does not match.
    No,
    /// It matches.
    Yes,
    /// It failed to evaluate, which is never that it did not match.
    Failed,
}

/// A policy by itself.
#[derive(Debug)]
pub struct Condition {
    /// Whether the head alone decides: no `when`, no `unless`.
    pub is_empty: bool,
    /// Which parts of the context it reads.
    pub needs: Needs,
    guard: Guard,
    alone: PolicySet,
}

impl Condition {
    /// The condition of a policy.
    ///
    /// # Errors
    /// Never: one policy is a set of policies.
    pub fn of(policy: &Policy) -> Result<Self, String> {
        Ok(Self {
            is_empty: !policy.has_non_scope_constraint(),
            needs: Needs::of(policy),
            guard: Guard::of(policy),
            alone: PolicySet::from_policies([policy.clone()]).map_err(|e| e.to_string())?,
        })
    }

    /// Whether it certainly does not match. What a head asks for is not looked at.
    #[must_use]
    pub fn is_ruled_out(&self, facts: Facts<'_>) -> bool {
        self.guard.rules_out(facts)
    }
}

/// A question in Cedar's form, made when a condition has to be asked.
pub struct Asked<'a> {
    request: Request,
    slice: &'a Slice,
    own: Option<Entities>,
}

impl<'a> Asked<'a> {
    /// With the parts of the context that are read.
    ///
    /// # Errors
    /// When the facts do not fit.
    pub fn new(slice: &'a Slice, inputs: &Inputs<'_>, needs: Needs) -> Result<Self, FactsError> {
        let context = entities::context(inputs, needs)?;
        let (principal, action) = (slice.principal.clone(), slice.action.clone());
        let request = Request::new(principal, action, slice.resource.clone(), context, None);
        let request = request.map_err(|e| FactsError(e.to_string()))?;
        Ok(Self { request, slice, own: with_facts(slice, inputs, needs)? })
    }

    /// Asks a condition.
    #[must_use]
    pub fn ask(&self, condition: &Condition) -> Answer {
        let entities = self.own.as_ref().unwrap_or(&self.slice.entities);
        let response = Authorizer::new().is_authorized(&self.request, &condition.alone, entities);
        let diagnostics = response.diagnostics();
        // Cedar skips a policy that fails.
        let failed = diagnostics.errors().any(|AuthorizationError::PolicyEvaluationError(_)| true);
        match (diagnostics.reason().next().is_some(), failed) {
            (true, _) => Answer::Yes,
            (false, true) => Answer::Failed,
            (false, false) => Answer::No,
        }
    }
}

/// The entities of the slice with those that change by question; `None`: nothing of them is read.
fn with_facts(slice: &Slice, inputs: &Inputs<'_>, needs: Needs) -> Result<Option<Entities>, FactsError> {
    let mut extra = Vec::new();
    if let Question::Step(q) = &inputs.question
        && needs.reads_arguments()
    {
        extra.extend(entities::argument_entities(&q.arguments)?.unwrap_or_default());
    }
    if needs.reads_monitors() {
        extra.extend(entities::monitor_entity(&inputs.monitors)?);
    }
    if extra.is_empty() {
        return Ok(None);
    }
    let all = slice.entities.clone().add_entities(extra, None);
    all.map(Some).map_err(|e| FactsError(e.to_string()))
}
