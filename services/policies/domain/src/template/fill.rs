//! The places of a text. `{{name}}` is the value of a parameter, several of them with commas; texts stand in quotes,
//! whatever else as it is. `{{each name: TEXT}}` is TEXT for each value, which stands at its `{}`, joined by `||`.

use super::{SLUG, Template, Values};
use crate::{
    text::{like_pattern, quoted},
    words::TemplateValue,
};

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Value(&'a str),
    Each(&'a str, &'a str),
}

/// The first piece of a text, and what follows.
fn piece(text: &str) -> (Piece<'_>, &str) {
    let Some(start) = text.find("{{") else { return (Piece::Plain(text), "") };
    if start > 0 {
        return (Piece::Plain(&text[..start]), &text[start..]);
    }
    let end = close(&text[2..]).map_or(text.len(), |n| n + 2);
    let (inner, rest) = (&text[2..end], text.get(end + 2..).unwrap_or_default());
    let each = inner.strip_prefix("each ").and_then(|each| each.split_once(": "));
    match each {
        Some((name, fragment)) => (Piece::Each(name, fragment), rest),
        None => (Piece::Value(inner), rest),
    }
}

/// Where the `}}` of a place is that has begun; a `{}` and a whole place in it are passed over.
fn close(text: &str) -> Option<usize> {
    let (bytes, mut depth, mut at) = (text.as_bytes(), 0_u32, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"{}" => at += 1,
            b"{{" => (depth, at) = (depth + 1, at + 1),
            b"}}" if depth == 0 => return Some(at),
            b"}}" => (depth, at) = (depth - 1, at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The names that a text has places for.
#[must_use]
pub fn places(mut text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = piece(text);
        match piece {
            Piece::Plain(_) => {}
            Piece::Value(name) => found.push(name),
            Piece::Each(name, fragment) => {
                found.push(name);
                found.extend(places(fragment));
            }
        }
        text = rest;
    }
    found
}

/// A text with its places filled in.
pub(super) fn fill(mut text: &str, of: &'static Template, slug: &str, values: &Values) -> String {
    let mut filled = String::with_capacity(text.len());
    while !text.is_empty() {
        let (piece, rest) = piece(text);
        match piece {
            Piece::Plain(plain) => filled.push_str(plain),
            Piece::Value(SLUG) => filled.push_str(&quoted(slug)),
            Piece::Value(name) => filled.push_str(&written(of, name, values).join(", ")),
            Piece::Each(name, fragment) => {
                let fragment = fill(fragment, of, slug, values);
                let each = written(of, name, values).into_iter().map(|value| fragment.replace("{}", &value));
                filled.push_str(&format!("({})", each.collect::<Vec<_>>().join(" || ")));
            }
        }
        text = rest;
    }
    filled
}

/// The values of a parameter as they stand in Cedar.
fn written(of: &'static Template, name: &str, values: &Values) -> Vec<String> {
    let kind = of.kind_of(name);
    let write = |value: &String| match kind {
        Some(TemplateValue::Text | TemplateValue::Reason) => quoted(value),
        Some(TemplateValue::Pattern) => like_pattern(value),
        _ => value.clone(),
    };
    values.get(name).map(|values| values.iter().map(write).collect()).unwrap_or_default()
}
