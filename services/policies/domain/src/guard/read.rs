//! Cedar's own JSON form of an expression, read. What is not known here is `None`: it is not guessed.

use serde_json::Value as Json;

use super::{
    eval::{Expr, Order, Share, Sum, Tags},
    path,
};
use crate::analysis;

/// Deeper expressions are left to Cedar.
const MAX_DEPTH: usize = 64;

pub(super) fn expr(json: &Json, depth: usize) -> Option<Expr> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (op, args) = json.as_object()?.iter().next()?;
    let side = |name: &str| expr(args.get(name)?, depth + 1);
    let two = || Some(Box::new((side("left")?, side("right")?)));
    let order = |order: Order| Some(Expr::Order(order, two()?));
    let sum = |sum: Sum| Some(Expr::Sum(sum, two()?));
    Some(match op.as_str() {
        "Value" => literal(args)?,
        "Set" => Expr::Set(texts(args)?),
        "." => Expr::Read(path::read(&analysis::path(json)?)?),
        "has" => Expr::Has(path::has(&attribute(args)?)?),
        "getTag" => Expr::Tag(tags(args)?, tag(args)?),
        "hasTag" => Expr::HasTag(tags(args)?, tag(args)?),
        "!" => Expr::Not(Box::new(side("arg")?)),
        "&&" => Expr::And(two()?),
        "||" => Expr::Or(two()?),
        "if-then-else" => Expr::If(Box::new((side("if")?, side("then")?, side("else")?))),
        "==" => Expr::Same(two()?, true),
        "!=" => Expr::Same(two()?, false),
        "<" => order(Order::Less)?,
        "<=" => order(Order::AtMost)?,
        ">" => order(Order::Greater)?,
        ">=" => order(Order::AtLeast)?,
        "+" => sum(Sum::Plus)?,
        "-" => sum(Sum::Minus)?,
        "*" => sum(Sum::Times)?,
        "contains" => Expr::Contains(two()?),
        "containsAny" => Expr::Share(Share::Any, two()?),
        "containsAll" => Expr::Share(Share::All, two()?),
        "isEmpty" => Expr::Empty(Box::new(side("arg")?)),
        "like" => Expr::Like(Box::new(side("left")?), analysis::pattern(args.get("pattern")?)?),
        _ => return None,
    })
}

fn literal(value: &Json) -> Option<Expr> {
    match value {
        Json::Bool(b) => Some(Expr::Bool(*b)),
        Json::Number(n) => n.as_i64().map(Expr::Long),
        Json::String(t) => Some(Expr::Text(t.clone())),
        _ => None,
    }
}

fn texts(items: &Json) -> Option<Vec<String>> {
    let text = |item: &Json| item.get("Value")?.as_str().map(ToOwned::to_owned);
    items.as_array()?.iter().map(text).collect()
}

fn attribute(args: &Json) -> Option<String> {
    Some(format!("{}.{}", analysis::path(args.get("left")?)?, args.get("attr")?.as_str()?))
}

fn tags(args: &Json) -> Option<Tags> {
    match analysis::path(args.get("left")?)?.as_str() {
        "context.arguments.text" => Some(Tags::Text),
        "context.arguments.number" => Some(Tags::Number),
        "context.arguments.list" => Some(Tags::List),
        "context.monitors" => Some(Tags::Monitors),
        _ => None,
    }
}

fn tag(args: &Json) -> Option<String> {
    args.get("right")?.get("Value")?.as_str().map(ToOwned::to_owned)
}
