//! The documents: decisions are in their index, and what a document links to is there.

use crate::{Inspection, Source};

/// Every decision is in the index under its own title. Inspects decisions.
#[must_use]
pub fn decisions(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    let index = tree.iter().find(|s| s.path == "docs/adr/README.md").map_or("", |s| s.text.as_str());
    for decision in tree.iter().filter(|s| s.is_in("docs/adr") && !s.ends_with("README.md")) {
        let title = decision.text.lines().next().unwrap_or_default().trim_start_matches("# ");
        let file = decision.path.rsplit('/').next().unwrap_or_default();
        let entry = format!("[{title}]({file})");
        seen.require(index.contains(&entry), || format!("docs/adr/README.md lacks {entry}"));
    }
    seen
}

/// Every relative link of a document leads to a file of the tree. Inspects links.
#[must_use]
pub fn links(documents: &[Source], exists: impl Fn(&str) -> bool) -> Inspection {
    let mut seen = Inspection::default();
    for document in documents.iter().filter(|s| s.ends_with(".md")) {
        let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
            seen.require(exists(&path), || format!("{} links to {file}, which is not there", document.path));
        }
    }
    seen
}
