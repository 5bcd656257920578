//! The text of a rule: parsed, validated against the published schema, and everything wrong with it at once.

pub mod annotation;
mod quote;
pub mod scan;

use std::str::FromStr;

use cedar_policy::{Effect, Policy, PolicySet, ValidationMode, ValidationWarning};
use miette::Diagnostic;
use runspine_errors::Fault;

pub use annotation::{Notes, ViolationOn, is_reason, is_slug};
pub use quote::{like_pattern, quoted};

use crate::{
    reasons, schema,
    sequence::{self, Head},
    words::{FindingKind, FindingSeverity, Mode},
};

/// The effect of a grant.
pub const GRANT: Effect = Effect::Permit;
/// Longest text in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// Most `when` and `unless` clauses.
pub const MAX_CLAUSES: usize = 64;

/// One thing that is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What it means.
    pub severity: FindingSeverity,
    /// First byte.
    pub start_byte: usize,
    /// Byte after the last.
    pub end_byte: usize,
    /// Line from 1.
    pub line: u32,
    /// Column in characters from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// How to put it right; empty: no advice.
    pub hint: String,
}

/// A text that can be activated.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// What its annotations say.
    pub notes: Notes,
}

/// What a look at a text gave.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Everything that was found, in the order of the text.
    pub findings: Vec<Finding>,
    /// The policy, when it parses at all.
    pub policy: Option<Policy>,
    /// The rule, when nothing BLOCKING was found.
    pub parsed: Option<Parsed>,
}

impl Checked {
    /// Whether the rule can't become active.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        self.parsed.is_none()
    }
}

/// Looks at a text for a rule named `slug` in `mode`; `None` for a text that belongs to no rule yet.
#[must_use]
pub fn check(text: &str, slug: Option<&str>, mode: Mode) -> Checked {
    let mut check = Check { text, findings: Vec::new() };
    let scan = scan::scan(text);
    if text.len() > MAX_TEXT {
        check.blocking(
            FindingKind::RuleTextInvalid,
            MAX_TEXT,
            text.len(),
            "the text is longer than 16 KiB",
            "",
        );
        return check.done(None, None);
    }
    if scan.clauses.len() > MAX_CLAUSES {
        let message = format!("{} clauses, at most {MAX_CLAUSES} are allowed", scan.clauses.len());
        check.blocking(FindingKind::RuleTextInvalid, scan.effect.0, text.len(), message, "split the rule");
    }
    let Some(policy) = check.parse() else { return check.done(None, None) };
    let grant = policy.effect() == Effect::Permit;
    if grant && mode == Mode::Warn {
        let (start, end) = scan.effect;
        let message = "a grant can't be in mode WARN";
        check.blocking(FindingKind::ModeInvalidForGrant, start, end, message, "BLOCK, AUDIT or DISABLED");
    }
    let notes = annotation::read(&scan, grant, slug, |name| policy.annotation(name).map(ToOwned::to_owned));
    let notes = match notes {
        Ok(notes) => Some(notes),
        Err(complaints) => {
            for (kind, start, end, message, hint) in complaints {
                check.blocking(kind, start, end, message, hint);
            }
            None
        }
    };
    check.validate(&policy);
    check.done(Some(policy), notes)
}

/// Adds what is wrong with heads that stand beside the text: each is named, and its place is one in its own text.
#[must_use]
pub fn with_heads(mut found: Checked, heads: &[(&str, &str)]) -> Checked {
    for (name, head) in heads.iter().filter(|(_, head)| !head.is_empty()) {
        let Err(what) = Head::parse(head) else { continue };
        let of_text = check(&sequence::text_of(head), None, Mode::Block).findings;
        let mut of_text: Vec<Finding> = of_text.into_iter().map(|f| in_head(f, name, head)).collect();
        if of_text.is_empty() {
            of_text.push(Finding {
                kind: FindingKind::RuleTextInvalid,
                severity: FindingSeverity::Blocking,
                start_byte: 0,
                end_byte: head.len(),
                line: 1,
                column: 1,
                message: format!("`{name}`: {what}"),
                hint: String::new(),
            });
        }
        found.findings.extend(of_text);
        found.parsed = None;
    }
    found
}

fn in_head(found: Finding, name: &str, head: &str) -> Finding {
    let place = |n: usize| n.saturating_sub(sequence::BEFORE_HEAD.len()).min(head.len());
    let (line, column) = scan::line_column(head, place(found.start_byte));
    Finding {
        start_byte: place(found.start_byte),
        end_byte: place(found.end_byte),
        line,
        column,
        message: format!("`{name}`: {}", found.message),
        ..found
    }
}

/// Refused: what was found keeps the rule from becoming active.
#[must_use]
pub fn blocking(found: &Checked) -> Fault {
    let blocking = found.findings.iter().filter(|f| f.severity == FindingSeverity::Blocking);
    let fault = Fault::new(&reasons::FINDINGS_BLOCKING, "the rule has blocking findings");
    blocking.fold(fault, |fault, f| {
        let subject = format!("{} at line {} column {}", f.kind.as_str(), f.line, f.column);
        fault.precondition(subject, f.message.clone())
    })
}

/// A policy as Cedar prints it.
#[must_use]
pub fn cedar_text(policy: &Policy) -> Option<String> {
    policy.to_cedar()
}

struct Check<'a> {
    text: &'a str,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn add(
        &mut self,
        kind: FindingKind,
        severity: FindingSeverity,
        at: (usize, usize),
        what: (String, String),
    ) {
        let (line, column) = scan::line_column(self.text, at.0);
        let (message, hint) = what;
        let (start_byte, end_byte) = (at.0.min(self.text.len()), at.1.min(self.text.len()));
        self.findings.push(Finding { kind, severity, start_byte, end_byte, line, column, message, hint });
    }

    fn blocking(
        &mut self,
        kind: FindingKind,
        start: usize,
        end: usize,
        message: impl Into<String>,
        hint: &str,
    ) {
        self.add(kind, FindingSeverity::Blocking, (start, end), (message.into(), hint.to_owned()));
    }

    fn diagnostic(&mut self, kind: FindingKind, severity: FindingSeverity, d: &dyn Diagnostic) {
        let span = d.labels().and_then(|mut labels| labels.next());
        let at = span.map_or((0, self.text.len()), |l| (l.offset(), l.offset() + l.len()));
        let hint = d.help().map(|h| h.to_string()).unwrap_or_default();
        self.add(kind, severity, at, (d.to_string(), hint));
    }

    fn parse(&mut self) -> Option<Policy> {
        let set = match PolicySet::from_str(self.text) {
            Ok(set) => set,
            Err(errors) => {
                for e in errors.iter() {
                    self.diagnostic(FindingKind::RuleTextInvalid, FindingSeverity::Blocking, e);
                }
                return None;
            }
        };
        let end = self.text.len();
        if set.num_of_templates() > 0 {
            let at = self.text.find("?principal").or_else(|| self.text.find("?resource")).unwrap_or(0);
            let message = "templates (`?principal`, `?resource`) are not allowed";
            self.blocking(
                FindingKind::RuleTextInvalid,
                at,
                end,
                message,
                "name the entity, or leave it open",
            );
            return None;
        }
        let mut policies = set.policies();
        match (policies.next(), policies.next()) {
            (Some(policy), None) => Some(policy.clone()),
            (None, _) => {
                self.blocking(FindingKind::RuleTextInvalid, 0, end, "the text holds no policy", "");
                None
            }
            (Some(_), Some(_)) => {
                let at = self.text.find(';').map_or(0, |i| i + 1);
                let message = format!("the text holds {} policies", set.num_of_policies());
                self.blocking(
                    FindingKind::RuleTextInvalid,
                    at,
                    end,
                    message,
                    "one rule holds exactly one policy",
                );
                None
            }
        }
    }

    fn validate(&mut self, policy: &Policy) {
        let Some(validator) = schema::validator() else { return };
        let Ok(set) = PolicySet::from_policies([policy.clone()]) else { return };
        let result = validator.validate(&set, ValidationMode::Strict);
        for e in result.validation_errors() {
            self.diagnostic(FindingKind::RuleTextInvalid, FindingSeverity::Blocking, e);
        }
        for w in result.validation_warnings() {
            let impossible = matches!(
                w,
                ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
            );
            if impossible {
                self.diagnostic(FindingKind::Impossible, FindingSeverity::Blocking, w);
            } else {
                self.diagnostic(FindingKind::RuleTextInvalid, FindingSeverity::Warning, w);
            }
        }
    }

    fn done(mut self, policy: Option<Policy>, notes: Option<Notes>) -> Checked {
        self.findings.sort_by_key(|f| (f.start_byte, f.end_byte));
        let blocked = self.findings.iter().any(|f| f.severity == FindingSeverity::Blocking);
        let parsed = match (&policy, notes) {
            (Some(policy), Some(notes)) if !blocked => Some(Parsed { policy: policy.clone(), notes }),
            _ => None,
        };
        Checked { findings: self.findings, policy, parsed }
    }
}
