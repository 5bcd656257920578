//! Checks what single contracts and all of them together promise.

use std::collections::{HashMap, HashSet};

use contracts_common::contract::v1::{Commit, Exposure, Idempotency};
use prost_reflect::{Kind, MessageDescriptor};

use super::{EventContract, Operation, Problem};

pub(super) fn check(operations: &[Operation], events: &[EventContract]) -> Vec<Problem> {
    let names: HashSet<&str> = operations.iter().map(|op| op.name.as_str()).collect();
    let mut problems = Vec::new();
    for op in operations {
        problems.extend(calls(op, &names));
        problems.extend(key(op));
        problems.extend(shape(op));
    }
    problems.extend(duplicates("operation", operations.iter().map(|op| op.name.as_str())));
    problems.extend(duplicates("event", events.iter().map(|e| e.name.as_str())));
    problems.extend(events.iter().filter_map(event));
    problems
}

fn calls(op: &Operation, names: &HashSet<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for call in &op.calls {
        if !names.contains(call.as_str()) {
            let what = format!("calls {call}, which does not exist");
            problems.push(Problem::new(&op.name, Problem::CALL_UNKNOWN, what));
        }
    }
    if op.domain != "spine" && !op.calls.is_empty() {
        problems.push(Problem::new(&op.name, Problem::DOMAIN_CALLS, "domains never call domains"));
    }
    problems
}

fn key(op: &Operation) -> Vec<Problem> {
    if op.idempotency != Idempotency::Keyed {
        return Vec::new();
    }
    // A stream is keyed per frame, so its key fields may stand anywhere below the frame.
    let Some(input) = op.input().filter(|_| !op.client_streaming) else { return Vec::new() };
    let missing = op.key_fields().filter(|path| !has_path(input, path));
    let text = |path: &str| format!("KEYED, but the request has no field {path}");
    missing.map(|path| Problem::new(&op.name, Problem::KEY_MISSING, text(path))).collect()
}

/// `a`, or `a.b` through messages and lists of messages.
fn has_path(message: &MessageDescriptor, path: &str) -> bool {
    let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
    let Some(field) = message.get_field_by_name(head) else { return false };
    match (rest, field.kind()) {
        (None, _) => true,
        (Some(rest), Kind::Message(inner)) => has_path(&inner, rest),
        (Some(_), _) => false,
    }
}

fn shape(op: &Operation) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |code, what: &str| problems.push(Problem::new(&op.name, code, what));
    if !is_permission(&op.permission) {
        add(Problem::PERMISSION_INVALID, "the permission must be `resource.verb`");
    }
    if op.domain == "spine" && op.exposure == Exposure::Mesh {
        add(Problem::EXPOSURE_INVALID, "the spine is the door: its RPCs are ENTRY");
    }
    if op.commit == Commit::Owns && op.idempotency == Idempotency::NoSideEffects {
        add(Problem::IDEMPOTENCY_INVALID, "it may write, so it has side effects");
    }
    if op.is_unary() && op.deadline.is_none() {
        add(Problem::DEADLINE_MISSING, "a unary RPC must have deadline_ms");
    }
    problems
}

fn is_permission(text: &str) -> bool {
    let word = |w: &str| {
        !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split_once('.').is_some_and(|(resource, verb)| word(resource) && word(verb))
}

fn duplicates<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *seen.entry(name).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, n)| *n > 1);
    twice
        .map(|(name, n)| Problem::new(name, Problem::NAME_DUPLICATE, format!("{n} {kind}s have this name")))
        .collect()
}

fn event(event: &EventContract) -> Option<Problem> {
    let named = event.name.split_once('.').is_some_and(|(domain, name)| {
        domain == event.domain && name.starts_with(|c: char| c.is_ascii_uppercase())
    });
    let versioned = event.version.split('.').filter(|p| p.parse::<u32>().is_ok()).count() == 3;
    if named && versioned {
        return None;
    }
    let what = format!(
        "name {:?} must be `<domain>.<Event>`, version {:?} `major.minor.patch`",
        event.name, event.version
    );
    Some(Problem::new(&event.message, Problem::EVENT_INVALID, what))
}
