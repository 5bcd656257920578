//! Texts that are refused: each with its kind and its place, all errors of a text at once.

use runspine_policies_domain::{
    text::check,
    words::{FindingKind, FindingKind::*, FindingSeverity, Mode},
};

const PERMIT: &str = "permit(principal, action, resource);";
const FORBID: &str = "forbid(principal, action, resource);";

/// Text, slug, kind, and the words that the finding's span begins with.
fn table() -> Vec<(String, FindingKind, &'static str)> {
    let head =
        |annotations: &str, policy: &str| format!("@id(\"r\") @reason(\"WHY_NOT\") {annotations} {policy}");
    let when = |body: &str| {
        let scope = "forbid(principal, action == Runspine::Action::\"tool_call\", resource)";
        format!("@id(\"r\") @reason(\"WHY_NOT\") {scope} when {{ {body} }};")
    };
    let raw = |t: &str| t.to_owned();
    vec![
        (raw("hello"), RuleTextInvalid, ""),
        (head("", "forbid(principal, action, resource)"), RuleTextInvalid, ""),
        (head("", "forbid(principal, action resource);"), RuleTextInvalid, "resource"),
        (head("", "allow(principal, action, resource);"), RuleTextInvalid, "allow"),
        (head("", "forbid(principal, action, resource) when { 1 + };"), RuleTextInvalid, "}"),
        (head("", "forbid(principal, action, resource) when { true } when { 3;"), RuleTextInvalid, ";"),
        (format!("{}{}", head("", FORBID), head("", FORBID)), RuleTextInvalid, "@id"),
        (raw("// nothing here\n"), RuleTextInvalid, "// nothing"),
        (head("", "forbid(principal == ?principal, action, resource);"), RuleTextInvalid, "?principal"),
        (head("", "forbid(principal, action, resource in ?resource);"), RuleTextInvalid, "?resource"),
        (when("resource.nothing == 1"), RuleTextInvalid, "resource.nothing"),
        (when("context.nothing == 1"), RuleTextInvalid, "context.nothing"),
        (when("context.totals.steps == \"3\""), RuleTextInvalid, ""),
        (when("context.totals.steps"), RuleTextInvalid, "context.totals.steps"),
        (when("context.intent == \"pay\""), RuleTextInvalid, "context.intent"),
        (when("context.run.human.level > 3"), RuleTextInvalid, "context.run.human"),
        (when("principal.owner == \"ann\""), RuleTextInvalid, "principal.owner"),
        (when("context.arguments.text.getTag(\"to\") == \"x\""), RuleTextInvalid, ""),
        (when("resource.risk > 1.5"), RuleTextInvalid, ""),
        (when("resource.labels.contains(3)"), RuleTextInvalid, ""),
        (when("resource.labels == []"), RuleTextInvalid, ""),
        (when("[\"a\", 1].contains(\"a\")"), RuleTextInvalid, ""),
        (when("resource in Runspine::ToolGrup::\"x\""), RuleTextInvalid, "Runspine::ToolGrup"),
        (when("context.now.at < datetime(\"yesterday\")"), RuleTextInvalid, ""),
        (when("context.now.at < datetime(context.intent)"), RuleTextInvalid, ""),
        (when("ipaddr(\"1.2.3.4\").isIpv4()"), RuleTextInvalid, ""),
        (
            head("", "forbid(principal, action == Runspine::Action::\"tol_call\", resource);"),
            RuleTextInvalid,
            "",
        ),
        (head("", "forbid(principal is Runspine::Agnt, action, resource);"), RuleTextInvalid, ""),
        (
            head("", "forbid(principal, action, resource) when { context.totals.steps > 3 };"),
            RuleTextInvalid,
            "",
        ),
        (
            head(
                "",
                "forbid(principal, action == Runspine::Action::\"llm_call\", resource is Runspine::Tool);",
            ),
            Impossible,
            "",
        ),
        (when("resource.risk > 1 && false"), Impossible, ""),
        (head("@outcom(\"warn\")", FORBID), AnnotationUnknown, "@outcom"),
        (head("@owner(\"me\")", PERMIT), AnnotationUnknown, "@owner"),
        (head("@id(\"r\")", FORBID), RuleTextInvalid, ""),
        (format!("@reason(\"WHY_NOT\") {FORBID}"), AnnotationInvalid, "forbid"),
        (format!("@id(\"r\") {FORBID}"), AnnotationInvalid, "forbid"),
        (format!("@id(\"Other\") @reason(\"WHY_NOT\") {FORBID}"), AnnotationInvalid, "@id(\"Other\")"),
        (format!("@id(\"other\") @reason(\"WHY_NOT\") {FORBID}"), AnnotationInvalid, "@id(\"other\")"),
        (format!("@id(\"r\") @reason(\"why\") {FORBID}"), AnnotationInvalid, "@reason(\"why\")"),
        (format!("@id(\"r\") @reason(\"NO\") {FORBID}"), AnnotationInvalid, "@reason(\"NO\")"),
        (head(&format!("@message(\"{}\")", "x".repeat(501)), FORBID), AnnotationInvalid, "@message"),
        (head("@outcome(\"block\")", FORBID), AnnotationInvalid, "@outcome(\"block\")"),
        (head("@outcome(\"grant\")", FORBID), AnnotationInvalid, "@outcome"),
        (
            head("@outcome(\"require_approval\") @obligations(\"level(BOSS)\")", FORBID),
            ObligationInvalid,
            "level",
        ),
        (head("@outcome(\"deny\")", PERMIT), AnnotationInvalid, "@outcome"),
        (head("@run(\"stop\")", FORBID), AnnotationInvalid, "@run(\"stop\")"),
        (head("@run(\"pause\")", PERMIT), AnnotationInvalid, "@run"),
        (head("@severity(\"BAD\")", FORBID), AnnotationInvalid, "@severity"),
        (head("@violation(\"always\")", FORBID), AnnotationInvalid, "@violation"),
        (head("@origin(\"a b\")", FORBID), AnnotationInvalid, "@origin"),
        (head("@outcome(\"modify\")", FORBID), ObligationInvalid, "@outcome"),
        (head("@outcome(\"modify\") @obligations(\"taint(x)\")", FORBID), ObligationInvalid, "@obligations"),
        (head("@outcome(\"modify\") @obligations(\"redat(a.b)\")", FORBID), ObligationInvalid, "redat"),
        (
            head("@outcome(\"modify\") @obligations(\"dry_run; cap_tokens(0)\")", FORBID),
            ObligationInvalid,
            "cap_tokens",
        ),
        (head("@outcome(\"modify\") @obligations(\"cap_cost(ten)\")", FORBID), ObligationInvalid, "cap_cost"),
        (head("@outcome(\"modify\") @obligations(\"redact\")", FORBID), ObligationInvalid, "redact"),
        (head("@outcome(\"modify\") @obligations(\"redact(a..b)\")", FORBID), ObligationInvalid, "redact"),
        (head("@outcome(\"modify\") @obligations(\"dry_run(1)\")", FORBID), ObligationInvalid, "dry_run"),
        (head("@outcome(\"modify\") @obligations(\"dry_run;\")", FORBID), ObligationInvalid, ""),
        (head("@outcome(\"modify\") @obligations(\"redact(a\")", FORBID), ObligationInvalid, "redact(a"),
        (
            head("@outcome(\"modify\") @obligations(\"dry_run;dry_run\")", FORBID),
            ObligationInvalid,
            "dry_run",
        ),
        (
            head("@outcome(\"modify\") @obligations(\"sandbox(HIGH_SECURITY)\")", FORBID),
            ObligationInvalid,
            "sandbox",
        ),
        (head("@outcome(\"modify\") @obligations(\"sandbox(loose)\")", FORBID), ObligationInvalid, "sandbox"),
        (head("@obligations(\"redact(a)\")", FORBID), ObligationInvalid, "redact"),
        (head("@obligations(\"cap_tokens(10)\")", PERMIT), ObligationInvalid, "cap_tokens"),
        (
            head("@outcome(\"defer\") @obligations(\"retry_after(5)\")", FORBID),
            ObligationInvalid,
            "retry_after",
        ),
        (
            head("@outcome(\"deny\") @obligations(\"retry_after(500)\")", FORBID),
            ObligationInvalid,
            "retry_after",
        ),
        (head("@obligations(\"quorum(2)\")", FORBID), ObligationInvalid, "quorum"),
    ]
}

#[test]
fn every_bad_text_is_refused_with_its_kind_and_place() {
    let table = table();
    assert!(table.len() >= 40, "{}", table.len());
    for (text, kind, begins) in table {
        let found = check(&text, Some("r"), Mode::Block);
        assert!(found.is_blocking(), "was accepted: {text}");
        let hit = found.findings.iter().find(|f| f.kind == kind && f.severity == FindingSeverity::Blocking);
        let Some(f) = hit else { panic!("no {kind:?} for {text}: {:#?}", found.findings) };
        assert!(f.start_byte <= f.end_byte && f.end_byte <= text.len(), "{text}: {f:?}");
        assert!(f.line >= 1 && f.column >= 1 && !f.message.is_empty(), "{text}: {f:?}");
        let spans: Vec<&str> = found
            .findings
            .iter()
            .filter(|f| f.kind == kind)
            .filter_map(|f| text.get(f.start_byte..f.end_byte))
            .collect();
        assert!(spans.iter().any(|s| s.starts_with(begins)), "{text}: wanted {begins:?}, got {spans:?}");
    }
}

#[test]
fn all_errors_of_a_text_come_at_once_and_in_order() {
    let text = "@id(\"r\")\n@reason(\"x\")\n@outcom(\"warn\")\nforbid(principal, action, resource)\nwhen { context.nothing };";
    let found = check(text, Some("r"), Mode::Block);
    let kinds: Vec<_> = found.findings.iter().map(|f| (f.kind, f.line)).collect();
    assert_eq!(&kinds[..2], [(AnnotationInvalid, 2), (AnnotationUnknown, 3)]);
    assert!(kinds[2..].iter().any(|(k, line)| *k == RuleTextInvalid && *line == 5), "{kinds:?}");
}

#[test]
fn a_long_text_and_too_many_clauses_are_refused() {
    let long = format!("// {}\n@id(\"r\") @reason(\"WHY_NOT\") {FORBID}", "x".repeat(16 * 1024));
    assert_eq!(check(&long, Some("r"), Mode::Block).findings[0].kind, RuleTextInvalid);
    let clauses = "when { true } ".repeat(65);
    let many = format!("@id(\"r\") @reason(\"WHY_NOT\") forbid(principal, action, resource) {clauses};");
    assert!(check(&many, Some("r"), Mode::Block).findings.iter().any(|f| f.message.contains("65 clauses")));
    let enough = many.replacen("when { true } ", "", 1);
    assert!(!check(&enough, Some("r"), Mode::Block).is_blocking());
}

#[test]
fn a_grant_is_never_in_mode_warn() {
    let text = format!("@id(\"r\") @reason(\"WHY_NOT\") {PERMIT}");
    assert_eq!(check(&text, Some("r"), Mode::Warn).findings[0].kind, ModeInvalidForGrant);
    assert!(!check(&text, Some("r"), Mode::Audit).is_blocking());
}
