//! Texts as they are written in Cedar.

/// A text as a Cedar string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|c| push_escaped(&mut quoted, c));
    quoted.push('"');
    quoted
}

/// A text as the pattern of Cedar's `like`: `*` stands for anything, `\*` for itself.
#[must_use]
pub fn like_pattern(text: &str) -> String {
    let mut pattern = String::from('"');
    for (n, part) in text.split("\\*").enumerate() {
        pattern.push_str(if n > 0 { "\\*" } else { "" });
        part.chars().for_each(|c| push_escaped(&mut pattern, c));
    }
    pattern.push('"');
    pattern
}

fn push_escaped(to: &mut String, c: char) {
    match c {
        '"' | '\\' => to.extend(['\\', c]),
        '\n' => to.push_str("\\n"),
        c if c.is_control() => to.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => to.push(c),
    }
}
