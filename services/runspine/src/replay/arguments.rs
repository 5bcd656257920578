//! Arguments of a tool call: their canonical form, and the few that rules may see.

use bytes::Bytes;
use contracts_spine::v1::{Argument, TextList, argument::Value as Selected};
use runspine_types::Hasher;
use serde_json::Value;

/// Most bytes of one text argument.
const TEXT: usize = 1_024;
/// Most values of a list.
const LIST: usize = 64;

/// Arguments ready to be sent.
pub struct Prepared {
    /// RFC 8785 form.
    pub canonical: Vec<u8>,
    /// The selected ones.
    pub selected: Vec<Argument>,
}

/// Prepares the arguments of a call.
pub fn prepare(text: &str, select: &[String]) -> Prepared {
    let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let canonical = serde_json_canonicalizer::to_vec(&value).unwrap_or_else(|_| text.as_bytes().to_vec());
    let selected = select.iter().filter_map(|path| argument(path, &value)).collect();
    Prepared { canonical, selected }
}

/// Takes away what an obligation names, so that the call that is made is the one that was allowed.
pub fn without(text: &str, paths: &[String]) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    for path in paths {
        let mut at = &mut value;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            let Value::Object(map) = at else { break };
            if keys.peek().is_none() {
                map.remove(key);
                break;
            }
            match map.get_mut(key) {
                Some(inner) => at = inner,
                None => break,
            }
        }
    }
    serde_json_canonicalizer::to_vec(&value).unwrap_or_default()
}

fn argument(path: &str, value: &Value) -> Option<Argument> {
    let found = find(path, value);
    let selected = match found.as_slice() {
        [] => return None,
        [one] => single(one)?,
        many => list(many),
    };
    Some(Argument { key: path.to_owned(), value: Some(selected) })
}

/// Every value at a dotted path; an array on the way stands for all its items.
fn find<'a>(path: &str, value: &'a Value) -> Vec<&'a Value> {
    let mut at = vec![value];
    for key in path.split('.') {
        at = at
            .into_iter()
            .flat_map(|v| match v {
                Value::Array(items) => items.iter().collect(),
                other => vec![other],
            })
            .filter_map(|v| v.get(key))
            .collect();
    }
    at
}

fn single(value: &Value) -> Option<Selected> {
    match value {
        Value::String(text) => Some(Selected::Text(cut(text))),
        Value::Bool(flag) => Some(Selected::Flag(*flag)),
        Value::Number(n) => n.as_i64().or_else(|| whole(n.as_f64()?)).map(Selected::Number),
        Value::Array(items) => Some(list(&items.iter().collect::<Vec<_>>())),
        Value::Object(_) => Some(Selected::Text(cut(&value.to_string()))),
        Value::Null => None,
    }
}

/// A fraction rounded away from zero: the language has whole numbers only, and a limit is not passed by a fraction.
#[expect(clippy::cast_possible_truncation, reason = "checked to be within the range of whole numbers")]
fn whole(number: f64) -> Option<i64> {
    let away = if number < 0.0 { number.floor() } else { number.ceil() };
    (away.abs() < 9.0e18).then_some(away as i64)
}

fn list(items: &[&Value]) -> Selected {
    let text = |v: &&Value| v.as_str().map_or_else(|| cut(&v.to_string()), cut);
    Selected::List(TextList { values: items.iter().take(LIST).map(text).collect() })
}

/// The beginning of a text, at most 1,024 bytes: the recorder of a real agent selects arguments that fit.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A payload's digest under the run's salt.
pub fn payload_digest(salt: &[u8], payload: &[u8]) -> Bytes {
    Hasher::new("runspine.payload.v1").fixed(salt).sized(payload).finish().to_vec().into()
}

/// Digest of parameters under the tenant's key.
pub fn parameters_digest(key: &[u8], canonical: &[u8]) -> Bytes {
    Hasher::new("runspine.params.v1").fixed(key).sized(canonical).finish().to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_into_objects_and_over_lists() {
        let text = r#"{"a":{"b":"x"},"l":[{"n":1},{"n":2}],"f":true,"d":1.5}"#;
        let paths: Vec<String> = ["a.b", "l.n", "f", "d", "none"].map(str::to_owned).to_vec();
        let prepared = prepare(text, &paths);
        let found: Vec<_> = prepared.selected.iter().map(|a| (a.key.as_str(), a.value.clone())).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], ("a.b", Some(Selected::Text("x".into()))));
        let both = TextList { values: vec!["1".into(), "2".into()] };
        assert_eq!(found[1], ("l.n", Some(Selected::List(both))));
        assert_eq!(found[2].1, Some(Selected::Flag(true)));
        assert_eq!(found[3].1, Some(Selected::Number(2)));
    }

    #[test]
    fn equal_arguments_have_one_form() {
        let one = prepare(r#"{"b":1, "a":2}"#, &[]).canonical;
        assert_eq!(one, prepare(r#"{ "a":2,"b":1 }"#, &[]).canonical);
        assert_eq!(one, br#"{"a":2,"b":1}"#);
        assert_eq!(without(r#"{"a":{"x":1,"y":2}}"#, &["a.x".into()]), br#"{"a":{"y":2}}"#);
    }
}
