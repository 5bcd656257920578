//! Each pattern: a hit, a near miss, and the hit inside a nested JSON string.

use std::time::Instant;

use runspine_redact::{Class, Constraints, Keep, Kept, Operation, json, payload, text};

const NOTHING: Keep = Keep { pii: false, secrets: false };

/// Class, what has to go, and what looks like it and stays.
const CORPUS: &[(Class, &str, &str)] = &[
    (
        Class::PrivateKey,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----",
    ),
    (Class::PrivateKey, "-----BEGIN PRIVATE KEY-----\ncut off here", "BEGIN PRIVATE KEY"),
    (Class::Jwt, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2ln", "eyJhbGc.x.y"),
    (Class::Bearer, "Authorization: Bearer abcdef0123456789.xyz", "bearer of news"),
    (Class::Bearer, "basic dXNlcjpwYXNzd29yZA==", "basic training"),
    (Class::CloudKey, "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPL"),
    (Class::CloudKey, "AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSy1234"),
    (Class::CloudKey, "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_short"),
    (Class::CloudKey, "github_pat_11ABCDEFG0abcdefghijkl", "github_pat_11"),
    (Class::CloudKey, "xoxb-1234567890-abc", "xoxb-123"),
    (Class::CloudKey, "sk-abcdefghijklmnopqrstuv", "sk-abc"),
    (Class::CloudKey, "sk_live_abcdefghijklmnop", "sk_live_abc"),
    (Class::UrlPassword, "postgres://app:hunter2@db/x", "https://example.com:443/x"),
    (Class::Assignment, "password=hunter22", "password="),
    (Class::Assignment, "client-secret: 'correct horse'", "the secret: me"),
    (Class::Assignment, "access_token=abcd1234", "max_tokens=4096"),
    (Class::Email, "jane.doe+x@mail.example.com", "jane@localhost"),
    (Class::Ssn, "123-45-6789", "000-45-6789"),
    (Class::Phone, "+49 (30) 1234-5678", "+49 30"),
    (Class::Card, "4111 1111 1111 1111", "4111 1111 1111 1112"),
    (Class::Iban, "DE89370400440532013000", "DE88370400440532013000"),
];

fn kept(given: &[u8], keep: Keep) -> (String, runspine_redact::Counts) {
    match payload(given, keep).expect("the patterns compile") {
        Kept::Bytes(bytes, counts) => (String::from_utf8(bytes).unwrap(), counts),
        Kept::Nothing => panic!("text is kept"),
    }
}

#[test]
fn each_pattern_hits_misses_and_hits_inside() {
    for (class, hit, miss) in CORPUS {
        let (alone, counts) = kept(hit.as_bytes(), NOTHING);
        assert!(counts.of(*class) > 0 && alone.contains(&class.marker()), "{hit} became {alone}");
        let (missed, counts) = kept(miss.as_bytes(), NOTHING);
        assert!(counts.is_empty() && missed == *miss, "{miss} became {missed}");
        let inner = serde_json::json!({"note": format!("see {hit} there")}).to_string();
        let outer = serde_json::json!({"list": [{"deep": inner}], "n": 1}).to_string();
        let (nested, counts) = kept(outer.as_bytes(), NOTHING);
        assert!(counts.of(*class) > 0, "{outer} became {nested}");
        assert!(!nested.contains(hit), "{outer} became {nested}");
    }
}

#[test]
fn what_is_allowed_stays() {
    for (class, hit, _) in CORPUS {
        let personal = class.name().starts_with("PII");
        let keep = Keep::from(Constraints::of(Some(
            if personal { Operation::CapturePii } else { Operation::AccessSecret }.bit(),
        )));
        assert_eq!(kept(hit.as_bytes(), keep).0, *hit);
    }
    let bytes = [0xff, 0, 1];
    assert_eq!(payload(&bytes, NOTHING), Ok(Kept::Nothing), "binary is not looked into");
    let all = Keep { pii: true, secrets: true };
    assert!(matches!(payload(&bytes, all), Ok(Kept::Bytes(..))));
    assert_eq!(payload(&bytes, Keep { pii: true, secrets: false }), Ok(Kept::Nothing));
}

#[test]
fn values_of_sensitive_keys_go_and_counts_of_tokens_stay() {
    let given =
        r#"{"Db-Password":["a",1],"max_tokens":4096,"user":{"SSN":123456789},"token":null,"pin":true}"#;
    let (without, counts) = kept(given.as_bytes(), NOTHING);
    assert_eq!(
        without,
        r#"{"Db-Password":"[REDACTED:KEY]","max_tokens":4096,"user":{"SSN":"[REDACTED:KEY]"},"token":null,"pin":true}"#
    );
    assert_eq!(counts.of(Class::Key), 2);
    // The first of two members of one name is seen by nobody, so it can't stay either.
    assert!(!json(r#"{"a":"jane@example.com","a":1}"#, NOTHING).contains("jane"));
    let cards = kept(br#"{"n":4111111111111111,"jane@example.com":1,"joe@example.com":2}"#, NOTHING).0;
    assert!(!cards.contains("4111") && !cards.contains('@') && cards.contains('2'), "{cards}");
}

#[test]
fn encoded_text_is_looked_into() {
    for (given, class) in [
        ("cc=jane%40example.com&x=1", Class::Email),
        ("q=Bearer+abcdef0123456789ghi%21", Class::Bearer),
        ("data:text/plain;base64,cGFzc3dvcmQ9aHVudGVyMjI=", Class::Assignment),
        ("prefixcGFzc3dvcmQ9aHVudGVyMjI", Class::Assignment),
        ("6a616e65406578616d706c652e636f6d", Class::Email),
        (r#"said \"jane\u0040example.com\" again"#, Class::Email),
        ("amFuZUBleGFt\ncGxlLmNvbQ==", Class::Email),
    ] {
        let (without, counts) = kept(given.as_bytes(), NOTHING);
        assert!(counts.of(class) > 0, "{given} became {without}");
        assert!(!without.contains("cGFzc3dvcmQ9") && !without.contains("jane"), "{given} became {without}");
    }
    let innocent = "The quick brown fox jumps over authorizationless documentation/paths_of-42 at 100%.";
    assert_eq!(text(innocent, NOTHING), innocent);
}

#[test]
fn nothing_survives_below_twenty_levels() {
    for (levels, survives) in [(20, true), (21, false), (60, false), (400, false)] {
        let given = format!("{}\"canary\"{}", "[".repeat(levels), "]".repeat(levels));
        let all = Keep { pii: true, secrets: true };
        let (without, counts) = kept(given.as_bytes(), all);
        assert_eq!(without.contains("canary"), survives, "{levels} levels became {without}");
        assert_eq!(counts.of(Class::Depth) > 0, !survives);
    }
    // A string that is JSON is a level as well; its escapes double with each, so brackets make up the rest.
    for (brackets, survives) in [(12, true), (13, false)] {
        let inner = (0..4).fold("canary".to_owned(), |text, _| serde_json::json!([[text]]).to_string());
        let given = format!("{}{}{}", "[".repeat(brackets), serde_json::json!(inner), "]".repeat(brackets));
        let all = Keep { pii: true, secrets: true };
        assert_eq!(kept(given.as_bytes(), all).0.contains("canary"), survives, "{brackets} brackets");
    }
}

#[test]
fn digits_and_letters_of_other_scripts_are_text() {
    for given in
        ["١٢٣-٤٥-٦٧٨٩", "DE٨٩370400440532013000", "４１１１ １１１１ １１１１ １１１１", "+٤٩ 30 1234567"]
    {
        assert_eq!(text(given, NOTHING), given);
    }
    assert_eq!(text("à jané@exämple.org", NOTHING), "à [REDACTED:PII.EMAIL]");
    assert_eq!(text("été123-45-6789", NOTHING), "été[REDACTED:PII.SSN]");
}

#[test]
fn what_is_too_large_goes_whole() {
    let all = Keep { pii: true, secrets: true };
    let long = format!("{{\"a\":\"{}\",\"b\":1}}", "x".repeat((1 << 20) + 1));
    assert_eq!(kept(long.as_bytes(), all).0, r#"{"a":"[REDACTED:SIZE]","b":1}"#);
    let many = format!("[{}1]", "1,".repeat(100_000));
    assert_eq!(kept(many.as_bytes(), all).0, "[REDACTED:SIZE]");
    let huge = "x ".repeat(2 << 20) + "x";
    assert_eq!(kept(huge.as_bytes(), all).0, "[REDACTED:SIZE]");
}

#[test]
fn adversarial_text_takes_linear_time() {
    for unit in ["eyJ", "a@", "%25", "password=", "1 ", "-----BEGIN ", "\\u005c", "AAAA", "://a:", "QUFB/"] {
        let time = |bytes: usize| {
            let given = unit.repeat(bytes / unit.len());
            let begun = Instant::now();
            kept(given.as_bytes(), NOTHING);
            begun.elapsed().as_secs_f64()
        };
        let (small, large) = (time(8 << 10).max(time(8 << 10)), time(64 << 10));
        // Eight times the text; quadratic would be 64 times the time.
        assert!(large < small * 40.0 + 0.5, "{unit}: {small:.3} s, then {large:.3} s");
    }
}
