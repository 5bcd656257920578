//! What every file keeps to.

use architecture_tests::{Source, mark_test_modules, sources as check};

use crate::tree::{clean, finds, tree};

fn planted(text: &str) -> Vec<Source> {
    vec![Source::planted("services/logs/src/planted.rs", text)]
}

#[test]
fn files_are_short() {
    clean("files and their length", &check::length(tree()), 400);
    finds(&check::length(&planted(&"//\n".repeat(check::MOST_LINES + 1))), &["planted.rs", "501 lines"]);
}

#[test]
fn code_returns_errors() {
    clean("files that must not panic", &check::quiet(tree()), 350);
    for line in ["let x = y.unwrap();", "let x = y.expect(\"z\");", "panic!(\"z\")", "unreachable!()"] {
        finds(&check::quiet(&planted(line)), &["planted.rs:1"]);
    }
    let allowed = "/// Panics: panic!(\n#[cfg(test)]\nmod tests {\n    fn x() { y.unwrap(); }\n}\n";
    assert!(check::quiet(&planted(allowed)).violations.is_empty());
    finds(&check::quiet(&planted("#[cfg(test)]\nmod tests;\nfn x() { y.unwrap() }\n")), &["planted.rs:3"]);
}

#[test]
fn nothing_is_left_for_later() {
    clean("files and words of the unfinished", &check::finished(tree()), 450);
    for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        finds(&check::finished(&planted(&format!("// {word}: the rest"))), &["planted.rs:1", word]);
    }
}

#[test]
fn all_code_is_checked_by_the_compiler() {
    clean("files without unchecked code", &check::safe(tree()), 400);
    let word = concat!("un", "safe");
    finds(&check::safe(&planted(&format!("{word} {{ x() }}"))), &["planted.rs:1"]);
    finds(&check::safe(&planted(&format!("pub {word} fn x() {{}}"))), &["planted.rs:1"]);
}

#[test]
fn test_modules_may_fail_loudly() {
    let loud = "fn x() { y.unwrap(); }";
    let mut tree = vec![
        Source::planted("services/logs/src/a.rs", "#[cfg(test)]\n#[path = \"a_cases.rs\"]\nmod tests;\n"),
        Source::planted("services/logs/src/a_cases.rs", loud),
        Source::planted("services/logs/src/b/mod.rs", "#[cfg(test)]\nmod cases;\nmod real;\n"),
        Source::planted("services/logs/src/b/cases/one.rs", loud),
        Source::planted("services/logs/src/b/real.rs", loud),
    ];
    mark_test_modules(&mut tree);
    let seen = check::quiet(&tree);
    assert_eq!(seen.violations, ["services/logs/src/b/real.rs:1 has .unwrap()"]);
}
