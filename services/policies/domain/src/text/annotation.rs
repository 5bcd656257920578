//! What the annotations of a rule mean.

use super::scan::{Annotation, Scan};
use crate::{
    obligation::{self, Obligation},
    words::{Directive, FindingKind, Outcome, Severity},
};

/// When a match is also a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationOn {
    /// Never.
    Never,
    /// When it matches.
    Match,
    /// When the step that matched has ended.
    StepEnd,
}

/// The annotations of a rule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes {
    /// `@reason`.
    pub reason: String,
    /// `@message`.
    pub message: String,
    /// `@outcome`; a grant has [`Outcome::Grant`].
    pub outcome: Outcome,
    /// `@run`.
    pub directive: Directive,
    /// `@obligations`.
    pub obligations: Vec<Obligation>,
    /// `@severity`.
    pub severity: Severity,
    /// `@violation`.
    pub violation: ViolationOn,
    /// `@origin`.
    pub origin: Option<String>,
}

/// A complaint about an annotation: kind, first byte, byte after, message, hint.
pub type Complaint = (FindingKind, usize, usize, String, &'static str);

const KNOWN: [&str; 9] =
    ["id", "reason", "message", "outcome", "run", "obligations", "severity", "violation", "origin"];

/// Reads the annotations of a policy: `value` looks one up by name.
///
/// # Errors
/// Every complaint at once.
pub fn read(
    scan: &Scan,
    grant: bool,
    slug: Option<&str>,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Notes, Vec<Complaint>> {
    let mut reader = Reader { scan, complaints: Vec::new(), value };
    reader.unknown();
    reader.id(slug);
    let reason = reader.reason();
    let message = reader.message();
    if grant {
        reader.refuse_on_grants();
    }
    let outcome = if grant { Outcome::Grant } else { reader.outcome() };
    let directive = if grant { Directive::Continue } else { reader.directive(outcome) };
    let severity = if grant { Severity::Medium } else { reader.severity() };
    let violation = if grant { ViolationOn::Never } else { reader.violation(outcome, directive) };
    let origin = reader.origin();
    let obligations = reader.obligations(outcome);
    if reader.complaints.is_empty() {
        Ok(Notes { reason, message, outcome, directive, obligations, severity, violation, origin })
    } else {
        Err(reader.complaints)
    }
}

struct Reader<'a, F> {
    scan: &'a Scan,
    complaints: Vec<Complaint>,
    value: F,
}

impl<F: Fn(&str) -> Option<String>> Reader<'_, F> {
    fn place(&self, name: &str) -> (usize, usize) {
        let found = self.scan.annotations.iter().find(|a| a.name == name);
        found.map_or(self.scan.effect, |a| (a.start, a.end))
    }

    fn complain(&mut self, kind: FindingKind, name: &str, message: impl Into<String>, hint: &'static str) {
        let (start, end) = self.place(name);
        self.complaints.push((kind, start, end, message.into(), hint));
    }

    fn invalid(&mut self, name: &str, message: impl Into<String>, hint: &'static str) {
        self.complain(FindingKind::AnnotationInvalid, name, message, hint);
    }

    fn unknown(&mut self) {
        let unknown: Vec<Annotation> =
            self.scan.annotations.iter().filter(|a| !KNOWN.contains(&a.name.as_str())).cloned().collect();
        for a in unknown {
            let message = format!("no annotation is called `@{}`", a.name);
            let hint = "known: @id @reason @message @outcome @run @obligations @severity @violation @origin";
            self.complaints.push((FindingKind::AnnotationUnknown, a.start, a.end, message, hint));
        }
    }

    fn id(&mut self, slug: Option<&str>) {
        match ((self.value)("id"), slug) {
            (None, _) => self.invalid("id", "`@id` is missing", "give the rule's slug: @id(\"my-rule\")"),
            (Some(id), _) if !is_slug(&id) => {
                self.invalid("id", format!("`{id}` is no slug"), "a slug is [a-z0-9][a-z0-9._-]{0,62}");
            }
            (Some(id), Some(slug)) if id != slug => {
                self.invalid(
                    "id",
                    format!("`@id` is `{id}`, the rule's slug is `{slug}`"),
                    "make them equal",
                );
            }
            _ => {}
        }
    }

    fn reason(&mut self) -> String {
        let hint = "a reason code is [A-Z][A-Z0-9_]{2,63}";
        match (self.value)("reason") {
            None => self.invalid("reason", "`@reason` is missing", hint),
            Some(code) if is_reason(&code) => return code,
            Some(code) => self.invalid("reason", format!("`{code}` is no reason code"), hint),
        }
        String::new()
    }

    fn message(&mut self) -> String {
        let message = (self.value)("message").unwrap_or_default();
        if message.chars().count() > 500 {
            self.invalid("message", "the message is longer than 500 characters", "");
        }
        message
    }

    fn refuse_on_grants(&mut self) {
        for name in ["outcome", "run", "severity", "violation"] {
            if (self.value)(name).is_some() {
                self.invalid(
                    name,
                    format!("`@{name}` stands on restrictions only"),
                    "remove it, or write `forbid`",
                );
            }
        }
    }

    fn outcome(&mut self) -> Outcome {
        let hint = "deny, require_approval, modify, defer or warn";
        match (self.value)("outcome").as_deref() {
            None => Outcome::Deny,
            Some(text) => match Outcome::from_text(text) {
                Some(outcome) if outcome != Outcome::Grant => outcome,
                _ => {
                    self.invalid("outcome", format!("no outcome is called `{text}`"), hint);
                    Outcome::Deny
                }
            },
        }
    }

    fn directive(&mut self, outcome: Outcome) -> Directive {
        match (self.value)("run").as_deref() {
            None if outcome == Outcome::RequireApproval => Directive::Pause,
            None | Some("continue") => Directive::Continue,
            Some("pause") => Directive::Pause,
            Some("terminate") => Directive::Terminate,
            Some(text) => {
                self.invalid(
                    "run",
                    format!("no directive is called `{text}`"),
                    "continue, pause or terminate",
                );
                Directive::Continue
            }
        }
    }

    fn severity(&mut self) -> Severity {
        let Some(text) = (self.value)("severity") else { return Severity::Medium };
        Severity::from_text(&text).unwrap_or_else(|| {
            self.invalid(
                "severity",
                format!("no severity is called `{text}`"),
                "CRITICAL, HIGH, MEDIUM or LOW",
            );
            Severity::Medium
        })
    }

    fn violation(&mut self, outcome: Outcome, directive: Directive) -> ViolationOn {
        match (self.value)("violation").as_deref() {
            None if outcome == Outcome::Deny && directive == Directive::Terminate => ViolationOn::Match,
            None | Some("never") => ViolationOn::Never,
            Some("on_match") => ViolationOn::Match,
            Some("on_step_end") => ViolationOn::StepEnd,
            Some(text) => {
                let message = format!("`{text}` is no time for a violation");
                self.invalid("violation", message, "never, on_match or on_step_end");
                ViolationOn::Never
            }
        }
    }

    fn origin(&mut self) -> Option<String> {
        let origin = (self.value)("origin")?;
        if !(1..=128).contains(&origin.len()) || origin.chars().any(char::is_whitespace) {
            self.invalid("origin", "an origin is an id of 1 to 128 characters without blanks", "");
        }
        Some(origin)
    }

    fn obligations(&mut self, outcome: Outcome) -> Vec<Obligation> {
        let text = (self.value)("obligations");
        let found = self.scan.annotations.iter().find(|a| a.name == "obligations").cloned();
        let parsed = match &text {
            Some(text) => obligation::parse(text, outcome).unwrap_or_else(|errors| {
                for e in errors {
                    let base = found.as_ref().map_or(0, |a| a.value_start);
                    let end = found.as_ref().map_or(0, |a| a.end);
                    let place = ((base + e.start).min(end), (base + e.end).min(end));
                    let kind = FindingKind::ObligationInvalid;
                    self.complaints.push((
                        kind,
                        place.0,
                        place.1,
                        e.message,
                        "item = name [ \"(\" arg , … \")\" ]",
                    ));
                }
                // Already refused: what follows must not complain about the same again.
                vec![Obligation { name: "dry_run".to_owned(), args: Vec::new() }]
            }),
            None => Vec::new(),
        };
        if outcome == Outcome::Modify && !parsed.iter().any(|o| obligation::is_for_modify(&o.name)) {
            let name = if text.is_some() { "obligations" } else { "outcome" };
            let message = "`modify` without an obligation to apply changes nothing";
            self.complain(FindingKind::ObligationInvalid, name, message, "add @obligations, or use `warn`");
        }
        parsed
    }
}

/// Whether a text is a slug: `[a-z0-9][a-z0-9._-]{0,62}`.
#[must_use]
pub fn is_slug(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first && text.len() <= 63 && text.bytes().all(inner)
}

/// Whether a text is a reason code: `[A-Z][A-Z0-9_]{2,63}`.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
