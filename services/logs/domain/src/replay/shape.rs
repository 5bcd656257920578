//! Whether two texts have the same shape: about as long, and as JSON objects with the same keys.

use serde_json::Value;

/// Levels of nesting that are compared.
const DEPTH: usize = 20;

/// Whether `replayed` has the shape of `recorded`.
#[must_use]
pub fn alike(recorded: &[u8], replayed: &[u8]) -> bool {
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (old, new) = (length(recorded), length(replayed).saturating_mul(1_000));
    if new < old.saturating_mul(800) || new > old.saturating_mul(1_200) {
        return false;
    }
    match (serde_json::from_slice(recorded), serde_json::from_slice(replayed)) {
        (Ok(Value::Object(old)), Ok(Value::Object(new))) => {
            same_keys(&Value::Object(old), &Value::Object(new), DEPTH)
        }
        // A text that became an object, or was one, has another shape.
        (Ok(Value::Object(_)), _) | (_, Ok(Value::Object(_))) => false,
        _ => true,
    }
}

fn same_keys(old: &Value, new: &Value, depth: usize) -> bool {
    if depth == 0 {
        return true;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && old
                    .iter()
                    .all(|(key, value)| new.get(key).is_some_and(|other| same_keys(value, other, depth - 1)))
        }
        // A list has no keys of its own; what differs in its length shows in the length of the text.
        (Value::Array(old), Value::Array(new)) => {
            old.iter().zip(new).all(|(a, b)| same_keys(a, b, depth - 1))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_within_a_fifth_are_alike() {
        let text = |length: usize| "x".repeat(length).into_bytes();
        for (length, expected) in
            [(79, false), (80, true), (100, true), (120, true), (121, false), (0, false)]
        {
            assert_eq!(alike(&text(100), &text(length)), expected, "{length} beside 100");
        }
        assert!(alike(b"", b"") && !alike(b"", b"x"));
    }

    #[test]
    fn objects_need_the_same_keys_at_every_level() {
        let cases: [(&str, &str, bool); 7] = [
            (r#"{"a":{"b":1},"c":[{"d":2}]}"#, r#"{"c":[{"d":9}],"a":{"b":7}}"#, true),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"x":1}}"#, false),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":{}}}"#, false),
            (r#"{"a":[{"b":1}]}"#, r#"{"a":[{"x":1}]}"#, false),
            (r#"{"a":1,"b":22}"#, r#"{"a":1,"a2":2}"#, false),
            (r#"{"a":1}"#, r#"a text"#, false),
            (r#"[1,2]"#, r#"[3,4]"#, true),
        ];
        for (recorded, replayed, expected) in cases {
            assert_eq!(alike(recorded.as_bytes(), replayed.as_bytes()), expected, "{recorded} {replayed}");
            assert_eq!(alike(replayed.as_bytes(), recorded.as_bytes()), expected, "either way round");
        }
    }

    #[test]
    fn what_is_deeper_than_twenty_levels_is_not_compared() {
        let nested = |levels: usize, key: &str| {
            let inner = format!("{{\"{key}\":1}}");
            (0..levels).fold(inner, |text, _| format!("{{\"k\":{text}}}")).into_bytes()
        };
        assert!(!alike(&nested(19, "a"), &nested(19, "b")), "level 20 is compared");
        assert!(alike(&nested(20, "a"), &nested(20, "b")), "level 21 is not");
    }
}
