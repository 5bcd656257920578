//! Refuses requests that are wrong whatever the state, with all violations at once.

mod evidence;
mod replay;

use contracts_common::common::v1::{Amounts, ErrorClass, OutcomeCategory, RunSource, StepKind, StepOutcome};
use contracts_spine::v1::{
    Argument, AuthorizeStepRequest, CancelRunRequest, CompleteRunRequest, CreatePolicyEvaluationRequest,
    DriveContractRequest, PauseRunRequest, RecordStepRequest, RenewLeaseRequest, ResumeRunRequest,
    StartRunRequest, StepPayloadDirection, argument::Value,
};
use runspine_errors::{Outcome, Violations, mesh::FIELD_INVALID};
use runspine_types::{is_code, is_uuid, is_uuid_v7};

use super::limits;
pub(crate) use evidence::capture;
pub(crate) use replay::{MOST_LABELS, finish_replay, replay, replay_step};

const INVALID: &str = "FIELD_INVALID";

/// Checks of one request, collected.
struct Checks(Violations);

impl Checks {
    fn new() -> Self {
        Self(Violations::new())
    }

    fn done(self) -> Outcome<()> {
        self.0.into_result(&FIELD_INVALID)
    }

    fn text(&mut self, field: &str, text: &str, range: std::ops::RangeInclusive<usize>) {
        let length = text.chars().count();
        if !range.contains(&length) {
            let (from, to) = (range.start(), range.end());
            self.0.add(field, INVALID, format!("{from} to {to} characters, not {length}"));
        } else if text.chars().any(char::is_control) {
            self.0.add(field, INVALID, "holds a control character");
        }
    }

    fn run(&mut self, run_id: &str) {
        self.0.require(is_uuid_v7(run_id), "run_id", INVALID, "a UUIDv7 in hyphenated lower-case form");
    }

    fn request(&mut self, request_id: &str) {
        let what = "a UUID in hyphenated lower-case form";
        self.0.require(is_uuid(request_id), "request_id", INVALID, what);
    }

    /// A digest that may be absent.
    fn digest(&mut self, field: &str, bytes: &[u8]) {
        self.0.require(matches!(bytes.len(), 0 | 32), field, INVALID, "32 bytes, or absent");
    }

    fn not_negative(&mut self, field: &str, value: i64) {
        self.0.require(value >= 0, field, INVALID, "at least 0");
    }

    fn amounts(&mut self, field: &str, amounts: Option<&Amounts>) {
        let Some(a) = amounts else { return };
        self.not_negative(&format!("{field}.cost_microusd"), a.cost_microusd);
        self.not_negative(&format!("{field}.tokens_input"), a.tokens_input);
        self.not_negative(&format!("{field}.tokens_output"), a.tokens_output);
        self.not_negative(&format!("{field}.duration_ms"), a.duration_ms);
    }

    /// A number that is absent (0) or within its range.
    fn optional_range(&mut self, field: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
        if value != 0 && !range.contains(&value) {
            let (from, to) = (range.start(), range.end());
            self.0.add(field, INVALID, format!("{from} to {to}, not {value}"));
        }
    }

    /// An enum field that must be set to a number this version knows.
    fn stated<E: TryFrom<i32>>(&mut self, field: &str, number: i32) {
        if number == 0 {
            self.0.add(field, "ENUM_UNSPECIFIED", "must be stated");
        } else {
            self.known::<E>(field, number);
        }
    }

    fn known<E: TryFrom<i32>>(&mut self, field: &str, number: i32) {
        if E::try_from(number).is_err() {
            self.0.add(field, "ENUM_UNKNOWN", format!("{number} is not known to this version"));
        }
    }
}

/// Checks a start.
pub fn start(r: &StartRunRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    if !r.run_id.is_empty() {
        c.run(&r.run_id);
    }
    c.text("project_id", &r.project_id, 1..=limits::ID);
    c.text("agent_id", &r.agent_id, 1..=limits::ID);
    c.text("origin_system_id", &r.origin_system_id, 1..=limits::ID);
    c.text("agent_version", &r.agent_version, 0..=limits::ID);
    c.text("human_actor_id", &r.human_actor_id, 0..=limits::ID);
    if !r.parent_run_id.is_empty() {
        c.0.require(is_uuid_v7(&r.parent_run_id), "parent_run_id", INVALID, "a UUIDv7");
    }
    c.known::<RunSource>("source", r.source);
    let otlp = r.source() == RunSource::Otlp;
    c.0.require(!otlp, "source", INVALID, "OTLP runs are made by the ingest of spans only");
    c.0.require(r.priority.is_none_or(|p| p <= 9), "priority", INVALID, "0 to 9");
    let goals = usize::from(!r.goal.is_empty()) + usize::from(!r.goal_digest.is_empty());
    c.0.require(goals == 1, "goal", INVALID, "exactly one of goal and goal_digest");
    c.0.require(r.goal.chars().count() <= limits::GOAL, "goal", INVALID, "at most 8,000 characters");
    c.digest("goal_digest", &r.goal_digest);
    c.amounts("requested", r.requested.as_ref());
    c.optional_range("run_timeout_ms", r.run_timeout_ms, 1_000..=86_400_000);
    c.optional_range("lease_ttl_ms", r.lease_ttl_ms, 5_000..=300_000);
    c.optional_range("max_attempts", u64::from(r.max_attempts), 1..=10);
    c.optional_range("max_inflight", u64::from(r.max_inflight), 1..=256);
    labels(&mut c, r);
    c.0.require(r.declared_tools.len() <= limits::TOOLS, "declared_tools", INVALID, "at most 256 names");
    for (i, tool) in r.declared_tools.iter().enumerate() {
        c.text(&format!("declared_tools[{i}]"), tool, 1..=limits::NAME);
    }
    let tools = r.declared_tools.iter().map(String::len);
    let words: usize = r.labels.iter().map(|(k, v)| k.len() + v.len()).chain(tools).sum();
    let what = "with the labels at most 12 KiB";
    c.0.require(words <= limits::START_WORDS, "declared_tools", INVALID, what);
    let known = r.environment.as_ref().is_none_or(super::environment::is_known);
    let what = "sdk_mode INLINE, ASYNC, DEGRADED or OFFLINE; environment PROD, STAGING, DEV or SANDBOX";
    c.0.require(known, "environment", "ENUM_UNKNOWN", what);
    let scenario = !r.synthetic_scenario_id.is_empty();
    let what = "required when is_synthetic is true, refused otherwise";
    c.0.require(scenario == r.is_synthetic, "synthetic_scenario_id", INVALID, what);
    c.text("synthetic_scenario_id", &r.synthetic_scenario_id, 0..=limits::ID);
    c.done()
}

fn labels(c: &mut Checks, r: &StartRunRequest) {
    let (most, key_most, value_most) = limits::LABELS;
    c.0.require(r.labels.len() <= most, "labels", INVALID, "at most 32 pairs");
    for (key, value) in &r.labels {
        c.text(&format!("labels[{key}]"), key, 1..=key_most);
        c.text(&format!("labels[{key}].value"), value, 0..=value_most);
    }
}

/// Checks the question about a step.
pub fn authorize(r: &AuthorizeStepRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(&r.run_id);
    c.stated::<StepKind>("kind", r.kind);
    c.text("name", &r.name, 1..=limits::NAME);
    c.text("resource", &r.resource, 0..=limits::NAME);
    for (field, text) in [
        ("provider", &r.provider),
        ("model", &r.model),
        ("tool", &r.tool),
        ("mode", &r.mode),
        ("method", &r.method),
        ("intent", &r.intent),
    ] {
        c.text(field, text, 0..=limits::NAME);
    }
    c.text("approval_id", &r.approval_id, 0..=limits::ID);
    c.text("external_ref", &r.external_ref, 0..=limits::ID);
    c.digest("arguments_digest", &r.arguments_digest);
    c.digest("parameters_digest", &r.parameters_digest);
    c.amounts("estimate", r.estimate.as_ref());
    let spawns = r.kind() == StepKind::SpawnAgent;
    let what = "a UUIDv7, with SPAWN_AGENT only";
    let spawned = r.spawned_run_id.is_empty() || (spawns && is_uuid_v7(&r.spawned_run_id));
    c.0.require(spawned, "spawned_run_id", INVALID, what);
    arguments(&mut c, &r.arguments);
    c.done()
}

fn arguments(c: &mut Checks, arguments: &[Argument]) {
    let (most, bytes_most) = limits::ARGUMENTS;
    let (text_most, list_most) = limits::ARGUMENT;
    c.0.require(arguments.len() <= most, "arguments", "ARGUMENTS_TOO_LARGE", "at most 64 keys");
    let mut bytes = 0;
    for (i, argument) in arguments.iter().enumerate() {
        let field = format!("arguments[{i}]");
        c.text(&format!("{field}.key"), &argument.key, 1..=limits::ID);
        bytes += argument.key.len();
        let mut texts: Vec<&String> = Vec::new();
        match &argument.value {
            None => c.0.add(format!("{field}.value"), INVALID, "must be stated"),
            Some(Value::Text(text)) => texts.push(text),
            Some(Value::List(list)) => {
                c.0.require(
                    list.values.len() <= list_most,
                    &field,
                    "ARGUMENTS_TOO_LARGE",
                    "at most 64 values",
                );
                texts.extend(&list.values);
            }
            Some(Value::Number(_) | Value::Flag(_)) => bytes += 8,
        }
        for text in texts {
            bytes += text.len();
            c.0.require(
                text.len() <= text_most,
                &field,
                "ARGUMENTS_TOO_LARGE",
                "at most 1,024 bytes of text",
            );
        }
    }
    c.0.require(bytes <= bytes_most, "arguments", "ARGUMENTS_TOO_LARGE", "at most 16 KiB together");
}

/// Checks the report of a step.
pub fn record(r: &RecordStepRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(&r.run_id);
    if let Some(resolution) = &r.resolution {
        c.0.require(r.outcome == 0, "outcome", INVALID, "not beside a resolution");
        c.0.require(resolution.position > 0, "resolution.position", INVALID, "at least 1");
        let outcome = resolution.outcome();
        let settles = matches!(outcome, StepOutcome::Success | StepOutcome::Failure);
        c.0.require(settles, "resolution.outcome", INVALID, "SUCCESS or FAILURE");
        c.text("resolution.reason", &resolution.reason, limits::NOTE);
        c.digest("resolution.evidence_digest", &resolution.evidence_digest);
        return c.done();
    }
    c.stated::<StepOutcome>("outcome", r.outcome);
    c.known::<OutcomeCategory>("outcome_category", r.outcome_category);
    c.known::<ErrorClass>("error_class", r.error_class);
    c.known::<StepKind>("kind", r.kind);
    let code = r.outcome_code.is_empty() || is_code(&r.outcome_code);
    c.0.require(code, "outcome_code", INVALID, "1 to 64 characters of A-Z, 0-9 and _");
    let done = matches!(r.outcome(), StepOutcome::Success | StepOutcome::Failure);
    for (field, digest) in [("input_digest", &r.input_digest), ("output_digest", &r.output_digest)] {
        if done && digest.is_empty() {
            c.0.add(field, INVALID, "required for SUCCESS and FAILURE");
        }
        c.digest(field, digest);
    }
    c.digest("parameters_digest", &r.parameters_digest);
    used(&mut c, r);
    if r.decision_id.is_empty() {
        c.text("name", &r.name, 1..=limits::NAME);
        c.stated::<StepKind>("kind", r.kind);
    }
    c.text("decision_id", &r.decision_id, 0..=limits::ID);
    c.text("external_ref", &r.external_ref, 0..=limits::ID);
    let labels = r.output_labels.len() <= limits::OUTPUT_LABELS;
    c.0.require(labels, "output_labels", INVALID, "at most 32");
    payloads(&mut c, r);
    c.done()
}

fn payloads(c: &mut Checks, r: &RecordStepRequest) {
    for (i, payload) in r.payloads.iter().enumerate() {
        c.stated::<StepPayloadDirection>(&format!("payloads[{i}].direction"), payload.direction);
        let fits = payload.media_type.len() <= 128 && payload.subject.len() <= 256;
        let what = "a media type of at most 128 bytes and a subject of at most 256";
        c.0.require(fits, &format!("payloads[{i}]"), INVALID, what);
    }
    let mut sides: Vec<i32> = r.payloads.iter().map(|payload| payload.direction).collect();
    sides.sort_unstable();
    let once = sides.windows(2).all(|pair| pair[0] != pair[1]);
    c.0.require(once, "payloads", INVALID, "at most one for each side");
}

fn used(c: &mut Checks, r: &RecordStepRequest) {
    for (field, value) in [
        ("tokens_input", r.tokens_input),
        ("tokens_output", r.tokens_output),
        ("cache_read_tokens", r.cache_read_tokens),
        ("cache_write_tokens", r.cache_write_tokens),
        ("reasoning_tokens", r.reasoning_tokens),
        ("cost_microusd", r.cost_microusd.unwrap_or(0)),
        ("duration_us", r.duration_us),
    ] {
        c.not_negative(field, value);
    }
}

/// Checks the end of an attempt.
pub fn complete(r: &CompleteRunRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(&r.run_id);
    let ends = matches!(r.outcome(), StepOutcome::Success | StepOutcome::Failure);
    c.0.require(ends, "outcome", INVALID, "SUCCESS or FAILURE");
    c.known::<ErrorClass>("error_class", r.error_class);
    let failed = r.outcome() == StepOutcome::Failure;
    let code = if failed { is_code(&r.error_code) } else { r.error_code.is_empty() };
    c.0.require(code, "error_code", INVALID, "a code of A-Z, 0-9 and _ for FAILURE, absent for SUCCESS");
    let short = r.error_message.chars().count() <= limits::ERROR_MESSAGE;
    c.0.require(short, "error_message", INVALID, "at most 1,024 characters");
    c.0.require(r.reward_permille.is_none_or(|p| p <= 1_000), "reward_permille", INVALID, "0 to 1,000");
    c.done()
}

/// Checks a pause.
pub fn pause(r: &PauseRunRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.run(&r.run_id);
    c.text("note", &r.note, limits::NOTE);
    c.optional_range("sla_s", u64::from(r.sla_s), 60..=86_400);
    c.known::<contracts_spine::v1::PauseTimeout>("on_timeout", r.on_timeout);
    c.done()
}

/// Checks a resume.
pub fn resume(r: &ResumeRunRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.run(&r.run_id);
    c.text("note", &r.note, limits::NOTE);
    c.done()
}

/// Checks a cancel.
pub fn cancel(r: &CancelRunRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.run(&r.run_id);
    c.text("note", &r.note, limits::NOTE);
    c.known::<contracts_spine::v1::CancelMode>("mode", r.mode);
    c.0.require(r.drain_ms.is_none_or(|d| d <= 60_000), "drain_ms", INVALID, "0 to 60,000");
    c.done()
}

/// Checks an order to drive a promise.
pub fn drive(r: &DriveContractRequest) -> Outcome<()> {
    let mut c = Checks::new();
    let named =
        (1..=64).contains(&r.saga.len()) && r.saga.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    c.0.require(named, "saga", INVALID, "1 to 64 of a to z and _");
    c.0.require(is_uuid(&r.subject_id), "subject_id", INVALID, "a UUID in hyphenated lower-case form");
    c.0.require(r.attempt >= 1, "attempt", INVALID, "counts from 1");
    c.text("reason", &r.reason, 1..=500);
    c.request(&r.request_id);
    c.done()
}

/// Checks a heartbeat or a claim; it may do without an id of its own.
pub fn renew(r: &RenewLeaseRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(&r.run_id);
    if !r.request_id.is_empty() {
        c.request(&r.request_id);
    }
    c.text("holder", &r.holder, 0..=128);
    c.done()
}

/// Checks the id of a run that is only read.
pub fn run_id(run_id: &str) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(run_id);
    c.done()
}

/// Checks which attempt is to be judged.
pub fn judge(r: &CreatePolicyEvaluationRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.run(&r.run_id);
    c.0.require(r.attempt >= 1, "attempt", INVALID, "from 1");
    c.done()
}
