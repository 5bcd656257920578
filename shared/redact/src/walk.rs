//! Walks a payload and takes out what is not to be kept.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    class::{Class, Counts},
    constraints::{Constraints, Operation},
    encoded::{self, Coding, Finder},
    keys::{self, Sensitive},
    patterns::Patterns,
};

/// Levels that are looked at, whether of JSON or of text inside text.
const MAX_DEPTH: usize = 20;
/// Most values of a payload.
const MAX_NODES: usize = 100_000;
/// Most bytes of a string.
const MAX_STRING: usize = 1024 * 1024;
/// Most bytes of a payload.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;
/// Bytes that are looked at for each byte of a payload: text inside text multiplies the work, and this bounds it.
const WORK: usize = 64;
/// Bytes that are looked at however short the payload is.
const LEAST_WORK: usize = 64 * 1024;

/// Nothing shorter holds anything that a pattern finds: `a@b.cd`.
const SHORTEST: usize = 6;

/// What may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Personal data.
    pub pii: bool,
    /// Secrets.
    pub secrets: bool,
}

impl From<Constraints> for Keep {
    fn from(constraints: Constraints) -> Self {
        Self {
            pii: constraints.is_allowed(Operation::CapturePii),
            secrets: constraints.is_allowed(Operation::AccessSecret),
        }
    }
}

/// What remains of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// These bytes, without what was counted.
    Bytes(Vec<u8>, Counts),
    /// Nothing: it is no text, and not everything may stay.
    Nothing,
}

/// The patterns can't be used. Nothing may be stored then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text could not be redacted")]
pub struct RedactionFailed;

/// Makes the patterns ready, so that no first call waits for it.
///
/// # Errors
/// When they can't be used.
pub fn prepare() -> Result<(), RedactionFailed> {
    (Patterns::get().is_some() && Finder::get().is_some()).then_some(()).ok_or(RedactionFailed)
}

/// What may be stored of a payload.
///
/// # Errors
/// When it can't be redacted: then nothing may be.
pub fn payload(bytes: &[u8], keep: Keep) -> Result<Kept, RedactionFailed> {
    let Ok(given) = std::str::from_utf8(bytes) else {
        let all = keep.pii && keep.secrets && bytes.len() <= MAX_PAYLOAD;
        return Ok(if all { Kept::Bytes(bytes.to_vec(), Counts::default()) } else { Kept::Nothing });
    };
    let (text, counts) = redact(given, MAX_PAYLOAD, keep)?;
    Ok(Kept::Bytes(text.into_bytes(), counts))
}

/// What may be stored of a short text: a name, a reason, an error. Text that can't be redacted is replaced whole.
#[must_use]
pub fn text(given: &str, keep: Keep) -> Cow<'_, str> {
    if given.len() < SHORTEST {
        return Cow::Borrowed(given);
    }
    match redact(given, MAX_STRING, keep) {
        Ok((_, counts)) if counts.is_empty() => Cow::Borrowed(given),
        Ok((text, _)) => Cow::Owned(text),
        Err(RedactionFailed) => Cow::Owned("[REDACTED:FAILED]".to_owned()),
    }
}

/// What may be stored of a state in JSON. As [`text`], but always parsed again, so that nothing hides behind a member
/// that is written twice.
#[must_use]
pub fn json(given: &str, keep: Keep) -> String {
    redact(given, MAX_PAYLOAD, keep).map_or_else(|_| "\"[REDACTED:FAILED]\"".to_owned(), |(text, _)| text)
}

fn redact(given: &str, most: usize, keep: Keep) -> Result<(String, Counts), RedactionFailed> {
    let mut walk = Walk {
        patterns: Patterns::get().ok_or(RedactionFailed)?,
        finder: Finder::get().ok_or(RedactionFailed)?,
        keep,
        nodes: 0,
        work: given.len().saturating_mul(WORK) + LEAST_WORK,
        exhausted: given.len() > most,
    };
    let mut counts = Counts::default();
    let text = if walk.exhausted { String::new() } else { walk.string(given, 0, &mut counts) };
    if walk.exhausted {
        let mut counts = Counts::default();
        counts.add(Class::Size);
        return Ok((Class::Size.marker(), counts));
    }
    Ok((text, counts))
}

struct Walk {
    patterns: &'static Patterns,
    finder: &'static Finder,
    keep: Keep,
    nodes: usize,
    work: usize,
    /// More was found than is looked at: the payload is replaced whole.
    exhausted: bool,
}

impl Walk {
    /// A string, or a whole payload: JSON is walked, other text is scanned.
    fn string(&mut self, given: &str, depth: usize, counts: &mut Counts) -> String {
        if depth > MAX_DEPTH {
            return replaced(Class::Depth, counts);
        }
        // A payload is bounded by itself; a string inside of it is not to be that long.
        if depth > 0 && given.len() > MAX_STRING || self.exhausted {
            return replaced(Class::Size, counts);
        }
        if given.trim_start().starts_with(['{', '[']) {
            match serde_json::from_str::<Value>(given) {
                // Written anew in any case: of a member that stands twice only the last was seen.
                Ok(value) => return self.value(value, depth, counts).to_string(),
                Err(_) if nested_deeper(given) => return replaced(Class::Depth, counts),
                Err(_) => {}
            }
        }
        if given.len() > MAX_STRING {
            return replaced(Class::Size, counts);
        }
        self.plain(given, depth, counts)
    }

    fn value(&mut self, value: Value, depth: usize, counts: &mut Counts) -> Value {
        self.nodes += 1;
        self.exhausted |= self.nodes > MAX_NODES;
        if depth > MAX_DEPTH {
            return Value::String(replaced(Class::Depth, counts));
        }
        match value {
            Value::String(text) => Value::String(self.string(&text, depth, counts)),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.value(item, depth + 1, counts)).collect())
            }
            Value::Object(members) => self.object(members, depth, counts),
            Value::Number(number) => {
                let text = number.to_string();
                let without = self.string(&text, depth, counts);
                if without == text { Value::Number(number) } else { Value::String(without) }
            }
            other @ (Value::Null | Value::Bool(_)) => other,
        }
    }

    fn object(&mut self, members: Map<String, Value>, depth: usize, counts: &mut Counts) -> Value {
        let mut out = Map::with_capacity(members.len());
        for (key, value) in members {
            let kept = match keys::sensitive(&key) {
                None => true,
                Some(Sensitive::Secret) => self.keep.secrets,
                Some(Sensitive::Personal) => self.keep.pii,
            };
            let value = if kept || value.is_null() {
                self.value(value, depth + 1, counts)
            } else {
                self.nodes += 1;
                Value::String(replaced(Class::Key, counts))
            };
            let mut name = self.string(&key, depth + 1, counts);
            // Two names that became one must not lose a value.
            while out.contains_key(&name) {
                name.push('\'');
            }
            out.insert(name, value);
        }
        Value::Object(out)
    }

    /// Text that is no JSON: the patterns, then what is encoded in it.
    fn plain(&mut self, given: &str, depth: usize, counts: &mut Counts) -> String {
        let scanned = self.scan(given, counts);
        if let Some(plain) = encoded::unescaped(&scanned) {
            let mut inner = Counts::default();
            let without = self.string(&plain, depth + 1, &mut inner);
            if !inner.is_empty() {
                counts.merge(&inner);
                return without;
            }
        }
        let scanned = self.pieces(scanned, Coding::Percent, depth, counts);
        self.pieces(scanned, Coding::Letters, depth, counts)
    }

    fn scan(&mut self, given: &str, counts: &mut Counts) -> String {
        match self.work.checked_sub(given.len()) {
            Some(left) => self.work = left,
            None => self.exhausted = true,
        }
        if self.exhausted {
            return String::new();
        }
        let keep = (self.keep.pii, self.keep.secrets);
        self.patterns.scan(given, keep, &mut |class| counts.add(class)).into_owned()
    }

    /// Replaces the pieces that hold something.
    fn pieces(&mut self, given: String, coding: Coding, depth: usize, counts: &mut Counts) -> String {
        let pieces = self.finder.pieces(&given, coding);
        if pieces.is_empty() {
            return given;
        }
        let (mut out, mut copied) = (String::with_capacity(given.len()), 0);
        for piece in pieces {
            let Some(without) = self.piece(&given[piece.clone()], coding, depth, counts) else { continue };
            out.push_str(&given[copied..piece.start]);
            out.push_str(&without);
            copied = piece.end;
        }
        out.push_str(&given[copied..]);
        out
    }

    /// What stands for a piece that holds something: the text without it.
    fn piece(&mut self, piece: &str, coding: Coding, depth: usize, counts: &mut Counts) -> Option<String> {
        for text in encoded::decoded(piece, coding) {
            let mut inner = Counts::default();
            let without = self.string(&text, depth + 1, &mut inner);
            if self.exhausted || !inner.is_empty() {
                counts.merge(&inner);
                return Some(without);
            }
        }
        None
    }
}

fn replaced(class: Class, counts: &mut Counts) -> String {
    counts.add(class);
    class.marker()
}

/// Whether brackets nest deeper than is looked at, so that a parser that gave up for that reason hides nothing.
fn nested_deeper(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}
