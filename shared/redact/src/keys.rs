//! Names of JSON members whose values are never to be seen.

/// What the name of a secret ends with.
const SECRET: [&str; 15] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "cvv",
    "cvc",
];
/// What the name of something personal ends with.
const PERSONAL: [&str; 5] = ["ssn", "socialsecuritynumber", "creditcard", "cardnumber", "iban"];

/// Whose value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitive {
    /// A secret.
    Secret,
    /// Something personal.
    Personal,
}

/// Whether `key` names something sensitive, however it is spelled.
#[must_use]
pub fn sensitive(key: &str) -> Option<Sensitive> {
    let folded: String =
        key.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect();
    let ends = |names: &[&str]| names.iter().any(|name| folded.ends_with(name));
    if ends(&PERSONAL) {
        Some(Sensitive::Personal)
    } else if ends(&SECRET) {
        Some(Sensitive::Secret)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter_and_counts_are_no_secrets() {
        for key in
            ["password", "DB_Password", "x-api-key", "Access.Key", "Set-Cookie", "refresh token", "cvc"]
        {
            assert_eq!(sensitive(key), Some(Sensitive::Secret), "{key}");
        }
        for key in ["ssn", "customer_card-number", "IBAN", "Social Security Number"] {
            assert_eq!(sensitive(key), Some(Sensitive::Personal), "{key}");
        }
        for key in ["max_tokens", "input_tokens", "tokenCount", "secretary", "author", "passage"] {
            assert_eq!(sensitive(key), None, "{key}");
        }
    }
}
