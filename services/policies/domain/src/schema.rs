//! The published schema that every rule fits.

use std::sync::OnceLock;

use cedar_policy::{Schema, Validator};
use runspine_types::{Digest, hash};

/// Version of the published schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Its text, as published.
pub const SCHEMA_TEXT: &str = include_str!("schema/v1.cedarschema");

/// SHA-256 of the text.
#[must_use]
pub fn digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| hash(SCHEMA_TEXT.as_bytes()))
}

/// The validator for it. `None` only if the embedded text were broken, which a test excludes.
#[must_use]
pub fn validator() -> Option<&'static Validator> {
    static VALIDATOR: OnceLock<Option<Validator>> = OnceLock::new();
    let parsed = || Schema::from_cedarschema_str(SCHEMA_TEXT).ok().map(|(schema, _)| Validator::new(schema));
    VALIDATOR.get_or_init(parsed).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_parses_and_has_eleven_leaf_actions() {
        let schema = validator().unwrap().schema();
        let leaves = schema.actions().filter(|a| a.id().unescaped() != "step").count();
        assert_eq!(leaves, crate::words::Action::ALL.len());
        for action in crate::words::Action::ALL {
            assert!(schema.actions().any(|a| a.id().unescaped() == action.as_str()), "{action:?}");
        }
    }
}
