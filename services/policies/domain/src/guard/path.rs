//! Where the attributes of the schema stand in the facts.

use super::{Facts, eval::Value};
use crate::{
    entities::of_day,
    facts::{EndedQuestion, Estimate, Principal, Question, Run, StepQuestion, Totals},
    words::ResourceType,
};

/// Reads an attribute; `None`: it is not there, or can't be told.
pub(super) type Read = for<'a> fn(Facts<'a>) -> Option<Value<'a>>;

impl<'a> Facts<'a> {
    pub(super) fn step(self) -> Option<&'a StepQuestion> {
        match &self.inputs.question {
            Question::Step(q) => Some(q),
            _ => None,
        }
    }

    fn ended(self) -> Option<&'a EndedQuestion> {
        match &self.inputs.question {
            Question::Ended(q) => Some(q),
            _ => None,
        }
    }

    fn run(self) -> &'a Run {
        &self.inputs.run
    }

    fn principal(self) -> &'a Principal {
        &self.inputs.principal
    }

    fn totals(self, of: fn(&Totals) -> i64) -> Option<Value<'a>> {
        Some(Value::Long(of(match &self.inputs.question {
            Question::Step(q) => &q.totals,
            Question::Ended(q) => &q.totals,
            Question::End(q) => &q.totals,
            Question::Start(_) => return None,
        })))
    }

    fn estimate(self, of: fn(&Estimate) -> i64) -> Option<Value<'a>> {
        self.step().map(|q| Value::Long(of(&q.estimate)))
    }

    fn requested(self, of: fn(&Estimate) -> i64) -> Option<Value<'a>> {
        match &self.inputs.question {
            Question::Start(q) => Some(Value::Long(of(&q.requested))),
            _ => None,
        }
    }

    /// Attributes that a resource of this type has.
    fn is(self, kinds: &[ResourceType]) -> Option<()> {
        kinds.contains(&self.resource.kind).then_some(())
    }
}

/// An optional word: it is there when it is not empty.
fn word(text: &str) -> Option<Value<'_>> {
    (!text.is_empty()).then_some(Value::Text(text))
}

fn long(n: u32) -> Option<Value<'static>> {
    Some(Value::Long(n.into()))
}

/// What reads the attribute at a path, written as the rule writes it.
pub(super) fn read(path: &str) -> Option<Read> {
    let (var, rest) = path.split_once('.')?;
    match var {
        "principal" => principal(rest),
        "resource" => resource(rest),
        "context" => rest.strip_prefix("run.").map_or_else(|| context(rest), run),
        _ => None,
    }
}

/// Whether the optional attribute at a path is there.
pub(super) fn has(path: &str) -> Option<fn(Facts<'_>) -> Option<bool>> {
    Some(match path {
        "context.intent" => |f| f.step().map(|q| !q.intent.is_empty()),
        "context.mode" => |f| f.step().map(|q| !q.mode.is_empty()),
        "context.method" => |f| f.step().map(|q| !q.method.is_empty()),
        "context.error_code" => |f| f.ended().map(|q| !q.error_code.is_empty()),
        "context.run.human" => |f| Some(f.principal().human.is_some()),
        "context.run.api_key" => |f| Some(f.principal().api_key.is_some()),
        "principal.owner" => |f| Some(!f.principal().agent.owner.is_empty()),
        _ => return None,
    })
}

fn principal(attr: &str) -> Option<Read> {
    Some(match attr {
        "labels" => |f| Some(Value::Set(&f.principal().agent.labels)),
        "owner" => |f| word(&f.principal().agent.owner),
        "risk" => |f| long(f.principal().agent.risk),
        "version" => |f| Some(Value::Text(&f.principal().agent.version)),
        _ => return None,
    })
}

/// An agent that is the resource may be the one that asks, whose own attributes count then: left to Cedar.
fn resource(attr: &str) -> Option<Read> {
    use ResourceType::{Data, Endpoint, Model, Run, Tool};
    Some(match attr {
        "host" => |f| f.is(&[Endpoint]).map(|()| Value::Text(&f.resource.host)),
        "labels" => |f| f.is(&[Data, Endpoint, Model, Run, Tool]).map(|()| Value::Set(&f.resource.labels)),
        "provider" => |f| f.is(&[Model]).map(|()| Value::Text(&f.resource.provider)),
        "risk" => |f| f.is(&[Tool]).map(|()| Value::Long(f.resource.risk.into())),
        "scheme" => |f| f.is(&[Endpoint]).map(|()| Value::Text(&f.resource.scheme)),
        "sensitivity" => |f| f.is(&[Data]).map(|()| Value::Long(f.resource.sensitivity.into())),
        "server" => |f| f.is(&[Tool]).map(|()| Value::Text(&f.resource.server)),
        "side_effects" => |f| f.is(&[Tool]).map(|()| Value::Bool(f.resource.side_effects)),
        _ => return None,
    })
}

fn run(attr: &str) -> Option<Read> {
    Some(match attr {
        "actor_type" => |f| Some(Value::Text(&f.run().actor_type)),
        "api_key.labels" => |f| f.principal().api_key.as_ref().map(|k| Value::Set(&k.labels)),
        "attempt" => |f| long(f.run().attempt),
        "degraded" => |f| Some(Value::Bool(f.run().degraded)),
        "delegation_depth" => |f| long(f.run().delegation_depth),
        "elapsed_ms" => |f| Some(Value::Long(f.run().elapsed_ms)),
        "human.labels" => |f| f.principal().human.as_ref().map(|h| Value::Set(&h.labels)),
        "human.level" => |f| f.principal().human.as_ref().map(|h| Value::Long(h.level.into())),
        "is_synthetic" => |f| Some(Value::Bool(f.run().is_synthetic)),
        "labels" => |f| Some(Value::Set(&f.run().labels)),
        "priority" => |f| long(f.run().priority),
        "source" => |f| Some(Value::Text(&f.run().source)),
        "taints" => |f| Some(Value::Set(&f.run().taints)),
        _ => return None,
    })
}

fn context(attr: &str) -> Option<Read> {
    let (part, field) = attr.split_once('.').unwrap_or((attr, ""));
    match part {
        "totals" => totals(field),
        "estimate" => estimate(field),
        "requested" => requested(field),
        "now" => clock(field),
        _ => moment(attr),
    }
}

fn totals(field: &str) -> Option<Read> {
    Some(match field {
        "cost_microusd" => |f| f.totals(|t| t.cost_microusd),
        "denials" => |f| f.totals(|t| t.denials),
        "duration_ms" => |f| f.totals(|t| t.duration_ms),
        "failures" => |f| f.totals(|t| t.failures),
        "llm_calls" => |f| f.totals(|t| t.llm_calls),
        "steps" => |f| f.totals(|t| t.steps),
        "tokens" => |f| f.totals(|t| t.tokens_input.saturating_add(t.tokens_output)),
        "tokens_input" => |f| f.totals(|t| t.tokens_input),
        "tokens_output" => |f| f.totals(|t| t.tokens_output),
        "tool_calls" => |f| f.totals(|t| t.tool_calls),
        _ => return None,
    })
}

fn estimate(field: &str) -> Option<Read> {
    Some(match field {
        "cost_microusd" => |f| f.estimate(|e| e.cost_microusd),
        "duration_ms" => |f| f.estimate(|e| e.duration_ms),
        "tokens_input" => |f| f.estimate(|e| e.tokens_input),
        "tokens_output" => |f| f.estimate(|e| e.tokens_output),
        _ => return None,
    })
}

fn requested(field: &str) -> Option<Read> {
    Some(match field {
        "cost_microusd" => |f| f.requested(|e| e.cost_microusd),
        "duration_ms" => |f| f.requested(|e| e.duration_ms),
        "tokens_input" => |f| f.requested(|e| e.tokens_input),
        "tokens_output" => |f| f.requested(|e| e.tokens_output),
        _ => return None,
    })
}

fn clock(field: &str) -> Option<Read> {
    Some(match field {
        "hour" => |f| Some(Value::Long(of_day(f.inputs.now).hour)),
        "minute" => |f| Some(Value::Long(of_day(f.inputs.now).minute)),
        "weekday" => |f| Some(Value::Long(of_day(f.inputs.now).weekday)),
        _ => return None,
    })
}

/// What stands in the context itself; most of it belongs to one moment.
fn moment(attr: &str) -> Option<Read> {
    Some(match attr {
        "arguments_digest" => |f| f.step().map(|q| Value::Text(&q.arguments_digest)),
        "arguments_size" => |f| f.step().map(|q| Value::Long(q.arguments_size)),
        "arguments.flags" => |f| f.step().map(|q| Value::Set(&q.arguments.flags)),
        "authorized" => |f| f.ended().map(|q| Value::Bool(q.authorized)),
        "cost_microusd" => |f| f.ended().map(|q| Value::Long(q.cost_microusd)),
        "declared_tools" => |f| match &f.inputs.question {
            Question::Start(q) => Some(Value::Set(&q.declared_tools)),
            _ => None,
        },
        "duration_ms" => |f| f.ended().map(|q| Value::Long(q.duration_ms)),
        "error_code" => |f| f.ended().and_then(|q| word(&q.error_code)),
        "intent" => |f| f.step().and_then(|q| word(&q.intent)),
        "method" => |f| f.step().and_then(|q| word(&q.method)),
        "mode" => |f| f.step().and_then(|q| word(&q.mode)),
        "outcome" => |f| match &f.inputs.question {
            Question::Ended(q) => Some(Value::Text(q.outcome.as_str())),
            Question::End(q) => Some(Value::Text(&q.outcome)),
            _ => None,
        },
        "output_labels" => |f| f.ended().map(|q| Value::Set(&q.output_labels)),
        "output_size" => |f| f.ended().map(|q| Value::Long(q.output_size)),
        "retry_count" => |f| f.ended().and_then(|q| long(q.retry_count)),
        "step_index" => |f| match &f.inputs.question {
            Question::Step(q) => long(q.step_index),
            Question::Ended(q) => long(q.step_index),
            _ => None,
        },
        "termination_reason" => |f| match &f.inputs.question {
            Question::End(q) => Some(Value::Text(&q.termination_reason)),
            _ => None,
        },
        "tokens" => |f| f.ended().map(|q| Value::Long(q.tokens_input.saturating_add(q.tokens_output))),
        _ => return None,
    })
}
