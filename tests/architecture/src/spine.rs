//! The spine's own rules: small bridges, and clients nowhere but in them.

use crate::{Inspection, Source};

/// The most capabilities of a bridge.
pub const MOST_CAPABILITIES: usize = 5;

/// Files of the spine that name a generated client themselves, and why a bridge can't do it for them: a capability is
/// one unary call made under the context of the run.
pub const NAME_A_CLIENT: [(&str, &str); 5] = [
    ("services/spine/src/door/dispatch.rs", "the door records a dispatch before there is a kernel"),
    (
        "services/spine/src/worker/outbox.rs",
        "the relay pulls the same two RPCs from each domain's own package",
    ),
    ("services/spine/src/worker/freezes.rs", "a stream"),
    ("services/spine/src/coordinators/watch.rs", "a stream"),
    ("services/spine/src/coordinators/bundle.rs", "a stream in both directions"),
];

/// A bridge has at most [`MOST_CAPABILITIES`]. Inspects bridges.
#[must_use]
pub fn bridges(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| s.is_in("services/spine/src/bridges")) {
        let mut blocks = source.text.split("\nbridge! {").skip(1);
        for block in blocks.by_ref() {
            let block = block.split("\n}").next().unwrap_or_default();
            let name = block.lines().find_map(|line| line.trim().strip_suffix(" {")).unwrap_or("?");
            let count = block.matches("Client.").count();
            let text = || format!("{}: {name} has {count} capabilities", source.path);
            seen.require((1..=MOST_CAPABILITIES).contains(&count), text);
        }
    }
    seen
}

/// Kernel, sagas, coordinators and workers reach domains by bridges; those that can't are listed with their reason, and
/// the list has no entry too many. Inspects files.
#[must_use]
pub fn clients(tree: &[Source], listed: &[(&str, &str)]) -> Inspection {
    let mut seen = Inspection::default();
    let mut used = Vec::new();
    let code = tree.iter().filter(|s| s.is_in("services/spine/src") && s.ends_with(".rs") && !s.is_test());
    for source in code.filter(|s| !s.is_in("services/spine/src/bridges")) {
        seen.saw();
        let names_one = source.code().iter().any(|(_, line)| line.contains("_service_client::"));
        if !names_one {
            continue;
        }
        used.push(source.path.as_str());
        if !listed.iter().any(|(path, _)| *path == source.path) {
            seen.object(format!("{} names a generated client: use a bridge", source.path));
        }
    }
    for (path, _) in listed.iter().filter(|(path, _)| !used.contains(path)) {
        seen.object(format!("{path} names no client: drop it from the list"));
    }
    seen
}
