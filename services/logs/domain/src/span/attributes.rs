//! Attributes of a span, and how they are read: the first name that is present counts.

use std::collections::BTreeMap;

use runspine_types::{Digest, Hasher};

use super::Refusal;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number.
    Real(f64),
    /// A flag.
    Flag(bool),
    /// A list, a map or bytes, as JSON.
    Json(String),
}

impl Value {
    /// As text; JSON of what is none.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) | Self::Json(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

/// Attributes by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Value>);

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Attributes {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The text of `name`; an empty one counts as none.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The first text that is present.
    #[must_use]
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// The first value that is present.
    #[must_use]
    pub fn any(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| self.0.get(*name))
    }

    /// The first count that is present.
    ///
    /// # Errors
    /// [`Refusal::BadCount`] when it is negative or no whole number.
    pub fn whole(&self, names: &[&str]) -> Result<Option<i64>, Refusal> {
        match self.any(names) {
            None => Ok(None),
            Some(Value::Whole(count)) if *count >= 0 => Ok(Some(*count)),
            // Some languages have one kind of number only.
            Some(Value::Real(count)) if count.fract() == 0.0 && (0.0..9.0e15).contains(count) =>
            {
                #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                Ok(Some(*count as i64))
            }
            Some(_) => Err(Refusal::BadCount),
        }
    }

    /// Digest of all of them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0
            .iter()
            .fold(Hasher::new("runspine.attributes.v1"), |hasher, (name, value)| {
                hasher.sized(name.as_bytes()).sized(value.to_text().as_bytes())
            })
            .finish()
    }
}
