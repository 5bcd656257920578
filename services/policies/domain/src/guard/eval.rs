//! Expressions over the facts themselves. `None` is "can't be told": what Cedar would fail on is among it.

use super::{Facts, path::Read};
use crate::analysis::Pattern;

/// A value of the language, as far as guards know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Long(i64),
    Text(&'a str),
    Bool(bool),
    Set(&'a [String]),
}

/// What compares two integers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// What makes an integer of two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Plus,
    Minus,
    Times,
}

/// How much of a set another has to hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Share {
    Any,
    All,
}

/// The selected arguments of a type, or the values of monitors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tags {
    Text,
    Number,
    List,
    Monitors,
}

type Two = Box<(Expr, Expr)>;

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Long(i64),
    Text(String),
    Bool(bool),
    Set(Vec<String>),
    /// An attribute.
    Read(Read),
    /// Whether an optional attribute is there.
    Has(fn(Facts<'_>) -> Option<bool>),
    Tag(Tags, String),
    HasTag(Tags, String),
    Not(Box<Expr>),
    And(Two),
    Or(Two),
    If(Box<(Expr, Expr, Expr)>),
    Same(Two, bool),
    Order(Order, Two),
    Sum(Sum, Two),
    Contains(Two),
    Share(Share, Two),
    Empty(Box<Expr>),
    Like(Box<Expr>, Pattern),
}

impl Expr {
    pub(super) fn eval<'a>(&'a self, facts: Facts<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Long(n) => Value::Long(*n),
            Self::Text(t) => Value::Text(t),
            Self::Bool(b) => Value::Bool(*b),
            Self::Set(items) => Value::Set(items),
            Self::Read(read) => return read(facts),
            Self::Has(has) => Value::Bool(has(facts)?),
            Self::Tag(tags, name) => return tags.get(name, facts)?,
            Self::HasTag(tags, name) => Value::Bool(tags.get(name, facts)?.is_some()),
            Self::If(of) if of.0.truth(facts)? => return of.1.eval(facts),
            Self::If(of) => return of.2.eval(facts),
            _ => Value::Bool(match self {
                Self::Sum(sum, of) => return sum.of(of.0.long(facts)?, of.1.long(facts)?).map(Value::Long),
                Self::Not(of) => !of.truth(facts)?,
                Self::And(of) => of.0.truth(facts)? && of.1.truth(facts)?,
                Self::Or(of) => of.0.truth(facts)? || of.1.truth(facts)?,
                Self::Same(of, wanted) => same(of.0.eval(facts)?, of.1.eval(facts)?)? == *wanted,
                Self::Order(order, of) => order.holds(of.0.long(facts)?, of.1.long(facts)?),
                Self::Contains(of) => of.0.set(facts)?.iter().any(in_set(of.1.text(facts)?)),
                Self::Share(share, of) => share.holds(of.0.set(facts)?, of.1.set(facts)?),
                Self::Empty(of) => of.set(facts)?.is_empty(),
                Self::Like(of, pattern) => pattern.matches(of.text(facts)?),
                _ => return None,
            }),
        })
    }

    fn truth(&self, facts: Facts<'_>) -> Option<bool> {
        match self.eval(facts)? {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    fn long(&self, facts: Facts<'_>) -> Option<i64> {
        match self.eval(facts)? {
            Value::Long(n) => Some(n),
            _ => None,
        }
    }

    fn text<'a>(&'a self, facts: Facts<'a>) -> Option<&'a str> {
        match self.eval(facts)? {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    fn set<'a>(&'a self, facts: Facts<'a>) -> Option<&'a [String]> {
        match self.eval(facts)? {
            Value::Set(s) => Some(s),
            _ => None,
        }
    }
}

fn in_set(item: &str) -> impl Fn(&String) -> bool + '_ {
    move |of| of == item
}

/// Sets are left to Cedar: they are equal whatever their order.
fn same(left: Value<'_>, right: Value<'_>) -> Option<bool> {
    match (left, right) {
        (Value::Long(a), Value::Long(b)) => Some(a == b),
        (Value::Text(a), Value::Text(b)) => Some(a == b),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        _ => None,
    }
}

impl Order {
    const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

impl Sum {
    /// `None` where it overflows: there the rule fails, and that is Cedar's to say.
    const fn of(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Self::Plus => left.checked_add(right),
            Self::Minus => left.checked_sub(right),
            Self::Times => left.checked_mul(right),
        }
    }
}

impl Share {
    fn holds(self, all: &[String], wanted: &[String]) -> bool {
        match self {
            Self::Any => wanted.iter().any(|w| all.contains(w)),
            Self::All => wanted.iter().all(|w| all.contains(w)),
        }
    }
}

impl Tags {
    /// The value under a name, if there is one; the outer `None`: there are no such tags at this moment.
    fn get<'a>(self, name: &str, facts: Facts<'a>) -> Option<Option<Value<'a>>> {
        if let Self::Monitors = self {
            return Some(facts.inputs.monitors.get(name).copied().map(Value::Long));
        }
        let arguments = &facts.step()?.arguments;
        Some(match self {
            Self::Text => arguments.text.get(name).map(|t| Value::Text(t)),
            Self::Number => arguments.number.get(name).copied().map(Value::Long),
            Self::List => arguments.list.get(name).map(|l| Value::Set(l)),
            Self::Monitors => None,
        })
    }
}
