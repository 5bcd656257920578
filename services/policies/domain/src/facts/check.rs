//! What a caller may say about a step and what it is about.

use runspine_errors::{Fault, Violations, mesh};

use super::{Resource, StepQuestion};
use crate::reasons;

/// Checks what a caller says about a step; all violations at once.
///
/// # Errors
/// INTENT_UNKNOWN, ARGUMENTS_TOO_LARGE or FIELD_INVALID; nothing is stored then.
pub fn check_step(step: &StepQuestion, intents: &[String]) -> Result<(), Fault> {
    let mut v = Violations::new();
    check_resource(&mut v, "resource", &step.resource);
    v.require(step.name.chars().count() <= 256, "name", "TOO_LONG", "at most 256 characters");
    let known = matches!(step.mode.as_str(), "" | "READ" | "WRITE" | "DELETE");
    v.require(known, "mode", "ENUM_UNKNOWN", "READ, WRITE or DELETE");
    let upper = step.method.len() <= 32 && !step.method.bytes().any(|b| b.is_ascii_lowercase());
    v.require(upper, "method", "OUT_OF_RANGE", "an upper-case verb of at most 32 characters");
    let counts = [step.arguments_size, step.estimate.cost_microusd, step.estimate.duration_ms];
    let tokens = [step.estimate.tokens_input, step.estimate.tokens_output];
    let fits = counts.iter().chain(&tokens).all(|n| *n >= 0);
    v.require(fits, "estimate", "OUT_OF_RANGE", "amounts are at least 0");
    v.into_result(&mesh::FIELD_INVALID)?;
    step.arguments.check()?;
    if !step.intent.is_empty() && !intents.contains(&step.intent) {
        let text = "the intent is not a word of the tenant's list";
        return Err(Fault::new(&reasons::INTENT_UNKNOWN, text).field("intent", "INTENT_UNKNOWN", text));
    }
    Ok(())
}

/// Adds what is wrong with a resource.
pub fn check_resource(v: &mut Violations, field: &str, resource: &Resource) {
    let fits = (1..=256).contains(&resource.id.chars().count());
    v.require(fits, &format!("{field}.id"), "OUT_OF_RANGE", "1 to 256 characters");
    let fits = resource.groups.len() <= 16 && resource.groups.iter().all(|g| (1..=256).contains(&g.len()));
    v.require(fits, &format!("{field}.groups"), "OUT_OF_RANGE", "at most 16 groups of 1 to 256 characters");
    let fits = resource.labels.len() <= 64 && resource.labels.iter().all(|l| l.len() <= 256);
    v.require(fits, &format!("{field}.labels"), "OUT_OF_RANGE", "at most 64 labels of 256 characters");
    v.require(resource.risk <= 3, &format!("{field}.risk"), "OUT_OF_RANGE", "0 to 3");
    v.require(resource.sensitivity <= 3, &format!("{field}.sensitivity"), "OUT_OF_RANGE", "0 to 3");
}
