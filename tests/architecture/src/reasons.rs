//! Error reasons: each has one page, which tells its domain and its gRPC code, and no page has lost its reason.

use std::collections::BTreeMap;

use crate::{Inspection, Source};

/// The gRPC code of each kind of failure.
const CODES: [(&str, &str); 12] = [
    ("Invalid", "INVALID_ARGUMENT"),
    ("NotFound", "NOT_FOUND"),
    ("Conflict", "ALREADY_EXISTS"),
    ("Precondition", "FAILED_PRECONDITION"),
    ("Denied", "PERMISSION_DENIED"),
    ("Unauthenticated", "UNAUTHENTICATED"),
    ("Exhausted", "RESOURCE_EXHAUSTED"),
    ("Aborted", "ABORTED"),
    ("Unavailable", "UNAVAILABLE"),
    ("Deadline", "DEADLINE_EXCEEDED"),
    ("Internal", "INTERNAL"),
    ("Unknown", "UNIMPLEMENTED"),
];

/// A declared reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    /// `logs` for `logs.runspine`.
    domain: String,
    name: String,
    code: &'static str,
}

/// Every reason of a `reasons!` has its page under `docs/errors/<domain>/`, and every page its reason. Inspects reasons
/// and pages.
#[must_use]
pub fn pages(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    let mut declared = BTreeMap::new();
    for source in tree.iter().filter(|s| s.ends_with(".rs") && !s.is_test()) {
        for reason in reasons_of(source, &mut seen) {
            let path = format!("docs/errors/{}/{}.md", reason.domain, reason.name);
            let twice = declared.insert(path, reason).is_some();
            seen.require(!twice, || format!("{} declares a reason that another file has", source.path));
        }
    }
    for (path, reason) in &declared {
        match tree.iter().find(|s| s.path == *path) {
            None => seen.object(format!("{path} is missing")),
            Some(page) => seen.violations.extend(wrong_with(page, reason)),
        }
    }
    let pages = tree.iter().filter(|s| s.is_in("docs/errors") && s.path.matches('/').count() == 3);
    for page in pages {
        let known = declared.contains_key(&page.path) || explains_a_result(page, tree);
        seen.require(known, || format!("{} has no reason", page.path));
    }
    seen
}

/// Every code of a result that a domain declares in its `mod codes` has its page. Inspects codes.
#[must_use]
pub fn results(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| s.ends_with("domain/src/reasons.rs")) {
        let Some(domain) = source.path.strip_prefix("services/").and_then(|p| p.split('/').next()) else {
            continue;
        };
        let mut inside = false;
        for (_, line) in source.code() {
            inside = (inside || line.starts_with("pub mod codes")) && line != "}";
            let constant = line.trim().strip_prefix("pub const ").filter(|_| inside);
            let Some((name, _)) = constant.and_then(|c| c.split_once(": &str")) else { continue };
            let path = format!("docs/errors/{domain}/{name}.md");
            seen.require(tree.iter().any(|s| s.path == path), || format!("{path} is missing"));
        }
    }
    seen
}

/// Every declared reason is given somewhere: a reason that nothing gives is a promise that nothing keeps. Inspects
/// reasons.
#[must_use]
pub fn given(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    let code: Vec<&Source> = tree.iter().filter(|s| s.ends_with(".rs") && !s.is_test()).collect();
    for source in &code {
        for reason in reasons_of(source, &mut Inspection::default()) {
            let own = format!("services/{}", reason.domain);
            let mut others = code.iter().filter(|s| s.path != source.path);
            let used =
                others.any(|s| (s.is_in(&own) || reason.domain == "mesh") && has_word(&s.text, &reason.name));
            seen.require(used, || format!("{} of {} is given by nobody", reason.name, source.path));
        }
    }
    seen
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Codes of results, such as a denial, have pages too: they say so, and the code is in the code of their domain.
fn explains_a_result(page: &Source, tree: &[Source]) -> bool {
    let mut parts = page.path.trim_end_matches(".md").rsplit('/');
    let (Some(code), Some(domain)) = (parts.next(), parts.next()) else { return false };
    let folder = format!("services/{domain}");
    let mut files = tree.iter().filter(|s| s.is_in(&folder) && s.ends_with(".rs") && !s.is_test());
    page.text.contains("a result, not an error") && files.any(|s| s.text.contains(&format!("\"{code}\"")))
}

fn reasons_of(source: &Source, seen: &mut Inspection) -> Vec<Reason> {
    let mut found = Vec::new();
    let mut domain: Option<String> = None;
    for (number, line) in source.code() {
        if let Some((_, rest)) = line.split_once("reasons! { \"") {
            domain = rest.split_once('.').map(|(domain, _)| domain.to_owned());
            continue;
        }
        let Some(current) = &domain else { continue };
        let line = line.trim();
        if line == "}" {
            domain = None;
        } else if let Some((kind, name)) = line.strip_suffix(';').and_then(|l| l.split_once(": ")) {
            match CODES.iter().find(|(known, _)| *known == kind) {
                Some((_, code)) => {
                    found.push(Reason { domain: current.clone(), name: name.to_owned(), code });
                }
                None => seen.object(format!("{}:{number} has an unknown kind {kind}", source.path)),
            }
        }
    }
    found
}

fn wrong_with(page: &Source, reason: &Reason) -> Option<String> {
    let title = format!("# {}", reason.name);
    let full_domain = format!("{}.runspine", reason.domain);
    let words = page.text.split_whitespace().count();
    let wrong = if page.text.lines().next() != Some(title.as_str()) {
        "does not begin with the reason's name"
    } else if !page.text.contains(&full_domain) {
        "does not name its domain"
    } else if !page.text.contains(&format!("`{}`", reason.code)) {
        return Some(format!("{} does not name its code {}", page.path, reason.code));
    } else if words < 12 {
        "does not say what to do"
    } else {
        return None;
    };
    Some(format!("{} {wrong}", page.path))
}
