//! The RPC inventory: every RPC has a contract, a server that is mounted, and a contract test.

use runspine_rpc::{Operation, Registry};

use crate::{DOMAINS, Inspection, Source};

/// Every RPC of the descriptor sets has a sound operation contract. Inspects operations.
#[must_use]
pub fn contracts(descriptors: &[&[u8]]) -> Inspection {
    match Registry::read(descriptors) {
        Ok(registry) => Inspection { inspected: registry.operations().len(), violations: Vec::new() },
        Err(error) => {
            let text = |p: &runspine_rpc::Problem| format!("{} {}: {}", p.code, p.subject, p.message);
            Inspection {
                inspected: error.problems().len(),
                violations: error.problems().iter().map(text).collect(),
            }
        }
    }
}

/// Every RPC has a server in the crate of its domain, and the server is mounted. Inspects operations.
///
/// The compiler sees to it that a server has every method of its service; that each one really answers is what the
/// contract tests show.
#[must_use]
pub fn served<'a>(operations: impl Iterator<Item = &'a Operation>, tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for operation in operations {
        let service = operation.service.rsplit('.').next().unwrap_or_default();
        let folder = format!("services/{}/src", operation.domain);
        let code = || tree.iter().filter(|s| s.is_in(&folder) && s.ends_with(".rs") && !s.is_test());
        let has = |text: &str| code().any(|s| s.code().iter().any(|(_, line)| line.contains(text)));
        let implemented = has(&format!("{service} for "));
        let made = ["::new(", "::from_arc("].map(|with| format!("{service}Server{with}"));
        let mounted = made.iter().any(|made| has(made));
        let missing = if implemented { "is not mounted" } else { "has no server" };
        seen.require(implemented && mounted, || format!("{} {missing}", operation.name));
    }
    seen
}

/// Every RPC is called by name in the suite of its service: the contract tests ask each one and compare their list with
/// the descriptors. Inspects operations.
#[must_use]
pub fn tested<'a>(operations: impl Iterator<Item = &'a Operation>, tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for operation in operations {
        let tests = tree.iter().filter(|s| s.ends_with(".rs") && is_suite(s, &operation.domain));
        let quoted = [format!("\"{}\"", operation.method()), format!("/{}\"", operation.method())];
        let call = format!(".{}(", snake(operation.method()));
        let named = |s: &Source| {
            quoted.iter().any(|q| s.text.contains(q.as_str()))
                || (operation.domain == "spine" && s.text.contains(&call))
        };
        let found = tests.into_iter().any(named);
        seen.require(found, || format!("{} has no contract test", operation.name));
    }
    seen
}

/// The suite of a domain is its own; what the spine serves is also tested through the whole mesh.
fn is_suite(source: &Source, domain: &str) -> bool {
    let own = source.is_in(&format!("services/{domain}/tests"));
    let inner = source.is_in(&format!("services/{domain}/src")) && source.is_test();
    let house = ["tests/e2e", "services/runspine/tests"].iter().any(|folder| source.is_in(folder));
    own || (!DOMAINS.contains(&domain) && (inner || house))
}

fn snake(method: &str) -> String {
    let mut name = String::new();
    for letter in method.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
