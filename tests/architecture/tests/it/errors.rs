//! The pages of the error reasons.

use architecture_tests::reasons;

use crate::tree::{clean, finds, tree, with};

#[test]
fn every_reason_has_its_page() {
    clean("reasons and pages", &reasons::pages(tree()), 200);
    let path = "services/logs/domain/src/planted.rs";
    let text = "runspine_errors::reasons! { \"logs.runspine\";\n    /// Planted.\n    NotFound: PLANTED_REASON;\n}\n";
    finds(&reasons::pages(&with(&[(path, text)])), &["docs/errors/logs/PLANTED_REASON.md is missing"]);
    let page = "docs/errors/logs/PLANTED_REASON.md";
    finds(&reasons::pages(&with(&[(page, "# PLANTED_REASON\n")])), &[page, "has no reason"]);
    let wrong = "# PLANTED_REASON\n\n`logs.runspine` · `ABORTED`\n\nIt was planted. Look at who planted it and ask why they did.\n";
    finds(&reasons::pages(&with(&[(path, text), (page, wrong)])), &[page, "NOT_FOUND"]);
    let right = wrong.replace("ABORTED", "NOT_FOUND");
    assert!(!reasons::pages(&with(&[(path, text), (page, &right)])).found(&["PLANTED_REASON"]));
    let result = "# PLANTED_REASON\n\n`logs.runspine` · a result, not an error\n";
    finds(&reasons::pages(&with(&[(page, result)])), &[page, "has no reason"]);
}

#[test]
fn every_code_of_a_result_has_its_page() {
    clean("codes and pages", &reasons::results(tree()), 12);
    let path = "services/logs/domain/src/reasons.rs";
    let text = "pub mod codes {\n    pub const PLANTED_CODE: &str = \"PLANTED_CODE\";\n}\n";
    finds(&reasons::results(&with(&[(path, text)])), &["docs/errors/logs/PLANTED_CODE.md is missing"]);
    let page = ("docs/errors/logs/PLANTED_CODE.md", "# PLANTED_CODE\n");
    assert!(!reasons::results(&with(&[(path, text), page])).found(&["PLANTED_CODE"]));
}

#[test]
fn every_reason_is_given() {
    clean("reasons and those who give them", &reasons::given(tree()), 140);
    let path = "services/logs/domain/src/planted.rs";
    let text = "runspine_errors::reasons! { \"logs.runspine\";\n    /// Planted.\n    NotFound: PLANTED_REASON;\n}\n";
    finds(&reasons::given(&with(&[(path, text)])), &["PLANTED_REASON", "by nobody"]);
    let giver = ("services/logs/src/app/planted.rs", "Fault::new(&reasons::PLANTED_REASON, \"x\")");
    assert!(!reasons::given(&with(&[(path, text), giver])).found(&["PLANTED_REASON"]));
}
