//! Whatever a secret is wrapped in, no wrapping of it leaves.

use base64::{Engine as _, engine::general_purpose as b64};
use proptest::prelude::*;
use runspine_redact::{Keep, Kept, payload};

const SECRETS: [&str; 12] = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl",
    "Bearer abcdef0123456789.xyzzy",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "sk_live_abcdefghijklmnop",
    "postgres://app:hunter2@db.internal/x",
    "password=hunter22",
    "jane.doe@mail.example.com",
    "123-45-6789",
    "+49 30 12345678",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
];

/// One more layer around a text.
#[derive(Debug, Clone, Copy)]
enum Layer {
    Text,
    Object,
    Array,
    JsonString,
    Base64,
    Base64Url,
    Hex,
    Percent,
    Escapes,
}

fn wrap(inner: &str, layer: Layer, around: &str) -> String {
    match layer {
        Layer::Text => format!("{around} {inner} {around}"),
        Layer::Object => serde_json::json!({"n": 1, "note": inner, "z": around}).to_string(),
        Layer::Array => serde_json::json!([around, [inner], 7]).to_string(),
        Layer::JsonString => format!("{around} {}", serde_json::json!(inner)),
        Layer::Base64 => b64::STANDARD.encode(inner),
        Layer::Base64Url => b64::URL_SAFE_NO_PAD.encode(inner),
        Layer::Hex => hex::encode(inner),
        Layer::Percent => inner
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect(),
        Layer::Escapes => {
            inner
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) }
                })
                .collect()
        }
    }
}

fn layers() -> impl Strategy<Value = Vec<(Layer, String)>> {
    let layer = prop_oneof![
        3 => Just(Layer::Text),
        3 => Just(Layer::Object),
        2 => Just(Layer::Array),
        2 => Just(Layer::JsonString),
        2 => Just(Layer::Base64),
        1 => Just(Layer::Base64Url),
        1 => Just(Layer::Hex),
        2 => Just(Layer::Percent),
        1 => Just(Layer::Escapes),
    ];
    proptest::collection::vec((layer, "[a-z ]{0,12}"), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn no_wrapping_of_a_secret_leaves(secret in 0..SECRETS.len(), layers in layers()) {
        let secret = SECRETS[secret];
        let mut forms = vec![secret.to_owned()];
        for (layer, around) in &layers {
            let wrapped = wrap(&forms[forms.len() - 1], *layer, around);
            forms.push(wrapped);
        }
        let given = forms[forms.len() - 1].clone();
        let Ok(Kept::Bytes(bytes, counts)) = payload(given.as_bytes(), Keep::default()) else {
            return Err(TestCaseError::fail("text is kept"));
        };
        let without = String::from_utf8(bytes).unwrap();
        prop_assert!(!counts.is_empty(), "{given} became {without}");
        for form in &forms {
            prop_assert!(!without.contains(form.as_str()), "{given} became {without}");
        }
        // What leaves holds nothing that would be found.
        let Ok(Kept::Bytes(_, again)) = payload(without.as_bytes(), Keep::default()) else {
            return Err(TestCaseError::fail("text is kept"));
        };
        prop_assert!(again.is_empty(), "{given} became {without}, with {again:?}");
    }
}
