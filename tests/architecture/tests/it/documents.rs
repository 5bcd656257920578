//! The documents.

use architecture_tests::{Source, documents as check};

use crate::tree::{clean, finds, top, tree, with};

#[test]
fn decisions_are_in_their_index() {
    clean("decisions in the index", &check::decisions(tree()), 10);
    let planted = [("docs/adr/0999-planted.md", "# 999. Planted\n")];
    finds(&check::decisions(&with(&planted)), &["[999. Planted](0999-planted.md)"]);
}

#[test]
fn links_lead_somewhere() {
    let exists = |path: &str| top().join(path).exists();
    clean("links of documents", &check::links(tree(), exists), 15);
    let planted =
        Source::planted("docs/planted.md", "[x](../README.md#a) [y](https://example.org) [z](gone.md)");
    let seen = check::links(&[planted], |path| path == "docs/../README.md");
    assert_eq!((seen.inspected, seen.violations.len()), (2, 1));
    finds(&seen, &["docs/planted.md", "gone.md"]);
}
