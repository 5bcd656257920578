//! Error text is cut and redacted before it is stored: a message may carry what an argument carried.

use runspine_types::is_uuid;

/// The first `max` characters, with what looks like an address, a long number or a secret masked.
#[must_use]
pub fn text(raw: &str, max: usize) -> String {
    let mut out = String::with_capacity(raw.len().min(max));
    for piece in raw.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        out.push_str(mask(word).unwrap_or(word));
        out.push_str(space);
    }
    out.chars().take(max).collect()
}

fn mask(word: &str) -> Option<&'static str> {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if is_uuid(bare) {
        return None;
    }
    if bare.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.')) {
        return Some("[email]");
    }
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    let letters = bare.bytes().filter(u8::is_ascii_alphabetic).count();
    if bare.len() >= 24 && digits > 0 && letters > 0 && !bare.contains(['/', '.']) {
        return Some("[secret]");
    }
    if digits >= 9 && letters == 0 {
        return Some("[number]");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_must_not_be_stored_and_nothing_else() {
        let raw =
            "mail to <kim@example.com> failed, card 4111-1111-1111-1111, key sk-9f8e7d6c5b4a39281706abcd";
        assert_eq!(text(raw, 1000), "mail to [email] failed, card [number] key [secret]");
        let run =
            "run 0190c3a0-0000-7000-8000-000000000001 timed out after 300000 ms at src/agent/loop_2.rs:41";
        assert_eq!(text(run, 1000), run);
        assert_eq!(text("äöü", 2), "äö");
    }
}
