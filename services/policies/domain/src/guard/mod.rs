//! What can be told of a condition without Cedar: that it is false. A guard only ever says no, so that most rules of a
//! slice cost a comparison; whatever it can't tell for sure is Cedar's to evaluate, and only Cedar says that a rule
//! matches or fails.

mod eval;
mod path;
mod read;

use cedar_policy::Policy;
use serde_json::Value as Json;

use crate::facts::{Inputs, Resource};
use eval::{Expr, Value};

/// What conditions are read from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The question and all that goes with it.
    pub inputs: &'a Inputs<'a>,
    /// What it is about.
    pub resource: &'a Resource,
}

/// The clauses of a policy, as far as they can be read here.
#[derive(Debug, Default)]
pub struct Guard {
    /// In the order of the text, each with the answer that lets the policy match. A clause that can't be read ends the
    /// list: what comes after it is reached only when it did not fail.
    clauses: Vec<(Expr, bool)>,
}

impl Guard {
    /// The guard of a policy; one that can't be read lets everything through.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let json = policy.to_json().unwrap_or_default();
        let conditions = json.get("conditions").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let clause = |c: &Json| {
            let wanted = c.get("kind")?.as_str()? == "when";
            Some((read::expr(c.get("body")?, 0)?, wanted))
        };
        Self { clauses: conditions.iter().map_while(clause).collect() }
    }

    /// Whether the policy certainly does not match, and certainly does not fail.
    #[must_use]
    pub fn rules_out(&self, facts: Facts<'_>) -> bool {
        for (clause, wanted) in &self.clauses {
            match clause.eval(facts) {
                Some(Value::Bool(holds)) if holds == *wanted => {}
                Some(Value::Bool(_)) => return true,
                _ => return false,
            }
        }
        false
    }
}
