//! Patterns of text that is never to be seen. All of them match in linear time.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Regex, RegexSet};

use crate::{class::Class, numbers};

/// What makes a match of the pattern a find.
type Check = fn(&str) -> Vec<std::ops::Range<usize>>;

struct Rule {
    class: Class,
    regex: Regex,
    check: Check,
}

/// The compiled patterns.
pub struct Patterns {
    /// Which patterns a text matches, in one pass.
    any: RegexSet,
    rules: Vec<Rule>,
}

/// Kept apart from the table: a key in PEM may be cut off.
const PRIVATE_KEY: &str =
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)";

/// A letter outside of ASCII counts as part of a name whatever it is: that takes too much rather than too little, and
/// the automata stay small.
const EMAIL: &str = concat!(
    r"[A-Za-z0-9_\x{80}-\x{10FFFF}.%+-]+@",
    r"[A-Za-z0-9_\x{80}-\x{10FFFF}-]+(?:\.[A-Za-z0-9_\x{80}-\x{10FFFF}-]+)*\.[A-Za-z]{2,}",
);

/// The name of a secret, however it is composed, then `:` or `=`, then the secret, quoted or not.
const ASSIGNMENT: &str = concat!(
    r"(?i-u:(?:\b|_)(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?key|client[_-]?secret|token)\b)",
    r#"\\?["']?\s*[:=]\s*"#,
    r#"(?:\\?"[^"]{4,}"|\\?'[^']{4,}'|\\?["']?[^\s"',;]{4,})"#,
);

/// Digits, words and their bounds are those of ASCII: what is checked further is read byte by byte.
const TABLE: [(Class, &str, Check); 17] = [
    (Class::PrivateKey, PRIVATE_KEY, whole),
    (Class::Jwt, r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", whole),
    (Class::Bearer, r"(?i-u:\b(?:bearer|basic)\s+[A-Z0-9_.~+/=-]{16,})", whole),
    (Class::CloudKey, r"(?-u:\b(?:AKIA|ASIA)[0-9A-Z]{16}\b)", whole),
    (Class::CloudKey, r"(?-u:\bAIza[A-Za-z0-9_-]{35})", whole),
    (Class::CloudKey, r"(?-u:\bgh[pousr]_[A-Za-z0-9_]{36,})", whole),
    (Class::CloudKey, r"(?-u:\bgithub_pat_[A-Za-z0-9_]{22,})", whole),
    (Class::CloudKey, r"(?-u:\bxox[abeprs]-[A-Za-z0-9_-]{10,})", whole),
    (Class::CloudKey, r"(?-u:\bsk-[A-Za-z0-9_-]{20,})", whole),
    (Class::CloudKey, r"(?-u:\b[rs]k_(?:live|test)_[A-Za-z0-9_]{16,})", whole),
    (Class::UrlPassword, r"://[^/\s:@]+:[^/\s@]+@", whole),
    (Class::Assignment, ASSIGNMENT, whole),
    (Class::Email, EMAIL, whole),
    (Class::Ssn, r"(?-u:\b)[0-9]{3}-[0-9]{2}-[0-9]{4}(?-u:\b)", |found| {
        if numbers::ssn(found) { whole(found) } else { Vec::new() }
    }),
    (Class::Phone, r"\+[1-9][0-9](?:[ .()-]{0,2}[0-9]){6,12}", whole),
    (Class::Card, r"[0-9](?:[ -]?[0-9]){12,}", numbers::cards),
    (Class::Iban, r"(?-u:\b)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,33}(?-u:\b)", |found| {
        numbers::iban(found).map(|end| 0..end).into_iter().collect()
    }),
];

#[expect(clippy::single_range_in_vec_init, reason = "one find, which is the whole match")]
fn whole(found: &str) -> Vec<std::ops::Range<usize>> {
    vec![0..found.len()]
}

/// Whether a class is a secret; the others of the table are personal.
const fn secret(class: Class) -> bool {
    matches!(
        class,
        Class::PrivateKey
            | Class::Jwt
            | Class::Bearer
            | Class::CloudKey
            | Class::UrlPassword
            | Class::Assignment
    )
}

impl Patterns {
    /// The patterns; `None` when one of them is wrong, which a test rules out.
    pub fn get() -> Option<&'static Self> {
        static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(Patterns::compile);
        PATTERNS.as_ref()
    }

    fn compile() -> Option<Self> {
        let any = RegexSet::new(TABLE.iter().map(|(_, pattern, _)| pattern)).ok()?;
        let rule = |(class, pattern, check): &(Class, &str, Check)| {
            Some(Rule { class: *class, regex: Regex::new(pattern).ok()?, check: *check })
        };
        Some(Self { any, rules: TABLE.iter().map(rule).collect::<Option<_>>()? })
    }

    /// `text` without its matches; each is told to `found`. What is personal stays with `pii`, what is secret with
    /// `secrets`.
    pub fn scan<'t>(
        &self,
        text: &'t str,
        (pii, secrets): (bool, bool),
        found: &mut impl FnMut(Class),
    ) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        let matches = self.any.matches(&text);
        for n in matches.into_iter() {
            let Some(rule) = self.rules.get(n) else { continue };
            let kept = if secret(rule.class) { secrets } else { pii };
            if !kept && let Some(without) = rule.replace(&text, found) {
                text = Cow::Owned(without);
            }
        }
        text
    }
}

impl Rule {
    fn replace(&self, text: &str, found: &mut impl FnMut(Class)) -> Option<String> {
        let mut without = String::new();
        let mut copied = 0;
        for candidate in self.regex.find_iter(text) {
            for hit in (self.check)(candidate.as_str()) {
                found(self.class);
                without.push_str(&text[copied..candidate.start() + hit.start]);
                without.push_str(&self.class.marker());
                copied = candidate.start() + hit.end;
            }
        }
        (copied > 0).then(|| without + &text[copied..])
    }
}
