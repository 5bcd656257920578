//! The rule that a lesson suggests, where it can be written down without a person.

use crate::{
    lesson::warn_at,
    rule::Content,
    template::{self, Expanded, Origin, Values},
    text::quoted,
    words::{Category, LessonType, Mode, ProposalKind, RuleType, Scope, Severity},
};

/// The longest id that a scope is bound to.
const SCOPE_ID: usize = 128;
/// Seconds of 30 days: longer than any run.
const WHOLE_RUN: &str = "2592000";

/// What a lesson is about, as far as a rule is drafted of it.
#[derive(Debug, Clone, Copy)]
pub struct Taught<'a> {
    /// The lesson.
    pub lesson_id: &'a str,
    /// What it is about.
    pub kind: LessonType,
    /// How bad.
    pub severity: Option<Severity>,
    /// The agent; empty: not known.
    pub agent_id: &'a str,
    /// NEAR_THRESHOLD: what is near its limit.
    pub metric: &'a str,
    /// NEAR_THRESHOLD: what was used.
    pub current: i64,
}

/// A drafted rule, with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The rule.
    pub content: Content,
    /// Its type.
    pub rule_type: RuleType,
}

impl Taught<'_> {
    /// What a proposal of it answers to, unless somebody says otherwise.
    #[must_use]
    pub fn kind(&self) -> ProposalKind {
        match (self.kind, self.metric) {
            (LessonType::Failure, _) => ProposalKind::FailurePattern,
            (LessonType::NearThreshold, "COST" | "TOKENS") => ProposalKind::CostSpike,
            (LessonType::NearThreshold, "TIME") => ProposalKind::Timeout,
            (LessonType::NearThreshold, "RATE" | "STEPS") => ProposalKind::RateLimit,
            _ => ProposalKind::Custom,
        }
    }

    /// The rule that it suggests, bound to the agent; none: it suggests none that can be written down without somebody.
    #[must_use]
    pub fn draft(&self) -> Option<Draft> {
        let slug = format!("lesson-{}", self.lesson_id);
        let drafted = match self.kind {
            LessonType::Failure => self.of_failure(slug),
            LessonType::NearThreshold => self.near(slug)?,
            LessonType::CriticalSuccess => return None,
        };
        let bound = (1..=SCOPE_ID).contains(&self.agent_id.len());
        let (scope, scope_id) = if bound { (Scope::Agent, self.agent_id) } else { (Scope::Tenant, "") };
        let content = Content { scope: Some(scope), scope_id: scope_id.to_owned(), ..drafted.content };
        Some(Draft { content, ..drafted })
    }

    /// A failure does not say which tool it was: every step is stopped once the run has failed as often as a pattern needs.
    fn of_failure(&self, slug: String) -> Draft {
        let bad = matches!(self.severity, Some(Severity::Critical | Severity::High));
        let cedar = format!(
            "@id(\"{slug}\")\n@reason(\"FAILS_AGAIN\")\n@origin({})\n\
             forbid (principal, action in Runspine::Action::\"step\", resource)\n\
             when {{ context.totals.failures >= 3 }};\n",
            quoted(self.lesson_id)
        );
        let mode = Some(if bad { Mode::Block } else { Mode::Warn });
        let category = Some(Category::Safety);
        Draft {
            content: Content { slug, cedar, mode, category, ..Content::default() },
            rule_type: RuleType::Safety,
        }
    }

    /// A warning at 90 % of what was used.
    fn near(&self, slug: String) -> Option<Draft> {
        let most = warn_at(self.current).to_string();
        let (id, given): (&str, &[(&str, &str)]) = match self.metric {
            "COST" => ("SPEND_CEILING", &[("max_run", &most), ("max_step", &most)]),
            "TIME" => {
                ("SPEND_CEILING", &[("measure", "duration_ms"), ("max_run", &most), ("max_step", &most)])
            }
            "TOKENS" => ("TOKEN_CEILING", &[("max_run", &most)]),
            "STEPS" => {
                let any = "(principal, action in Runspine::Action::\"step\", resource)";
                ("SLIDING_WINDOW", &[("events", any), ("window_s", WHOLE_RUN), ("max", &most)])
            }
            _ => return None,
        };
        let template = template::find(id)?;
        let mut arguments: Values = template
            .parameters()
            .map(|p| (p.name.to_owned(), p.default.iter().map(|d| (*d).to_owned()).collect()))
            .collect();
        arguments.extend(given.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])));
        arguments.insert("reason".to_owned(), vec!["NEAR_ITS_LIMIT".to_owned()]);
        let origin = Origin {
            arguments,
            learned_from: self.lesson_id.to_owned(),
            template_id: template.id.to_owned(),
        };
        let made = template.expand(&slug, &origin.arguments).learned_from(&origin.learned_from);
        let (cedar, sequence) = match made {
            Expanded::Cedar(text) => (text, None),
            Expanded::Sequence(body) => (String::new(), Some(*body)),
        };
        let content = Content {
            slug,
            cedar,
            sequence,
            template: Some(origin),
            mode: Some(Mode::Warn),
            category: Some(template.category),
            ..Content::default()
        };
        Some(Draft { content, rule_type: template.rule_type })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Identity, check_content, meaning_of};

    fn taught<'a>(kind: LessonType, metric: &'a str, current: i64) -> Taught<'a> {
        Taught {
            lesson_id: "0198c0de-0000-7000-8000-000000000001",
            kind,
            severity: Some(Severity::High),
            agent_id: "agent \"1\"",
            metric,
            current,
        }
    }

    #[test]
    fn what_is_drafted_can_be_activated() {
        let near = |metric| taught(LessonType::NearThreshold, metric, 1_000);
        let lessons = [
            (taught(LessonType::Failure, "", 0), "", Mode::Block),
            (near("COST"), "SPEND_CEILING", Mode::Warn),
            (near("STEPS"), "SLIDING_WINDOW", Mode::Warn),
            (near("TIME"), "SPEND_CEILING", Mode::Warn),
            (near("TOKENS"), "TOKEN_CEILING", Mode::Warn),
        ];
        for (lesson, template, mode) in lessons {
            let Draft { content, .. } = lesson.draft().unwrap();
            assert_eq!(content.template.as_ref().map_or("", |t| t.template_id.as_str()), template);
            assert_eq!((content.scope, content.scope_id.as_str()), (Some(Scope::Agent), lesson.agent_id));
            assert_eq!(content.mode, Some(mode));
            check_content(&content, "t", false).unwrap();
            let identity = Identity { rule_id: "r", version: 1, tenant: "t" };
            let meaning = meaning_of(content, identity, Mode::Warn).unwrap();
            let found = meaning.check();
            assert!(found.findings.is_empty(), "{:?}\n{}", found.findings, meaning.cedar);
            let notes = found.parsed.unwrap().notes;
            assert_eq!(notes.origin.as_deref(), Some(lesson.lesson_id), "{template}");
        }
        assert!(taught(LessonType::CriticalSuccess, "", 0).draft().is_none());
        assert!(near("RATE").draft().is_none());
        let nobody = Taught { agent_id: "", ..near("COST") };
        assert_eq!(nobody.draft().unwrap().content.scope, Some(Scope::Tenant));
    }

    #[test]
    fn the_bound_is_nine_tenths_of_what_was_used() {
        let text = taught(LessonType::NearThreshold, "COST", 1_000).draft().unwrap().content.cedar;
        assert!(
            text.contains("context.totals.cost_microusd + context.estimate.cost_microusd > 900"),
            "{text}"
        );
        let body = taught(LessonType::NearThreshold, "STEPS", 100).draft().unwrap().content.sequence.unwrap();
        assert_eq!((body.max, body.window.as_str()), (90, "time:2592000"));
    }
}
