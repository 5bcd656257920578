//! Obligations: what goes with a verdict, in one grammar, with one way to merge each.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::words::{ApprovalLevel, Outcome};

/// An item of `@obligations`, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Obligation {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// With which outcomes an obligation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GoesWith {
    Any,
    Modify,
    Defer,
    Approval,
}

/// How equal obligations of several rules become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merge {
    Union,
    Minimum,
    Maximum,
    Equal,
    Or,
    Strictest,
    Highest,
}

/// What the arguments must be.
#[derive(Clone, Copy)]
enum Args {
    None,
    Paths,
    Labels,
    Integer(i64, i64),
    Word,
    Words,
    Sandbox,
    Level,
}

/// From loose to strict.
const SANDBOXES: [&str; 4] = ["PERMISSIVE", "STANDARD", "RESTRICTED", "HIGH_SECURITY"];

fn table(name: &str) -> Option<(GoesWith, Merge, Args)> {
    Some(match name {
        "redact" | "drop" => (GoesWith::Modify, Merge::Union, Args::Paths),
        "cap_tokens" => (GoesWith::Modify, Merge::Minimum, Args::Integer(1, 10_000_000)),
        "cap_cost" | "cap_duration" => (GoesWith::Modify, Merge::Minimum, Args::Integer(1, i64::MAX)),
        "cap_rows" => (GoesWith::Modify, Merge::Minimum, Args::Integer(1, 1_000_000)),
        "use_model" => (GoesWith::Modify, Merge::Equal, Args::Word),
        "dry_run" => (GoesWith::Modify, Merge::Or, Args::None),
        "sandbox" => (GoesWith::Modify, Merge::Strictest, Args::Sandbox),
        "taint" | "label" => (GoesWith::Any, Merge::Union, Args::Labels),
        "notify" => (GoesWith::Any, Merge::Union, Args::Word),
        "level" => (GoesWith::Approval, Merge::Highest, Args::Level),
        "quorum" => (GoesWith::Approval, Merge::Maximum, Args::Integer(1, 5)),
        "expires" => (GoesWith::Approval, Merge::Minimum, Args::Integer(60, 86_400)),
        "no_auto" => (GoesWith::Approval, Merge::Or, Args::None),
        "retry_after" => (GoesWith::Defer, Merge::Maximum, Args::Integer(100, 3_600_000)),
        "needs" => (GoesWith::Defer, Merge::Union, Args::Words),
        _ => return None,
    })
}

/// What is wrong with an item, with its bytes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObligationError {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses `item { ";" item }` for a rule with this outcome; all that is wrong comes at once.
///
/// # Errors
/// When an item is unknown, has wrong arguments, stands twice, or can't go with the outcome.
pub fn parse(text: &str, outcome: Outcome) -> Result<Vec<Obligation>, Vec<ObligationError>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let mut start = 0;
    for part in text.split(';') {
        let lead = part.len() - part.trim_start().len();
        let item = part.trim();
        match parse_item(item, outcome) {
            Ok(o) if found.iter().any(|f: &Obligation| f.name == o.name) => {
                errors.push(error(start + lead, item, format!("`{}` stands twice", o.name)));
            }
            Ok(o) => found.push(o),
            Err(message) => errors.push(error(start + lead, item, message)),
        }
        start += part.len() + 1;
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn error(start: usize, item: &str, message: String) -> ObligationError {
    ObligationError { start, end: start + item.len(), message }
}

fn parse_item(item: &str, outcome: Outcome) -> Result<Obligation, String> {
    if item.is_empty() {
        return Err("an obligation is missing here".to_owned());
    }
    let (name, args) = match item.split_once('(') {
        None => (item, Vec::new()),
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or("the closing parenthesis is missing")?;
            (name.trim(), inner.split(',').map(|a| a.trim().to_owned()).collect())
        }
    };
    let (goes, _, wanted) = table(name).ok_or_else(|| format!("no obligation is called `{name}`"))?;
    check_args(name, &args, wanted)?;
    let fits = match goes {
        GoesWith::Any => true,
        GoesWith::Modify => matches!(outcome, Outcome::Modify | Outcome::RequireApproval),
        GoesWith::Defer => outcome == Outcome::Defer,
        GoesWith::Approval => outcome == Outcome::RequireApproval,
    };
    if !fits {
        return Err(format!("`{name}` does not go with the outcome `{}`", outcome.as_str()));
    }
    if name == "sandbox" && args[0] == "HIGH_SECURITY" && outcome != Outcome::RequireApproval {
        return Err("the sandbox HIGH_SECURITY goes only with `require_approval`".to_owned());
    }
    Ok(Obligation { name: name.to_owned(), args })
}

fn check_args(name: &str, args: &[String], wanted: Args) -> Result<(), String> {
    let count = |min: usize, max: usize| {
        if (min..=max).contains(&args.len()) {
            return Ok(());
        }
        Err(match (min, max) {
            (0, 0) => format!("`{name}` takes no arguments"),
            (1, 1) => format!("`{name}` takes one argument"),
            _ => format!("`{name}` takes {min} to {max} arguments"),
        })
    };
    let each = |ok: fn(&str) -> bool, what: &str| match args.iter().find(|a| !ok(a)) {
        Some(bad) => Err(format!("`{bad}` is not {what}")),
        None => Ok(()),
    };
    match wanted {
        Args::None => count(0, 0),
        Args::Paths => count(1, 32).and_then(|()| each(is_path, "a dotted argument path")),
        Args::Labels => count(1, 8).and_then(|()| each(is_word, "a label")),
        Args::Words => count(1, 32).and_then(|()| each(is_path, "the name of a fact")),
        Args::Word => count(1, 1).and_then(|()| each(is_word, "a word")),
        Args::Level => {
            let known = |a: &str| ApprovalLevel::from_text(a).is_some();
            count(1, 1).and_then(|()| each(known, "SELF, TEAM_MEMBER, TEAM_LEAD, MANAGER or OWNER"))
        }
        Args::Sandbox => count(1, 1).and_then(|()| each(|a| SANDBOXES.contains(&a), "a sandbox profile")),
        Args::Integer(min, max) => count(1, 1).and_then(|()| match args[0].parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) && !args[0].starts_with('+') => Ok(()),
            Ok(_) => Err(format!("`{name}` takes an integer from {min} to {max}")),
            Err(_) => Err(format!("`{}` is not an integer", args[0])),
        }),
    }
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'/' | b'@'))
}

fn is_path(text: &str) -> bool {
    text.len() <= 256
        && text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        })
}

/// Obligations that can't be met together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The obligation that differs.
    pub name: String,
}

/// Merges the obligations of several rules: commutative, associative, idempotent.
///
/// # Errors
/// When two rules ask for different models.
pub fn merge<'a>(items: impl IntoIterator<Item = &'a Obligation>) -> Result<Vec<Obligation>, Conflict> {
    let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for item in items {
        by_name.entry(&item.name).or_default().extend(item.args.iter().map(String::as_str));
    }
    // What is dropped need not be redacted.
    let dropped = by_name.get("drop").cloned().unwrap_or_default();
    if let Some(redacted) = by_name.get_mut("redact") {
        redacted.retain(|path| !dropped.contains(path));
        if redacted.is_empty() {
            by_name.remove("redact");
        }
    }
    by_name.into_iter().map(|(name, args)| merge_one(name, args)).collect()
}

fn merge_one(name: &str, args: BTreeSet<&str>) -> Result<Obligation, Conflict> {
    let how = table(name).map_or(Merge::Union, |(_, how, _)| how);
    let number = |a: &&&str| a.parse::<i64>().unwrap_or(0);
    let one = |arg: Option<&&str>| arg.map(|a| (*a).to_owned()).into_iter().collect();
    let args = match how {
        Merge::Union => args.iter().map(|a| (*a).to_owned()).collect(),
        Merge::Or => Vec::new(),
        Merge::Minimum => one(args.iter().min_by_key(number)),
        Merge::Maximum => one(args.iter().max_by_key(number)),
        Merge::Strictest => one(args.iter().max_by_key(|a| SANDBOXES.iter().position(|s| *s == **a))),
        Merge::Highest => {
            one(args.iter().max_by_key(|a| ApprovalLevel::from_text(a).map(ApprovalLevel::code)))
        }
        Merge::Equal if args.len() > 1 => return Err(Conflict { name: name.to_owned() }),
        Merge::Equal => one(args.iter().next()),
    };
    Ok(Obligation { name: name.to_owned(), args })
}

/// Whether the mesh itself applies it, whatever the verdict's kind: taints, labels, notices.
#[must_use]
pub fn is_for_any(name: &str) -> bool {
    table(name).is_some_and(|(goes, ..)| goes == GoesWith::Any)
}

/// Whether it goes with MODIFY: the agent must apply it.
#[must_use]
pub fn is_for_modify(name: &str) -> bool {
    table(name).is_some_and(|(goes, ..)| goes == GoesWith::Modify)
}

/// Merged obligations in their one text: what an approval of the action is for.
#[must_use]
pub fn text(obligations: &[Obligation]) -> String {
    let item = |o: &Obligation| match o.args.is_empty() {
        true => o.name.clone(),
        false => format!("{}({})", o.name, o.args.join(",")),
    };
    obligations.iter().map(item).collect::<Vec<_>>().join(";")
}
