//! Conditions as conjunctions of atoms, read from Cedar's own JSON form of a policy.

use cedar_policy::Policy;
use serde_json::Value;

/// The most conjunctions that a condition is normalized to.
pub(super) const MAX_CONJUNCTIONS: usize = 64;

/// A comparison of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Compare {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Unequal,
}

impl Compare {
    const fn negated(self) -> Self {
        match self {
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
            Self::AtLeast => Self::Less,
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
        }
    }

    /// The comparison seen from the other side.
    const fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            same => same,
        }
    }
}

/// A pattern with one star at most, at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    Prefix(String),
    Suffix(String),
    Exact(String),
    Anything,
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Prefix(p) => text.starts_with(p.as_str()),
            Self::Suffix(s) => text.ends_with(s.as_str()),
            Self::Exact(e) => text == e,
            Self::Anything => true,
        }
    }

    /// Whether everything that `other` matches is matched.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anything, _) => true,
            (_, Self::Exact(e)) => self.matches(e),
            (Self::Prefix(a), Self::Prefix(b)) => b.starts_with(a.as_str()),
            (Self::Suffix(a), Self::Suffix(b)) => b.ends_with(a.as_str()),
            _ => false,
        }
    }
}

/// What is asked of a request: all that conjunctions are made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// An integer at a path.
    Number(String, Compare, i64),
    /// A text or an entity at a path, and whether it is this one.
    Word(String, String, bool),
    /// A text at a path, and whether it is like this.
    Like(String, Pattern, bool),
    /// Anything else that is true or false: a flag, membership, the presence of an attribute.
    Flag(String, bool),
}

/// A condition in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Normal {
    /// At least one of them holds.
    pub conjunctions: Vec<Vec<Atom>>,
    /// What can't be told here; then nothing is claimed about the condition.
    pub opaque: Option<String>,
}

impl Normal {
    /// The condition of a policy.
    pub(super) fn of(policy: &Policy) -> Self {
        let unreadable = |what: String| Self { conjunctions: Vec::new(), opaque: Some(what) };
        let json = match policy.to_json() {
            Ok(json) => json,
            Err(error) => return unreadable(error.to_string()),
        };
        let mut conjunctions = vec![Vec::new()];
        let none = Vec::new();
        for clause in json.get("conditions").and_then(Value::as_array).unwrap_or(&none) {
            let wanted = clause.get("kind").and_then(Value::as_str) == Some("when");
            let Some(body) = clause.get("body") else {
                return unreadable("a clause without a body".to_owned());
            };
            match normal(body, wanted).and_then(|more| product(&conjunctions, &more)) {
                Ok(joined) => conjunctions = joined,
                Err(what) => return unreadable(what),
            }
        }
        Self { conjunctions, opaque: None }
    }
}

type Conjunctions = Vec<Vec<Atom>>;

fn limited(all: Conjunctions) -> Result<Conjunctions, String> {
    if all.len() > MAX_CONJUNCTIONS {
        return Err(format!("more than {MAX_CONJUNCTIONS} conjunctions"));
    }
    Ok(all)
}

fn product(left: &Conjunctions, right: &Conjunctions) -> Result<Conjunctions, String> {
    if left.len().saturating_mul(right.len()) > MAX_CONJUNCTIONS {
        return Err(format!("more than {MAX_CONJUNCTIONS} conjunctions"));
    }
    let join = |l: &Vec<Atom>, r: &Vec<Atom>| l.iter().chain(r).cloned().collect::<Vec<_>>();
    Ok(left.iter().flat_map(|l| right.iter().map(move |r| join(l, r))).collect())
}

/// An expression that is true (`wanted`) or false, as conjunctions.
fn normal(expr: &Value, wanted: bool) -> Result<Conjunctions, String> {
    let Some((op, args)) = expr.as_object().and_then(|o| o.iter().next()) else { return Err(short(expr)) };
    let side = |name: &str| args.get(name).ok_or_else(|| short(expr));
    match op.as_str() {
        "&&" | "||" => {
            let (left, right) = (normal(side("left")?, wanted)?, normal(side("right")?, wanted)?);
            // Not both is one of them not.
            if (op == "&&") == wanted {
                product(&left, &right)
            } else {
                limited(left.into_iter().chain(right).collect())
            }
        }
        "!" => normal(side("arg")?, !wanted),
        "Value" => match args.as_bool() {
            Some(value) if value == wanted => Ok(vec![Vec::new()]),
            Some(_) => Ok(Vec::new()),
            None => Err(short(expr)),
        },
        _ => Ok(vec![vec![atom(op, args, wanted).ok_or_else(|| short(expr))?]]),
    }
}

fn short(expr: &Value) -> String {
    let text = expr.to_string();
    text.chars().take(120).collect()
}

fn atom(op: &str, args: &Value, wanted: bool) -> Option<Atom> {
    match op {
        "<" | "<=" | ">" | ">=" | "==" | "!=" => compare(op, args, wanted),
        "like" => {
            let pattern = pattern(args.get("pattern")?)?;
            Some(Atom::Like(path(args.get("left")?)?, pattern, wanted))
        }
        "contains" | "in" => {
            let (left, right) = (path(args.get("left")?)?, literal(args.get("right")?)?);
            Some(Atom::Flag(format!("{left} {op} {right}"), wanted))
        }
        "containsAny" | "containsAll" => {
            let (left, right) = (path(args.get("left")?)?, literals(args.get("right")?)?);
            Some(Atom::Flag(format!("{left} {op} {right}"), wanted))
        }
        "has" => Some(Atom::Flag(
            format!("{} has {}", path(args.get("left")?)?, args.get("attr")?.as_str()?),
            wanted,
        )),
        "hasTag" => Some(Atom::Flag(
            format!("{} has {}", path(args.get("left")?)?, literal(args.get("right")?)?),
            wanted,
        )),
        "is" if args.get("in").is_none() => {
            let (left, kind) = (path(args.get("left")?)?, args.get("entity_type")?.as_str()?);
            Some(Atom::Flag(format!("{left} is {kind}"), wanted))
        }
        "." | "getTag" => {
            let expr = Value::Object([(op.to_owned(), args.clone())].into_iter().collect());
            Some(Atom::Flag(path(&expr)?, wanted))
        }
        _ => None,
    }
}

fn compare(op: &str, args: &Value, wanted: bool) -> Option<Atom> {
    let (left, right) = (args.get("left")?, args.get("right")?);
    let of = match op {
        "<" => Compare::Less,
        "<=" => Compare::AtMost,
        ">" => Compare::Greater,
        ">=" => Compare::AtLeast,
        "==" => Compare::Equal,
        _ => Compare::Unequal,
    };
    let (at, value, of) = match (path(left), path(right)) {
        (Some(at), None) => (at, right, of),
        (None, Some(at)) => (at, left, of.turned()),
        _ => return None,
    };
    let of = if wanted { of } else { of.negated() };
    let value_of = value.get("Value")?;
    if let Some(n) = value_of.as_i64() {
        return Some(Atom::Number(at, of, n));
    }
    match (of, value_of.as_bool()) {
        (Compare::Equal, Some(b)) => return Some(Atom::Flag(at, b)),
        (Compare::Unequal, Some(b)) => return Some(Atom::Flag(at, !b)),
        _ => {}
    }
    let word = literal(value)?;
    match of {
        Compare::Equal => Some(Atom::Word(at, word, true)),
        Compare::Unequal => Some(Atom::Word(at, word, false)),
        _ => None,
    }
}

/// Where a value is read: a variable and the attributes and tags below it.
pub(crate) fn path(expr: &Value) -> Option<String> {
    let (op, args) = expr.as_object()?.iter().next()?;
    match op.as_str() {
        "Var" => args.as_str().map(ToOwned::to_owned),
        "." => Some(format!("{}.{}", path(args.get("left")?)?, args.get("attr")?.as_str()?)),
        "getTag" => Some(format!("{}[{}]", path(args.get("left")?)?, literal(args.get("right")?)?)),
        _ => None,
    }
}

/// A literal text or entity, in one form.
fn literal(expr: &Value) -> Option<String> {
    let value = expr.get("Value")?;
    if let Some(text) = value.as_str() {
        return Some(format!("{text:?}"));
    }
    if let Some(n) = value.as_i64() {
        return Some(n.to_string());
    }
    let entity = value.get("__entity")?;
    Some(format!("{}::{:?}", entity.get("type")?.as_str()?, entity.get("id")?.as_str()?))
}

fn literals(expr: &Value) -> Option<String> {
    let list: Option<Vec<String>> = expr.get("Set")?.as_array()?.iter().map(literal).collect();
    let mut list = list?;
    list.sort();
    Some(list.join(","))
}

pub(crate) fn pattern(expr: &Value) -> Option<Pattern> {
    let text = |v: &Value| v.get("Literal").and_then(Value::as_str).map(ToOwned::to_owned);
    let star = |v: &Value| v.as_str() == Some("Wildcard");
    // Cedar writes one literal for each character.
    let parts = expr.as_array()?;
    let stars: Vec<usize> = parts.iter().enumerate().filter(|(_, p)| star(p)).map(|(n, _)| n).collect();
    let joined: Option<Vec<String>> = parts.iter().filter(|p| !star(p)).map(text).collect();
    let joined = joined?.concat();
    match stars.as_slice() {
        [] => Some(Pattern::Exact(joined)),
        [0] if parts.len() == 1 => Some(Pattern::Anything),
        [0] => Some(Pattern::Suffix(joined)),
        [n] if *n + 1 == parts.len() => Some(Pattern::Prefix(joined)),
        _ => None,
    }
}
