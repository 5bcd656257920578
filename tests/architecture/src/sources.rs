//! What every file of the house keeps to.

use crate::{Inspection, Source};

/// The most lines of a file.
pub const MOST_LINES: usize = 500;

/// What fails loudly instead of returning an error.
const LOUD: [&str; 6] = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];

/// Words that stand where something is missing. Taken apart, so that this file has none of them.
const MISSING: [&str; 5] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK"), "not implemented"];

/// No file of code is longer than [`MOST_LINES`]; a contract is read from top to bottom and may be. Inspects files.
#[must_use]
pub fn length(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| [".rs", ".sql"].iter().any(|end| s.ends_with(end))) {
        let lines = source.text.lines().count();
        seen.require(lines <= MOST_LINES, || format!("{} has {lines} lines", source.path));
    }
    seen
}

/// Nothing outside tests panics on purpose. Inspects files.
#[must_use]
pub fn quiet(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| s.ends_with(".rs") && !s.is_test()) {
        seen.saw();
        // A constant is worked out by the compiler: it can't fail at run time.
        for (number, line) in source.code().into_iter().filter(|(_, line)| !line.contains("const ")) {
            for word in LOUD.iter().filter(|word| line.contains(*word) && !is_quoted(line, word)) {
                seen.object(format!("{}:{number} has {word}", source.path));
            }
        }
    }
    seen
}

/// Nothing says that it is not there yet. Inspects files.
#[must_use]
pub fn finished(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    let kinds = [".rs", ".proto", ".sql", ".toml", ".yaml", ".sh"];
    for source in tree.iter().filter(|s| kinds.iter().any(|kind| s.ends_with(kind))) {
        seen.saw();
        for (number, line) in source.text.lines().enumerate() {
            for word in MISSING.iter().filter(|word| line.contains(*word) && !is_quoted(line, word)) {
                seen.object(format!("{}:{} has {word}", source.path, number + 1));
            }
        }
    }
    seen
}

/// No file has the word that turns the compiler's checks off. Inspects files.
#[must_use]
pub fn safe(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| s.ends_with(".rs")) {
        seen.saw();
        let lines = source.text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let words =
                ["{", "fn ", "impl ", "extern "].map(|next| format!("{} {next}", concat!("un", "safe")));
            if words.iter().any(|word| line.contains(word.as_str())) {
                seen.object(format!("{}:{} is not safe", source.path, number + 1));
            }
        }
    }
    seen
}

/// Whether `word` stands in a string of the line, as in this file and its tests.
fn is_quoted(line: &str, word: &str) -> bool {
    line.split(word).next().is_some_and(|before| before.matches('"').count() % 2 == 1)
}
